"""``gcm merge``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcm_cli.console import PARTIAL, Console, command, plural
from gcm_cli.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from gcm.scale.merge import Merged

__all__ = ["merge"]

_TOLD = 5
"""Missing pairs that are named."""


@command
def merge(
    output_dir: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder that is to have all results.", show_default=False)
    ],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IN]...", help="Folders that 'gcm extract' wrote into, with --shard or without."
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The whole list: pairs of it that are missing are told."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where the paths of a list start.", show_default="the list's folder")
    ] = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put the results of several machines into one folder.

    Folders of another configuration, and results that contradict each other, are refused before anything is
    copied. What is missing or damaged is told, and the exit code is 3. Run it again after an interruption.
    """
    from gcm.benchmark.poses import read_any_pairs
    from gcm.scale.merge import merge as run

    console = Console(json_output=json_output, quiet=quiet)
    listed = None if pairs is None else read_any_pairs(pairs, root)
    with console.progress() as bar:
        task = bar.add_task("merging", total=None)
        report = run(
            output_dir,
            inputs or [],
            pairs=listed,
            on_begin=lambda count: bar.update(task, total=count),
            on_copied=lambda: bar.advance(task),
        )
    _tell(console, output_dir, report)


def _tell(console: Console, output_dir: Path, report: Merged) -> None:
    for name, reason in report.damaged.items():
        console.warn(f"{name}: {reason}; left out, match it again")
    if report.missing:
        named = ", ".join(report.missing[:_TOLD]) + (", ..." if len(report.missing) > _TOLD else "")
        console.warn(f"{output_dir}: {plural(len(report.missing), 'pair')} without a result: {named}")
    console.note(
        f"{output_dir}: {plural(report.copied, 'pair')} copied of {plural(report.folders, 'folder')}, "
        f"{report.there} there already; {report.pairs} in all"
    )
    console.document(
        {
            "output_dir": str(output_dir),
            "folders": report.folders,
            "pairs": report.pairs,
            "copied": report.copied,
            "there": report.there,
            "damaged": report.damaged,
            "missing": report.missing,
        }
    )
    if report.missing or report.damaged:
        raise typer.Exit(PARTIAL)
