"""The scores of a set's pairs, put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.accuracy.sets import ANGLES, FRAME_GAPS, SCALES
from benchmarks.accuracy.sets.cases import Array
from gcm.metrics.pose import pose_auc

Score = dict[str, Any]
Numbers = dict[str, float]

AUC_LIMITS = (5.0, 10.0, 20.0)
"""Degrees."""

TRANSFER_LIMIT = 3.0
"""Pixels: mean error of the validation points below which a pair of `homogr` counts as solved."""


def values(scores: Sequence[Score], key: str, group: str | None = None) -> Array:
    """One measure of all pairs, or of a group's."""
    return np.array([s[key] for s in scores if group in (None, s["group"])], dtype=np.float64)


def summarise_oxford(scores: Sequence[Score]) -> Numbers:
    """Means over the pairs, and the worst of them."""
    errors, numbers = values(scores, "error"), {}
    for t in (1, 3, 5):
        numbers[f"MMA@{t}"] = float(values(scores, f"mma{t}").mean())
    for t in (1, 3, 5):
        numbers[f"HA@{t}"] = float((errors <= t).mean())
    numbers["matches"] = float(values(scores, "matches").mean())
    numbers["fewest matches"] = float(values(scores, "matches").min())
    numbers["lowest MMA@3"] = float(values(scores, "mma3").min())
    return numbers


def summarise_homogr(scores: Sequence[Score]) -> Numbers:
    """How many pairs are solved, and how well."""
    errors = values(scores, "error")
    solved = errors < TRANSFER_LIMIT
    return {
        "pairs under 3 px": float(solved.sum()),
        "pairs": float(len(errors)),
        "median error": float(np.median(errors)),
        "mean error of those": float(errors[solved].mean()) if solved.any() else math.nan,
        "matches": float(values(scores, "matches").mean()),
    }


def summarise_stereo(scores: Sequence[Score]) -> Numbers:
    """Means over the pairs."""
    return {
        "within 1/3 px": float(values(scores, "third").mean()),
        "within 1 px": float(values(scores, "one").mean()),
        "median error": float(values(scores, "median").mean()),
        "coverage": mean_known(values(scores, "coverage")),
        "right": mean_known(values(scores, "right")),
        "matches": float(values(scores, "known").mean()),
    }


def mean_known(numbers: Array) -> float:
    """Mean of those that are not nan; nan when all are."""
    known = numbers[~np.isnan(numbers)]
    return float(known.mean()) if len(known) else math.nan


def summarise_fmat(scores: Sequence[Score]) -> Numbers:
    """Mean accuracy and number of solved pairs, by OpenCV's MAGSAC and by PoseLib."""
    return {
        "mAA": float(values(scores, "mAA").mean()),
        "solved": float(values(scores, "solved").sum()),
        "mAA poselib": float(values(scores, "mAA poselib").mean()),
        "solved poselib": float(values(scores, "solved poselib").sum()),
        "pairs": float(len(scores)),
        "fewest matches": float(values(scores, "matches").min()),
        "matches": float(values(scores, "matches").mean()),
    }


def summarise_hololens(scores: Sequence[Score]) -> Numbers:
    """Poses; and coverage of the frames farthest apart, which has a bar."""
    last = f"gap {max(FRAME_GAPS)}"
    numbers = summarise_poses(scores)
    for key in ("coverage", "right"):
        numbers[f"{key}, {last}"] = mean_known(values(scores, key, last))
    return numbers


def summarise_poses(scores: Sequence[Score]) -> Numbers:
    """Areas under the curve, over all pairs and, at 10 degrees, for each group; means over the orders."""
    errors, groups = values(scores, "errors"), np.array([s["group"] for s in scores])
    areas = np.array([pose_auc(column, AUC_LIMITS) for column in errors.T])
    numbers = {f"AUC@{t:g}": float(area) for t, area in zip(AUC_LIMITS, areas.mean(axis=0), strict=True)}
    numbers["+- AUC@10"] = float(areas[:, 1].std(ddof=1))
    for group in (f"gap {gap}" for gap in FRAME_GAPS if f"gap {gap}" in groups):
        chosen = errors[groups == group]
        numbers[f"AUC@10, {group}"] = float(np.mean([pose_auc(column, [10.0])[0] for column in chosen.T]))
    numbers["median error"] = float(np.median(errors))
    numbers["matches"] = float(values(scores, "matches").mean())
    return numbers


def summarise_synthetic(scores: Sequence[Score]) -> Numbers:
    """MMA@3 of each cell, the lowest and the mean of the cells."""
    cells = {
        f"{degrees} x {scale:g}": float(values(scores, "mma3", f"{degrees} x {scale:g}").mean())
        for scale in SCALES
        for degrees in ANGLES
    }
    everything = list(cells.values())
    worst = {"lowest cell": min(everything), "mean of cells": float(np.mean(everything))}
    return {**worst, "matches": float(values(scores, "matches").mean()), **cells}


SUMMARIES: Mapping[str, Callable[[Sequence[Score]], Numbers]] = {
    "oxford-dev": summarise_oxford,
    "homogr": summarise_homogr,
    "stereo": summarise_stereo,
    "indoor": summarise_poses,
    "hololens": summarise_hololens,
    "fmat-dev": summarise_fmat,
    "strecha-dev": summarise_poses,
    "synthetic": summarise_synthetic,
}
