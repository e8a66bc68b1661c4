"""Homography, fundamental matrix and relative pose from matches of which many may be wrong."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcm.errors import UsageError
from gcm.estimation.base import (
    Estimator,
    FundamentalEstimate,
    HomographyEstimate,
    Mask,
    Matrix,
    Points,
    RelativePose,
    RobustOptions,
    camera_matrix,
)
from gcm.estimation.opencv import OpenCVEstimator
from gcm.estimation.registry import estimator

__all__ = ["estimate_fundamental", "estimate_homography", "estimate_relative_pose"]

_FEWEST = {"homography": 4, "fundamental": 8, "pose": 5}
"""Matches that determine the model (the fundamental matrix up to three solutions from 7, one from 8)."""

_LINE = 1e-6
"""Points are on one line when their extent across it is at most this share of that along it."""

_SINGULAR = 1e-9
"""Least determinant, over the cube of the norm, of a homography that is taken for one."""


def estimate_homography(
    source: NDArray[Any],
    target: NDArray[Any],
    *,
    threshold: float,
    method: int = cv2.RANSAC,
    iterations: int = 5000,
    confidence: float = 0.9999,
    seed: int = 0,
    library: str = "opencv",
) -> HomographyEstimate:
    """Homography that maps N x 2 `source` points to `target` points.

    Args:
        source, target: corresponding points, pixels. Fewer than 4, or all on one line, give no homography;
            pairs that are not finite are no inliers.
        threshold: reprojection error, in pixels of the target, below which a match is an inlier.
        method: a robust method of OpenCV's (``cv2.RANSAC``, ``cv2.USAC_MAGSAC``, ...).
        iterations: the most samples tried.
        confidence: of having found the best model.
        seed: equal inputs and seeds give equal results.
        library: see :func:`gcm.estimation.list_estimators`.

    Raises:
        UsageError: no such library, or a `method` for another library than OpenCV.
        DependencyError: the library is not installed.
    """
    source, target, usable = _usable(source, target)
    chosen = _with_method(library, method, cv2.RANSAC, "homography_method")
    if len(source) >= _FEWEST["homography"]:
        fit = chosen.homography(source, target, RobustOptions(threshold, iterations, confidence, seed))
        if fit is not None and _is_homography(fit[0], source, target, fit[1]):
            return HomographyEstimate(fit[0], _all_rows(fit[1], usable))
    return HomographyEstimate(None, np.zeros(len(usable), dtype=bool))


def estimate_fundamental(
    points0: NDArray[Any],
    points1: NDArray[Any],
    *,
    threshold: float = 1.0,
    method: int = cv2.USAC_MAGSAC,
    iterations: int = 5000,
    confidence: float = 0.9999,
    seed: int = 0,
    library: str = "opencv",
) -> FundamentalEstimate:
    """Fundamental matrix F with ``x1^T F x0 = 0``; for cameras whose intrinsics are not known.

    Args:
        points0, points1: N x 2 matched points, pixels. Fewer than 8, or all on one line, give no matrix;
            pairs that are not finite are no inliers.
        threshold: distance to the epipolar line, in pixels, below which a match is an inlier.
        method: a robust method of OpenCV's (``cv2.FM_RANSAC``, ``cv2.USAC_MAGSAC``, ...). MAGSAC fits to all
            that agrees, where RANSAC keeps the matrix of the seven or eight matches it drew.
        iterations, confidence, seed, library: see :func:`estimate_homography`.

    Raises:
        UsageError: no such library, or a `method` for another library than OpenCV.
        DependencyError: the library is not installed.
    """
    points0, points1, usable = _usable(points0, points1)
    chosen = _with_method(library, method, cv2.USAC_MAGSAC, "fundamental_method")
    if len(points0) >= _FEWEST["fundamental"]:
        fit = chosen.fundamental(points0, points1, RobustOptions(threshold, iterations, confidence, seed))
        if fit is not None and np.isfinite(fit[0]).all() and _determined(points0, points1, fit[1]):
            return FundamentalEstimate(fit[0], _all_rows(fit[1], usable))
    return FundamentalEstimate(None, np.zeros(len(usable), dtype=bool))


def estimate_relative_pose(
    points0: NDArray[Any],
    points1: NDArray[Any],
    intrinsics0: ArrayLike,
    intrinsics1: ArrayLike,
    *,
    threshold: float = 0.5,
    iterations: int = 1000,
    confidence: float = 0.99999,
    seed: int = 0,
    library: str = "opencv",
) -> RelativePose | None:
    """The pose that explains most matches, by way of the essential matrix; None when there is none.

    Args:
        points0, points1: N x 2 matched points, pixels. Fewer than 5, or all on one line, give no pose;
            pairs that are not finite are no inliers.
        intrinsics0, intrinsics1: 3 x 3 camera matrices, for the pixels the points are given in; their skew
            is taken as 0.
        threshold: distance to the epipolar line, in pixels, below which a match is an inlier.
        iterations, confidence, seed, library: see :func:`estimate_homography`.

    Raises:
        UsageError: no such library, or intrinsics that are no 3 x 3 matrix.
        DependencyError: the library is not installed.
    """
    k0, k1 = camera_matrix(intrinsics0, "intrinsics0"), camera_matrix(intrinsics1, "intrinsics1")
    points0, points1, usable = _usable(points0, points1)
    chosen = estimator(library)
    if len(points0) < _FEWEST["pose"]:
        return None
    options = RobustOptions(threshold, iterations, confidence, seed)
    pose = chosen.relative_pose(points0, points1, k0, k1, options)
    if pose is None or not _determined(points0, points1, pose.inliers):
        return None
    if not (np.isfinite(pose.rotation).all() and np.isfinite(pose.translation).all()):
        return None
    return RelativePose(pose.rotation, pose.translation, _all_rows(pose.inliers, usable))


def _with_method(library: str, method: int, default: int, option: str) -> Estimator:
    """The estimator of a library, set to a method, which only OpenCV's has."""
    if library == "opencv":
        return OpenCVEstimator(**{option: method})
    if method != default:
        raise UsageError(f"method is a setting of opencv; leave it out with library '{library}'")
    return estimator(library)


def _usable(points0: NDArray[Any], points1: NDArray[Any]) -> tuple[Points, Points, Mask]:
    """The matches whose points are finite, and which those are."""
    first = np.ascontiguousarray(points0, dtype=np.float64).reshape(-1, 2)
    second = np.ascontiguousarray(points1, dtype=np.float64).reshape(-1, 2)
    if np.isfinite(first).all() and np.isfinite(second).all():
        return first, second, np.ones(len(first), dtype=bool)
    usable = np.asarray(np.isfinite(np.column_stack([first, second])).all(axis=1))
    return first[usable], second[usable], usable


def _all_rows(inliers: Mask, usable: Mask) -> Mask:
    """Flags of the usable matches as flags of all matches."""
    if len(inliers) == len(usable):
        return inliers
    flags = np.zeros(len(usable), dtype=bool)
    flags[usable] = inliers
    return flags


def _determined(points0: Points, points1: Points, inliers: Mask) -> bool:
    """Whether the matches that agree with a model lie on no one line; there, any number of models fits."""
    return _extent(points0[inliers]) is not None and _extent(points1[inliers]) is not None


def _is_homography(h: Matrix, source: Points, target: Points, inliers: Mask) -> bool:
    """As :func:`_determined`, and the homography keeps the plane a plane."""
    before, after = _extent(source[inliers]), _extent(target[inliers])
    if before is None or after is None or not np.isfinite(h).all():
        return False
    # In coordinates of the points' own size and place.
    (x, y, size), (u, v, target_size) = before, after
    scaled = h @ np.array([[size, 0.0, x], [0.0, size, y], [0.0, 0.0, 1.0]])
    scaled[:2] -= np.array([[u], [v]]) * scaled[2]
    scaled[:2] /= target_size
    return bool(abs(np.linalg.det(scaled)) > _SINGULAR * np.linalg.norm(scaled) ** 3)


def _extent(points: Points) -> tuple[float, float, float] | None:
    """Centre (x, y) and mean distance from it; None when the points are fewer than 3 or on one line."""
    if len(points) < 3:
        return None
    x, y = points.mean(axis=0).tolist()
    centred = points - (x, y)
    (xx, xy), (_, yy) = (centred.T @ centred).tolist()
    # Of this matrix the larger eigenvalue is about the trace, and their product the determinant.
    if not xx * yy - xy * xy > _LINE**2 * (xx + yy) ** 2:
        return None
    return x, y, math.sqrt((xx + yy) / len(points))
