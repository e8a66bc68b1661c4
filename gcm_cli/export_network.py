"""``gcm export-network``: our networks as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gcm.errors import UsageError
from gcm_cli.console import Console, command, human_size
from gcm_cli.options import ConfigOption, JsonOption, QuietOption, SetOption, parse_settings
from gcm_cli.outputs import check_outputs

if TYPE_CHECKING:
    from gcm.backbones.onnx.export import Exportable
    from gcm.config import MatcherConfig

__all__ = ["export_network"]

Part = Literal["backbone", "keypoints", "matcher"]
Precision = Literal["float32", "float16"]

_Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write: .onnx.")]
_Part = Annotated[
    Part,
    typer.Option(
        help="The backbone, which gives the maps; or of the attention network the detector of keypoints, "
        "or the matcher of their descriptors."
    ),
]
_Precision = Annotated[Precision, typer.Option(help="Of weights and computation; in and out goes float32.")]


@command
def export_network(
    output: _Output,
    config: ConfigOption = None,
    settings: SetOption = None,
    part: _Part = "backbone",
    precision: _Precision = "float32",
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a network of a configuration as an ONNX file, for other runtimes and languages.

    Image sizes and batch are free. The file is compared with PyTorch before it is
    written; its metadata say how images must be normalised and padded.
    Needs the extra onnx.
    """
    from gcm.config import load_config

    console = Console(json_output=json_output, quiet=quiet)
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"{output}: the name must end in .onnx")
    check_outputs({"--output": output}, [config])
    resolved = load_config(config, **parse_settings(settings))
    with console.waiting("loading the exporter"):
        from gcm.backbones.onnx.export import OPSET
        from gcm.backbones.onnx.files import checked_export
        from gcm.backbones.onnx.session import check_packages
        from gcm.storage.atomic import whole_file

        check_packages()
    with console.waiting("exporting, and comparing with PyTorch"):
        exportable = _exportable(resolved, part)
        model, difference = checked_export(exportable, precision)
    with whole_file(output) as temporary:
        temporary.write_bytes(model)
    document = {
        "output": output,
        "bytes": len(model),
        "opset": OPSET,
        "precision": precision,
        "difference": difference,
        "inputs": exportable.inputs,
        "outputs": exportable.outputs,
        **exportable.metadata,
    }
    _show(console, document)
    console.document(document)


def _exportable(config: MatcherConfig, part: Part) -> Exportable:
    from gcm.backbones.onnx.export import backbone_maps, keypoint_detector, keypoint_matcher
    from gcm.backbones.registry import create_attention, create_backbone

    if part == "backbone":
        return backbone_maps(create_backbone(config.model, weights=config.weights_path))
    network = create_attention()
    return keypoint_detector(network) if part == "keypoints" else keypoint_matcher(network)


def _show(console: Console, document: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("file", f"{document['output']} ({human_size(document['bytes'])})")
    table.add_row("network", document["network"])
    table.add_row("ONNX", f"opset {document['opset']}, {document['precision']}")
    table.add_row("input", document["input"])
    table.add_row("outputs", ", ".join(document["outputs"]))
    for key in ("strides", "channels", "licence"):
        if document.get(key):
            table.add_row(key, document[key])
    table.add_row("difference", f"{document['difference']:.1g} of the largest value, from PyTorch in float32")
    console.table(table)
