"""``gcm evaluate``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcm_cli.console import PARTIAL, Console, command, plural
from gcm_cli.effects import OnlyFor
from gcm_cli.options import JsonOption, QuietOption
from gcm_cli.outputs import check_outputs
from gcm_cli.pose_tables import score_poses

if TYPE_CHECKING:
    from gcm.benchmark.evaluate import Evaluation

__all__ = ["evaluate"]


_MOST_NAMED = 10
"""Missing predictions told to people; the JSON document has all."""


class ProtocolName(str, Enum):
    """Names of the protocols."""

    FIXED = "fixed"
    IME = "ime"


class PoseEstimator(str, Enum):
    """Names of the libraries."""

    OPENCV = "opencv"
    POSELIB = "poselib"


class TableFormat(str, Enum):
    """How tables are written."""

    TABLE = "table"
    MARKDOWN = "markdown"
    LATEX = "latex"


NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Algorithms, as with --algorithms.", show_default=False),
]
AlgorithmsOption = Annotated[
    list[str] | None,
    typer.Option(metavar="X Y ...", help="Folders below RESULTS/DATASET to score; spaces or commas between."),
]
ProtocolOption = Annotated[
    ProtocolName, typer.Option(help="fixed, or ime: as IME computes it, quirks included.")
]
DatasetDirOption = Annotated[Path, typer.Option(help="Organised data set, with image_pairs.txt.")]
FormatOption = Annotated[TableFormat, typer.Option("--format", help="How to write the tables.")]
PerSequenceOption = Annotated[bool, typer.Option("--per-sequence", help="A table of the sequences too.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Threads to measure in.", show_default="processors")
]


class Task(str, Enum):
    """What is scored."""

    HOMOGRAPHY = "homography"
    POSE = "pose"


_OF_HOMOGRAPHIES = OnlyFor("--task homography", lambda given: given["task"] is Task.HOMOGRAPHY)
_OF_POSES = OnlyFor("--task pose", lambda given: given["task"] is Task.POSE)

TaskOption = Annotated[Task, typer.Option(help="Homographies of a data set, or poses of a list.")]
PairsOption = Annotated[
    Path | None,
    typer.Option(help="pose: SuperGlue's pairs_with_gt.txt, or a scene file (.npz) of MegaDepth-1500."),
]
RootOption = Annotated[
    Path | None, typer.Option(help="pose: where its photos' paths start.", show_default="the list's folder")
]
EstimatorOption = Annotated[
    PoseEstimator, typer.Option(help="pose: opencv (RANSAC, 0.5 px) or poselib (LO-RANSAC, 1 px).")
]


@command
def evaluate(
    names: NamesArgument = None,
    *,
    algorithms: AlgorithmsOption = None,
    protocol: Annotated[ProtocolOption, _OF_HOMOGRAPHIES] = ProtocolName.FIXED,
    result_directory: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("Results"),
    dataset_name: Annotated[str, typer.Option(help="Its folder for this data set.")] = "hpatches",
    dataset_dir: Annotated[DatasetDirOption, _OF_HOMOGRAPHIES] = Path("Datasets/hpatches"),
    table_format: Annotated[FormatOption, _OF_HOMOGRAPHIES] = TableFormat.TABLE,
    per_sequence: Annotated[PerSequenceOption, _OF_HOMOGRAPHIES] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves into this picture file.")] = None,
    workers: Annotated[WorkersOption, _OF_HOMOGRAPHIES] = None,
    task: TaskOption = Task.HOMOGRAPHY,
    pairs: Annotated[PairsOption, _OF_POSES] = None,
    root: Annotated[RootOption, _OF_POSES] = None,
    estimator: Annotated[EstimatorOption, _OF_POSES] = PoseEstimator.OPENCV,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score algorithms: matching accuracy and homographies, as tables and CSV files; or poses."""
    from gcm.benchmark.evaluate import evaluate as run
    from gcm.images.files import check_image_suffix

    console = Console(json_output=json_output, quiet=quiet)
    if plot is not None:
        check_image_suffix(plot)
        check_outputs({"--plot": plot}, [pairs])
    if task is Task.POSE:
        folder = result_directory / dataset_name
        named = _split([*(algorithms or []), *(names or [])], folder)
        score_poses(console, pairs, root, [_results(name, folder) for name in named], estimator.value, plot)
        return
    wanted = _split([*(algorithms or []), *(names or [])], result_directory / dataset_name)
    with console.progress() as bar:
        tasks = {name: bar.add_task(name, total=None) for name in dict.fromkeys(wanted)}
        result = run(
            wanted,
            result_directory=result_directory,
            dataset_name=dataset_name,
            dataset_dir=dataset_dir,
            protocol=protocol.value,
            workers=workers,
            on_pair=lambda name, done, total: bar.update(tasks[name], completed=done, total=total),
        )
    drawn = plot is not None and bool(result.scores)
    if plot is not None and drawn:
        from gcm.viz.curves import plot_curves

        plot_curves(result.scores, result.protocol, plot)
    _show(console, result, table_format, per_sequence=per_sequence)
    if drawn:
        console.note(f"curves: {plot}")
    if result.problems:
        raise typer.Exit(PARTIAL if result.scores else 1)


def _results(name: str, folder: Path) -> Path:
    """The folder of an algorithm: that of a data set's results, or the one that is named itself."""
    return folder / name if (folder / name).is_dir() else Path(name)


def _split(texts: list[str], folder: Path) -> list[str]:
    """Names with spaces, commas or both between them; a comma may belong to a name that is in `folder`."""
    from gcm.benchmark.layout import CONVERTED_FOLDER, MATCHES_FOLDER
    from gcm.errors import UsageError

    kinds = (MATCHES_FOLDER, CONVERTED_FOLDER)
    parts = [
        [text] if any((folder / text / kind).is_dir() for kind in kinds) else text.split(",")
        for text in texts
    ]
    names = [name.strip().rstrip("/") for part in parts for name in part]
    names = [name for name in names if name]
    if not names:
        raise UsageError("name the algorithms to score, as in: gcm evaluate --algorithms SIFT ORB")
    return names


def _show(console: Console, result: Evaluation, table_format: TableFormat, *, per_sequence: bool) -> None:
    from gcm_cli.evaluation_tables import all_tables, document, rich_table, written_table

    for name, problems in result.problems.items():
        shown = "; ".join(problems[:_MOST_NAMED]) + ("; ..." if len(problems) > _MOST_NAMED else "")
        verb = "is" if len(problems) == 1 else "are"
        count = plural(len(problems), "prediction")
        console.warn(f"{name}: no results, {count} {verb} missing or damaged: {shown}")
    if result.scores:
        for table in all_tables(result, per_sequence=per_sequence):
            if table_format is TableFormat.TABLE:
                console.table(rich_table(table))
            else:
                console.text(written_table(table, table_format.value))
        console.note(f"protocol {result.protocol.value}; files in {result.folder}")
    console.document(document(result))
