"""Measures of matches of scenes with depth: disparity, pose, fundamental matrix."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from benchmarks.accuracy.measures.coverage import sample_disparity
from benchmarks.accuracy.sets.cases import Array, Cameras, Disparity, EpipolarPoints
from gcm.geometry import epipolar_distances
from gcm.metrics.pose import score_relative_pose

try:
    import poselib
except ImportError:
    poselib = None

Score = dict[str, Any]

POSE_THRESHOLD = 0.5
"""Pixels, for the essential matrix."""

POSE_ORDERS = 5
"""Orders of the matches a pose is estimated from. RANSAC draws by position from a fixed seed: the order alone
moves the area under the curve of 71 pairs by some two points, more than methods differ by."""

EPIPOLAR_LIMITS = np.arange(1, 11)
"""Pixels: the accuracy of a fundamental matrix is the mean share of marked points within each of these."""

SOLVED_LIMIT, SOLVED_SHARE = 5, 0.8
"""A pair is solved when this share of its marked points lies within 5 px of their epipolar lines."""


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
    errors = []
    for order in range(POSE_ORDERS):
        index = np.arange(len(points0))
        if order:
            index = np.random.default_rng(order).permutation(index)
        errors.append(
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
        "rotation": float(np.median([pose.rotation for pose in errors])),
        "translation": float(np.median([pose.translation for pose in errors])),
        "errors": [pose.worst for pose in errors],
    }


def epipolar(truth: EpipolarPoints, points0: Array, points1: Array) -> Score:
    """How far the marked points lie from their lines by the fundamental matrix of the matches.

    By OpenCV's MAGSAC (1 px), and, the keys that end in "poselib", by PoseLib's LO-RANSAC (3 px; nan where it
    is not installed): thousands of matches on one plane mislead one estimator more than the other.
    """
    measured: Score = {}
    estimates = {"": magsac_fundamental(points0, points1)}
    if poselib is not None:
        estimates[" poselib"] = poselib_fundamental(points0, points1)
    for library in ("", " poselib"):
        if library not in estimates:
            measured |= {f"mAA{library}": math.nan, f"solved{library}": math.nan}
            continue
        errors = epipolar_errors(estimates[library], truth)
        within = (errors[:, None] <= EPIPOLAR_LIMITS).mean(axis=0)
        measured[f"mAA{library}"] = float(within.mean())
        measured[f"solved{library}"] = float(within[SOLVED_LIMIT - 1] >= SOLVED_SHARE)
    return measured


def magsac_fundamental(points0: Array, points1: Array) -> Array | None:
    """By OpenCV's USAC_MAGSAC at 1 px, which seeds itself with 0 at every call."""
    if len(points0) < 8:
        return None
    try:
        matrix, _ = cv2.findFundamentalMat(points0, points1, cv2.USAC_MAGSAC, 1.0, 0.9999, 20000)
    except cv2.error:  # what it makes of some degenerate input
        return None
    if matrix is None or matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        return None
    return np.asarray(matrix, dtype=np.float64)


def poselib_fundamental(points0: Array, points1: Array) -> Array | None:
    """By PoseLib at 3 px, its other settings as they come."""
    if len(points0) < 8:
        return None
    matrix, report = poselib.estimate_fundamental(points0, points1, {"max_epipolar_error": 3.0}, {})
    matrix = np.asarray(matrix, dtype=np.float64)
    return matrix if any(report["inliers"]) and np.isfinite(matrix).all() else None


def epipolar_errors(matrix: Array | None, truth: EpipolarPoints) -> Array:
    """The larger of the two distances, pixels, of each marked pair from its lines; inf without a matrix."""
    if matrix is None:
        return np.full(len(truth.points0), np.inf)
    errors = np.maximum(*epipolar_distances(matrix, truth.points0, truth.points1))
    return np.where(np.isfinite(errors), errors, np.inf)
