"""What the matches of a pair are worth, by what is known about it."""

from __future__ import annotations

from typing import Any

from benchmarks.accuracy.measures.coverage import coverage
from benchmarks.accuracy.measures.depth import disparity, epipolar, poses
from benchmarks.accuracy.measures.planes import plane, transfer
from benchmarks.accuracy.sets.cases import Array, Cameras, Case, Disparity, EpipolarPoints, Plane, Points
from benchmarks.accuracy.summaries import SUMMARIES, Numbers

__all__ = ["SUMMARIES", "Numbers", "Score", "score"]

Score = dict[str, Any]


def score(case: Case, points0: Array, points1: Array) -> Score:
    """What matches of a pair are worth."""
    measured: Score = {"pair": case.name, "group": case.group, "matches": len(points0)}
    truth = case.truth
    if isinstance(truth, Plane):
        measured |= plane(truth, points0, points1)
    elif isinstance(truth, Points):
        measured |= transfer(truth, points0, points1)
    elif isinstance(truth, EpipolarPoints):
        measured |= epipolar(truth, points0, points1)
    elif isinstance(truth, Disparity):
        measured |= disparity(truth, points0, points1) | coverage(truth, points0, points1)
    elif isinstance(truth, Cameras):
        measured |= poses(truth, points0, points1) | coverage(truth, points0, points1)
    return measured
