"""``gcm backbones``: what can be named as `model` and `fine_model` in a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcm_cli.console import Console, command, human_size

if TYPE_CHECKING:
    from gcm.backbones.base import BackboneInfo
    from gcm.backbones.fine import FineInfo
    from gcm.weights.catalogue import WeightEntry

__all__ = ["backbones"]

_HEIGHT, _WIDTH = 480, 640


@command
def backbones(
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages, no table.")] = False,
) -> None:
    """List the backbones and fine models: strides, weights, licence, cost.

    Mpar are millions of parameters up to the last map, GMACs the billions
    of multiply-adds of one 480 x 640 image. timm's models (timm:NAME)
    are too many to list.
    """
    from gcm.backbones.registry import list_backbones, list_fine_models

    console = Console(json_output=json_output, quiet=quiet)
    described = [_backbone(info) for info in list_backbones()]
    fine = [_fine_model(info) for info in list_fine_models()]
    console.document({"backbones": described, "fine_models": fine, "height": _HEIGHT, "width": _WIDTH})
    _show(console, described, fine)


def _backbone(info: BackboneInfo) -> dict[str, Any]:
    from gcm.backbones.cost import backbone_cost

    cost = backbone_cost(info.name, height=_HEIGHT, width=_WIDTH)
    return {
        "name": info.name,
        "description": info.description,
        "citation": info.citation,
        "taps": info.taps,
        "strides": info.strides,
        "channels": info.channels,
        "ratio_th_length": len(info.step_strides),
        "pad_multiple": info.pad_multiple,
        "normalisation": str(info.normalisation),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "weights": _weights(info.weights_entry),
    }


def _fine_model(info: FineInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "description": info.description,
        "citation": info.weights_entry.citation,
        "channels": info.channels,
        "weights": _weights(info.weights_entry),
    }


def _weights(entry: WeightEntry | None) -> dict[str, Any] | None:
    from gcm.weights.store import find_weights

    if entry is None:
        return None
    path = find_weights(entry)
    return {
        "name": entry.name,
        "present": path is not None,
        "path": path,
        "size": path.stat().st_size if path else entry.size or entry.about,
        "licence": entry.licence,
        "short_licence": entry.short_licence,
        "non_commercial": entry.non_commercial,
    }


def _show(console: Console, described: list[dict[str, Any]], fine: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(title="Backbones (model)", box=None, pad_edge=False, title_justify="left")
    table.add_column("name", overflow="fold")
    table.add_column("strides", no_wrap=True)
    for column in ("weights", "size", "Mpar", "GMACs"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("licence", overflow="ellipsis", no_wrap=True)
    for row in described:
        table.add_row(
            row["name"],
            " ".join(map(str, row["strides"])),
            *_weight_cells(row["weights"]),
            f"{row['parameters'] / 1e6:.1f}",
            f"{row['multiply_adds'] / 1e9:.1f}",
            row["weights"]["short_licence"] if row["weights"] else "",
        )
    console.table(table)
    table = Table(title="\nFine models (fine_model)", box=None, pad_edge=False, title_justify="left")
    table.add_column("name", overflow="fold")
    for column in ("channels", "weights", "size"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    for row in fine:
        cells = _weight_cells(row["weights"])
        table.add_row(row["name"], str(row["channels"]), *cells, row["weights"]["short_licence"])
    console.table(table)
    if not all(row["weights"] and row["weights"]["present"] for row in (*described, *fine)):
        console.note("\nweights that are not here: gcm fetch-weights NAME; all about them: --list")


def _weight_cells(weights: dict[str, Any] | None) -> tuple[str, str]:
    if weights is None:
        return "by path", ""
    return "here" if weights["present"] else "-", human_size(weights["size"])
