"""What `accuracy.py` measures on a pair, and how it is put together for a set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.sets import ANGLES, FRAME_GAPS, SCALES, Cameras, Case, Disparity, Plane, Points
from gcm.estimation import estimate_homography
from gcm.geometry import apply_homography
from gcm.metrics.homography import MAGSAC_THRESHOLD, score_homography
from gcm.metrics.matching import count_within, transfer_errors
from gcm.metrics.pose import pose_auc, score_relative_pose

Array = NDArray[np.float64]
Score = dict[str, Any]
Numbers = dict[str, float]

AUC_LIMITS = (5.0, 10.0, 20.0)
"""Degrees."""

POSE_THRESHOLD = 0.5
"""Pixels, for the essential matrix."""

POSE_ORDERS = 5
"""Orders of the matches a pose is estimated from. RANSAC draws by position from a fixed seed: the order alone
moves the area under the curve of 71 pairs by some two points, more than methods differ by."""

TRANSFER_LIMIT = 3.0
"""Pixels: mean error of the validation points below which a pair of `homogr` counts as solved."""


def score(case: Case, points0: Array, points1: Array) -> Score:
    """What matches of a pair are worth."""
    measured: Score = {"pair": case.name, "group": case.group, "matches": len(points0)}
    truth = case.truth
    if isinstance(truth, Plane):
        measured |= plane(truth, points0, points1)
    elif isinstance(truth, Points):
        measured |= transfer(truth, points0, points1)
    elif isinstance(truth, Disparity):
        measured |= disparity(truth, points0, points1)
    elif isinstance(truth, Cameras):
        measured |= poses(truth, points0, points1)
    return measured


def plane(truth: Plane, points0: Array, points1: Array) -> Score:
    """Shares of matches within 1, 3, 5 px in image 1 (0 without matches), corner error by MAGSAC."""
    within = count_within(transfer_errors(points0, points1, truth.h_0_to_1)) / max(len(points0), 1)
    corners = score_homography(points0, points1, truth.h_0_to_1, truth.size0).error
    return {**{f"mma{t}": float(within[t - 1]) for t in (1, 3, 5)}, "error": corners}


def transfer(truth: Points, points0: Array, points1: Array) -> Score:
    """Mean distance, in image 1, of the validation points moved by the homography from where they are."""
    found = estimate_homography(
        points0,
        points1,
        threshold=MAGSAC_THRESHOLD,
        method=cv2.USAC_MAGSAC,
        iterations=5000,
        confidence=0.9999,
    )
    if found.matrix is None:
        return {"error": math.inf}
    moved = apply_homography(found.matrix, truth.points0)
    error = float(np.linalg.norm(moved - truth.points1, axis=1).mean())
    return {"error": error if math.isfinite(error) else math.inf}


def disparity(truth: Disparity, points0: Array, points1: Array) -> Score:
    """Distances of matches from where the disparity says; only those where it is known."""
    expected = sample_disparity(truth.disparity, points0)
    known = np.isfinite(expected)
    dx = points1[known, 0] - (points0[known, 0] - expected[known])
    errors = np.hypot(dx, points1[known, 1] - points0[known, 1])
    if not len(errors):
        return {"known": 0, "third": 0.0, "one": 0.0, "median": math.inf, "shift": math.nan}
    return {
        "known": len(errors),
        "third": float((errors <= 1 / 3).mean()),
        "one": float((errors <= 1).mean()),
        "median": float(np.median(errors)),
        "shift": float(np.median(dx)),
    }


def poses(truth: Cameras, points0: Array, points1: Array) -> Score:
    """Errors of the relative pose, degrees, from the matches as they come and shuffled."""
    found = []
    for order in range(POSE_ORDERS):
        index = np.arange(len(points0))
        if order:
            index = np.random.default_rng(order).permutation(index)
        found.append(
            score_relative_pose(
                points0[index],
                points1[index],
                truth.intrinsics0,
                truth.intrinsics1,
                truth.pose_0_to_1,
                threshold=POSE_THRESHOLD,
            )
        )
    return {
        "rotation": float(np.median([pose.rotation for pose in found])),
        "translation": float(np.median([pose.translation for pose in found])),
        "errors": [pose.worst for pose in found],
    }


def sample_disparity(values: Array, points: Array) -> Array:
    """Disparity at N x 2 points: bilinear where the four pixels about are one surface, else the nearest's."""
    height, width = values.shape
    x, y = np.clip(points[:, 0], 0, width - 1), np.clip(points[:, 1], 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    four = np.stack([values[top, left], values[top, right], values[bottom, left], values[bottom, right]])
    u, v = x - left, y - top
    smooth = (four * np.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v])).sum(axis=0)
    nearest = values[np.rint(y).astype(int), np.rint(x).astype(int)]
    one_surface = four.max(axis=0) - four.min(axis=0) < 1  # false where one of the four is unknown
    result: Array = np.where(one_surface, smooth, nearest)
    return result


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
        "matches": float(values(scores, "known").mean()),
    }


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
    "hololens": summarise_poses,
    "synthetic": summarise_synthetic,
}
