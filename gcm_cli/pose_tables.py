"""The table of ``gcm evaluate --task pose``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gcm_cli.console import Console

if TYPE_CHECKING:
    from rich.table import Table

    from gcm.benchmark.poses import PoseScores

__all__ = ["score_poses"]


def score_poses(
    console: Console,
    list_file: Path | None,
    root: Path | None,
    folders: Sequence[Path],
    estimator: str,
    plot: Path | None,
) -> None:
    """Score folders of matches by the poses they lead to, show a table, and draw curves where asked to."""
    from gcm.benchmark.poses import evaluate_poses, read_pose_pairs
    from gcm.errors import UsageError

    if list_file is None:
        raise UsageError("--task pose needs the list that was matched, as in --pairs pairs_with_gt.txt")
    pairs = read_pose_pairs(list_file, root)
    scores = []
    with console.progress() as bar:
        for folder in folders:
            advance = partial(bar.advance, bar.add_task(folder.name, total=len(pairs)))
            scores.append(evaluate_poses(pairs, folder, estimator=estimator, on_pair=advance))
    if plot is not None:
        from gcm.viz.curves import plot_pose_curves

        names = [score.name for score in scores]
        if len(set(names)) < len(names):  # of folders in several places
            names = [str(folder) for folder in folders]
        errors = [list(score.errors.values()) for score in scores]
        plot_pose_curves(dict(zip(names, errors, strict=True)), scores[0].estimator, plot)
    console.table(_table(scores))
    if plot is not None:
        console.note(f"curves: {plot}")
    console.document({"pairs": str(list_file), "algorithms": [score.to_dict() for score in scores]})


def _table(scores: Sequence[PoseScores]) -> Table:
    from rich.table import Table

    from gcm.benchmark.poses import LIMITS

    pairs, estimator = len(scores[0].errors), scores[0].estimator
    table = Table(title=f"Poses of {pairs} pairs by {estimator}: area under the curve of errors (95 %)")
    table.add_column("algorithm", overflow="fold")
    for limit in LIMITS:
        table.add_column(f"AUC@{limit:.0f}", justify="right")
    for heading in ("failed", "size"):
        table.add_column(heading, justify="right")
    for score in scores:
        areas = [
            f"{area:.3f}\n({low:.2f}, {high:.2f})"
            for area, (low, high) in zip(score.auc, score.intervals(), strict=True)
        ]
        table.add_row(score.name, *areas, str(score.failed), score.size)
    return table
