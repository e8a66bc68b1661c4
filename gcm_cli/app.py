"""Assembles the `gcm` command from its one file a command."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from gcm_cli import (
    backbones,
    convert,
    demo,
    distill,
    download,
    evaluate,
    export,
    export_network,
    extract,
    fetch_weights,
    match,
    merge,
    organize,
    pairs,
    pose,
    reconstruct,
    report,
    stitch,
    store,
)
from gcm_cli.commands import Command, Group, hinting
from gcm_cli.streams import guarded_streams

__all__ = ["app"]


class _App(typer.Typer):
    """The command in a process of its own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Read when PyTorch is imported. Its threads otherwise wait for each other by spinning, which costs
        # nothing on an idle machine, and seconds a pair where anything else keeps a core busy.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # Typer writes help and usage errors itself, so the streams are guarded out here.
        with guarded_streams():
            return super().__call__(*args, **kwargs)


app = _App(
    name="gcm",
    cls=Group,
    help="Precise point correspondences between two photos of the same thing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        from gcm import __version__

        typer.echo(f"gcm {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Precise point correspondences between two photos of the same thing."""


_TWO = "give two photos; 'gcm extract --images FOLDER' matches those of a folder"
_FOLDER = "give one folder, which holds the photos"
_SOURCE = "say what it is: --images FOLDER, --pairs FILE or --video FILE"

app.command("match", cls=hinting(_TWO))(match.match)
app.command("pose", cls=hinting(_TWO))(pose.pose)
app.command("stitch", cls=Command)(stitch.stitch)
app.command("demo", cls=Command)(demo.demo)
app.command("pairs", cls=hinting(_FOLDER))(pairs.pairs)
app.command("extract", cls=hinting(_SOURCE))(extract.extract)
app.command("merge", cls=Command)(merge.merge)
app.command("export", cls=Command)(export.export)
app.command("reconstruct", cls=hinting(_FOLDER))(reconstruct.reconstruct)
app.command("store", cls=Command)(store.store)
app.command("report", cls=Command)(report.report)
app.command("download", cls=Command)(download.download)
app.command("organize-hpatches", cls=Command)(organize.organize_hpatches)
app.command("convert", cls=Command)(convert.convert)
app.command("evaluate", cls=Command)(evaluate.evaluate)
app.command("backbones", cls=Command)(backbones.backbones)
app.command("export-network", cls=Command)(export_network.export_network)
app.command("fetch-weights", cls=Command)(fetch_weights.fetch_weights)
app.command("distill", cls=Command)(distill.distill)
