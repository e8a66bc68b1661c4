"""``gcm fetch-weights``: network weights, their licences and their hashes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcm.errors import GCMError, UsageError, WeightsError
from gcm_cli.console import PARTIAL, Console, command, human_size
from gcm_cli.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress

    from gcm.weights.catalogue import WeightEntry

__all__ = ["fetch_weights"]


@command
def fetch_weights(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Weights, or the backbone or fine model they are for."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Everything that has an address.")] = False,
    list_only: Annotated[bool, typer.Option("--list", help="Show the catalogue, fetch nothing.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Check the hashes of what is here.")] = False,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept non-commercial licences without being asked.")
    ] = False,
    dest: Annotated[
        Path | None, typer.Option("--dest", metavar="FOLDER", help="Use this folder, not the cache.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Bring in a file you have; one NAME.")
    ] = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch network weights once, checked; licences are shown first.

    Files lie in $GCM_HOME/weights, or in the system's cache folder.
    A download that broke off goes on where it stopped.
    With GCM_OFFLINE=1 nothing is ever downloaded.
    """
    from gcm.weights.store import find_weights

    _check_usage(names, every, list_only, verify, source)
    console = Console(json_output=json_output, quiet=quiet)
    entries = _selected(names)
    if list_only:
        rows = [_describe(entry, dest) for entry in entries]
        console.document({"weights": rows})
        _show_catalogue(console, rows)
        return
    if source is not None:
        _import_file(console, entries[0], source, dest)
        return
    if verify:
        to_verify = [entry for entry in entries if names or find_weights(entry, dest)]
        rows = [_verify_row(entry, dest) for entry in to_verify]
    else:
        if every:
            entries = [entry for entry in entries if entry.urls]
        rows = [_fetch_row(console, entry, dest, accept_licence) for entry in entries]
    console.document({"weights": rows})
    _show_outcomes(console, rows)
    failed = [row for row in rows if row["error"]]
    if failed:
        raise typer.Exit(PARTIAL if len(failed) < len(rows) else 1)


def _check_usage(
    names: list[str] | None, every: bool, list_only: bool, verify: bool, source: Path | None
) -> None:
    if names and every:
        raise UsageError("give names or --all, not both")
    if source is not None and (list_only or verify or every or not names or len(names) != 1):
        raise UsageError("--from FILE takes exactly one NAME, as in: gcm fetch-weights psm --from psmnet.tar")
    if not (names or every or list_only or verify):
        raise UsageError("name the weights to fetch, or --all; gcm fetch-weights --list shows what there is")


def _selected(names: list[str] | None) -> list[WeightEntry]:
    from gcm.backbones.registry import known_weights

    if not names:
        return list(known_weights().values())
    chosen: dict[str, WeightEntry] = {}
    for name in names:
        chosen |= known_weights(name)
    return list(chosen.values())


def _describe(entry: WeightEntry, folder: Path | None) -> dict[str, Any]:
    from gcm.weights.store import find_weights

    path = find_weights(entry, folder)
    return {
        "name": entry.name,
        "file": entry.filename,
        "urls": entry.urls,
        "sha256": entry.sha256 or entry.sha256_prefix,
        "proof": entry.proof,
        "size": path.stat().st_size if path else entry.size or entry.about,
        "licence": entry.licence,
        "short_licence": entry.short_licence,
        "non_commercial": entry.non_commercial,
        "citation": entry.citation,
        "homepage": entry.homepage,
        "how": _origin(entry),
        "present": path is not None,
        "path": path,
    }


def _origin(entry: WeightEntry) -> str:
    if entry.embedded:
        return "embedded"
    if entry.package:
        return "package"
    return "url" if entry.urls else "by hand"


def _show_catalogue(console: Console, rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("where", no_wrap=True)
    table.add_column("hash", no_wrap=True)
    table.add_column("licence", overflow="ellipsis", no_wrap=True)
    proofs = {"sha256": "sha256", "sha256 prefix": "8 digits", "unverified": "unverified"}
    for row in rows:
        location = "here" if row["present"] else row["how"]
        proof = "-" if row["how"] == "embedded" else proofs[row["proof"]]
        table.add_row(row["name"], human_size(row["size"]), location, proof, row["short_licence"])
    console.table(table)
    console.note(
        "\nhash: what proves a file is the right one; an unverified one's is recorded at its first use"
    )


def _fetch_row(
    console: Console, entry: WeightEntry, folder: Path | None, accept_licence: bool
) -> dict[str, Any]:
    from gcm.backbones.registry import check_weights
    from gcm.weights.store import fetch_weights as fetch
    from gcm.weights.store import find_weights

    def fetch_or_find() -> tuple[str, Path]:
        present = find_weights(entry, folder)
        if present is None and entry.urls:
            _show_licence(console, entry, accept_licence)
        with _progress(console) as progress:
            task = progress.add_task(entry.name, total=entry.size or entry.about)

            def advance(done: int, total: int | None) -> None:
                progress.update(task, completed=done, total=total or entry.about)

            path = fetch(entry, on_progress=advance, folder=folder, check=partial(check_weights, entry))
        return "present" if present else "fetched", path

    return _outcome_row(entry, fetch_or_find)


def _verify_row(entry: WeightEntry, folder: Path | None) -> dict[str, Any]:
    from gcm.weights.store import find_weights, verify_weights

    def verify() -> tuple[str, Path]:
        path = find_weights(entry, folder)
        if path is None:
            raise WeightsError(f"is not here; fetch it with: gcm fetch-weights {entry.name}")
        return "part of the package" if entry.embedded else verify_weights(entry, path), path

    return _outcome_row(entry, verify)


def _import_file(console: Console, entry: WeightEntry, source: Path, folder: Path | None) -> None:
    from gcm.backbones.registry import check_weights
    from gcm.weights.store import bring_weights

    if entry.non_commercial:
        console.note(f"{entry.name}: licence {entry.licence}: NOT for commercial use")
    path = bring_weights(entry, source, folder=folder, check=partial(check_weights, entry))
    rows = [_outcome_row(entry, lambda: ("brought in", path))]
    console.document({"weights": rows})
    _show_outcomes(console, rows)


def _outcome_row(entry: WeightEntry, action: Callable[[], tuple[str, Path]]) -> dict[str, Any]:
    """What came of an action that gives a status and a path; an error goes into the row."""
    row: dict[str, Any] = {"name": entry.name, "status": "failed", "path": None, "error": None}
    try:
        row["status"], row["path"] = action()
    except GCMError as error:
        row["error"] = " ".join(str(error).split())
    return row | {"licence": entry.licence, "non_commercial": entry.non_commercial}


def _show_outcomes(console: Console, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["error"]:
            console.error(f"{row['name']}: {row['error']}")
        else:
            console.text(f"{row['name']}: {row['status']}" + (f", {row['path']}" if row["path"] else ""))


def _show_licence(console: Console, entry: WeightEntry, accepted: bool) -> None:
    """State the licence; ask when it forbids commercial use.

    Raises:
        WeightsError: not accepted, or nobody there to ask.
    """
    size = f" ({human_size(entry.size or entry.about)})" if entry.size or entry.about else ""
    console.note(f"{entry.name}{size}: licence {entry.licence}")
    if entry.proof == "unverified":
        console.note("  nobody publishes its hash: it must load into its network, then its hash is recorded")
    if not entry.non_commercial:
        return
    console.note("  NOT for commercial use")
    if not (accepted or console.confirm(f"Fetch '{entry.name}' for non-commercial use?")):
        raise WeightsError(f"the licence is {entry.licence}; accept it with --accept-licence")


def _progress(console: Console) -> Progress:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn

    return console.progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    )
