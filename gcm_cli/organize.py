"""``gcm organize-hpatches``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from gcm_cli.console import PARTIAL, Console, command, plural
from gcm_cli.options import JsonOption, QuietOption

__all__ = ["organize_hpatches"]


class LinkKind(str, Enum):
    """Kinds of links."""

    HARD = "hard"
    SYMBOLIC = "symbolic"


@command
def organize_hpatches(
    source: Annotated[Path, typer.Argument(help="The unpacked release, whole or in part.")] = Path(
        "hpatches-sequences-release"
    ),
    dest: Annotated[Path, typer.Argument(help="Folder of the organised data set.")] = Path(
        "Datasets/hpatches"
    ),
    link: Annotated[LinkKind | None, typer.Option(help="Link to the files in place of copying them.")] = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bring HPatches into the layout benchmarks read, and list its pairs.

    Every image and homography is checked on the way. Running it again changes nothing.
    """
    from gcm.benchmark.hpatches import SEQUENCES, Link, organise_hpatches

    console = Console(json_output=json_output, quiet=quiet)
    with console.progress() as bar:
        task = bar.add_task("organising", total=None)
        report = organise_hpatches(
            source,
            dest,
            link=Link.COPY if link is None else Link(link.value),
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.note(
        f"{dest}: {plural(len(report.sequences), 'sequence')}, {plural(report.pairs, 'pair')}; "
        f"{plural(report.written, 'file')} {'copied' if link is None else 'linked'} now"
    )
    if report.left_out:
        console.note(f"left out by convention (high resolution): {', '.join(report.left_out)}")
    if report.missing:
        names = ", ".join(report.missing[:4]) + (", ..." if len(report.missing) > 4 else "")
        console.note(
            f"not there: {len(report.missing)} of the benchmark's {len(SEQUENCES)} sequences ({names})"
        )
    for name, reason in report.faulty.items():
        console.warn(f"left out: {name}: {reason}")
    console.document(
        {
            "folder": str(dest),
            "pairs": report.pairs,
            "sequences": report.sequences,
            "left_out": report.left_out,
            "faulty": report.faulty,
            "missing": report.missing,
            "files_written": report.written,
        }
    )
    if report.faulty:
        raise typer.Exit(PARTIAL)
