"""What the matches of a pair are worth, by what is known about it."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.accuracy.measures.coverage import coverage
from benchmarks.accuracy.measures.depth import disparity, epipolar, poses
from benchmarks.accuracy.measures.planes import plane, transfer, visible
from benchmarks.accuracy.measures.verdicts import agreement, verdict
from benchmarks.accuracy.sets.cases import (
    Ambiguous,
    Array,
    Cameras,
    Case,
    Disparity,
    EitherOrder,
    EpipolarPoints,
    Plane,
    Points,
    RightOrNothing,
    SamePlace,
    TiltedPlane,
)
from benchmarks.accuracy.summaries import SUMMARIES, Numbers

__all__ = ["SUMMARIES", "Numbers", "Score", "score"]

Score = dict[str, Any]


def score(
    case: Case,
    points0: Array,
    points1: Array,
    confidence: float | None = None,
    swapped: tuple[Array, Array] | None = None,
) -> Score:
    """What matches of a pair are worth.

    Args:
        case: the pair and its truth.
        points0, points1: N x 2 each, pixels of the pair's images as they were matched.
        confidence: the matcher's, in [0, 1]; None where it has none.
        swapped: for :class:`EitherOrder`, the points of image 0 and of image 1 when image 1 came first.
    """
    measured: Score = {
        "pair": case.name,
        "group": case.group,
        "matches": len(points0),
        "confidence": math.nan if confidence is None else float(confidence),
    }
    truth = case.truth
    if isinstance(truth, Plane):
        measured |= plane(truth, points0, points1)
    elif isinstance(truth, TiltedPlane):
        measured |= visible(truth, points0, points1)
    elif isinstance(truth, Points):
        measured |= transfer(truth, points0, points1)
    elif isinstance(truth, EpipolarPoints):
        measured |= epipolar(truth, points0, points1)
    elif isinstance(truth, Disparity):
        measured |= disparity(truth, points0, points1) | coverage(truth, points0, points1)
    elif isinstance(truth, Cameras):
        measured |= poses(truth, points0, points1) | coverage(truth, points0, points1)
    elif isinstance(truth, RightOrNothing | Ambiguous):
        measured |= verdict(truth, points0, points1)
    elif isinstance(truth, EitherOrder):
        if swapped is None:
            raise ValueError(f"{case.name}: needs the matches of the other order as well")
        measured |= agreement((points0, points1), swapped)
    elif isinstance(truth, SamePlace):
        measured["same"] = truth.same
    return measured
