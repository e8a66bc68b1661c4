"""``gcm convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gcm_cli.console import PARTIAL, Console, command, plural
from gcm_cli.options import JsonOption, QuietOption

__all__ = ["convert"]


@command
def convert(
    output_dir: Annotated[
        Path, typer.Option(help="Folder that 'gcm extract' wrote into.", show_default=False)
    ],
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Export extracted matches to the layout of Image Matching Evaluation (IME).

    'gcm evaluate' does not need it.
    """
    from gcm.benchmark.convert import convert as run

    console = Console(json_output=json_output, quiet=quiet)
    with console.progress() as bar:
        task = bar.add_task("converting", total=None)
        report = run(output_dir, on_file=lambda path: bar.advance(task))
    for name, reason in report.failed.items():
        console.warn(f"{name}: {reason}")
    console.note(
        f"{output_dir}: {plural(report.done, 'file')} converted, {report.skipped} converted already"
        + (f", {len(report.failed)} FAILED" if report.failed else "")
    )
    console.document(
        {
            "output_dir": str(output_dir),
            "files": report.files,
            "done": report.done,
            "skipped": report.skipped,
            "failed": report.failed,
        }
    )
    if report.failed:
        raise typer.Exit(PARTIAL if report.done or report.skipped else 1)
