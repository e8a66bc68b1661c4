"""``gcm store``: a folder of results with its matches kept in another way."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from gcm_cli.console import Console, command, human_size, plural
from gcm_cli.matching import results_in
from gcm_cli.options import JsonOption, QuietOption

__all__ = ["PrecisionOption", "StoreOption", "store"]

StoreKind = Literal["npz", "h5", "parquet"]
Precision = Literal["float64", "float32", "uint16"]

StoreOption = Annotated[
    StoreKind | None,
    typer.Option(
        help="A file a pair (npz), or many pairs a file (extras h5, parquet).",
        show_default="what the folder has, else npz",
    ),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        help="Of positions in h5 and parquet: float32 is off by 0.00025 px at most in photos up to 8192 px, "
        "uint16 by a 131000th of the photo's side.",
        show_default="what the folder has, else float64",
    ),
]
_Results = Annotated[
    Path, typer.Argument(metavar="RESULTS", help="Folder that gcm extract or reconstruct wrote into.")
]
_To = Annotated[StoreKind, typer.Option("--to", help="What the copy is.")]
_Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="A new folder of results.")]


@command
def store(
    results: _Results,
    to: _To,
    output: _Output,
    precision: PrecisionOption = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Copy a folder of results, its matches kept as npz, h5 or parquet.

    Every command reads all three. Run it again after an interruption.
    In the end each pair is read back and compared.
    """
    from gcm.benchmark.stores import convert_store

    console = Console(json_output=json_output, quiet=quiet)
    with console.progress() as bar:
        task = bar.add_task("copying and checking", total=None)
        report = convert_store(
            results_in(results),
            output,
            to,
            precision,
            on_begin=lambda total: bar.update(task, total=total),
            on_pair=lambda name: bar.advance(task),
        )
    console.note(
        f"{output}: {plural(report.pairs, 'pair')} as {report.kind} in {report.precision}, {report.skipped} "
        f"there already; {human_size(report.bytes)} in place of {human_size(report.source_bytes)}"
    )
    console.document({"output": str(output), **asdict(report)})
