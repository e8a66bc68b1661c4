"""How well a homography estimated from matches moves an image's corners."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcm.estimation import HomographyEstimate, estimate_homography
from gcm.geometry import apply_homography, image_corners

__all__ = [
    "MAGSAC_THRESHOLD",
    "HomographyScore",
    "auc_terms",
    "corner_error",
    "magsac_homography",
    "score_homography",
    "swapped_corners",
]

MAGSAC_THRESHOLD = 3.0
"""Pixels."""


def swapped_corners(width: int, height: int) -> NDArray[np.float64]:
    """The four points IME takes for corners: those of an image with its sides swapped."""
    return image_corners(height, width)


def corner_error(h_0_to_1: ArrayLike, truth_0_to_1: ArrayLike, corners: NDArray[np.float64]) -> float:
    """Mean distance, in pixels of image 1, between the corners under two homographies; inf if not finite."""
    return _mean_error(_corner_distances(h_0_to_1, truth_0_to_1, corners))


def _corner_distances(
    h_0_to_1: ArrayLike, truth_0_to_1: ArrayLike, corners: NDArray[np.float64]
) -> NDArray[np.float64]:
    difference = apply_homography(h_0_to_1, corners) - apply_homography(truth_0_to_1, corners)
    distances: NDArray[np.float64] = np.sqrt((difference**2).sum(axis=1))
    return distances


def _mean_error(distances: NDArray[np.float64]) -> float:
    error = float(distances.mean())
    return error if math.isfinite(error) else math.inf


@dataclass(frozen=True)
class HomographyScore:
    """Result of :func:`score_homography`."""

    error: float
    """Mean error of the true corners, pixels; inf when no homography was found."""
    error_swapped: float
    """The same at IME's corners."""
    inliers: int
    """Matches that agree with the estimate."""


def magsac_homography(points0: NDArray[Any], points1: NDArray[Any]) -> HomographyEstimate:
    """The homography from image 0 to image 1 as IME estimates it: MAGSAC, 3 px, 5000 iterations, 0.9999.

    Args:
        points0, points1: N x 2 matched points, pixels.
    """
    return estimate_homography(
        points0,
        points1,
        threshold=MAGSAC_THRESHOLD,
        method=cv2.USAC_MAGSAC,
        iterations=5000,
        confidence=0.9999,
    )


def score_homography(
    points0: NDArray[Any], points1: NDArray[Any], h_0_to_1: ArrayLike, size0: tuple[int, int]
) -> HomographyScore:
    """Estimate a homography by :func:`magsac_homography` and compare its corners.

    Args:
        points0, points1: N x 2 matched points.
        h_0_to_1: 3 x 3 ground truth.
        size0: width and height of image 0.
    """
    estimate = magsac_homography(points0, points1)
    inliers = int(np.count_nonzero(estimate.inliers))
    if estimate.matrix is None:
        return HomographyScore(math.inf, math.inf, inliers)
    corners = np.concatenate([image_corners(*size0), swapped_corners(*size0)])
    distances = _corner_distances(estimate.matrix, h_0_to_1, corners)
    return HomographyScore(_mean_error(distances[:4]), _mean_error(distances[4:]), inliers)


def auc_terms(errors: NDArray[np.float64], thresholds: ArrayLike) -> NDArray[np.float64]:
    """What each pair adds to the area under the curve "share of pairs with an error of at most t", 0 to T.

    The curve is a step function, so its area divided by T is exactly the mean over pairs of
    ``max(0, 1 - error / T)``. (The trapezoid rule in common use joins the steps by slopes and lies up to
    1 / (2 x pairs) higher.)

    Args:
        errors: P, pixels; inf for none found.
        thresholds: M upper ends T, pixels.

    Returns:
        P x M; its mean over pairs is the area under the curve, 0 to 1.
    """
    limits = np.asarray(thresholds, dtype=np.float64)
    terms: NDArray[np.float64] = np.maximum(0.0, 1.0 - np.asarray(errors)[:, None] / limits)
    return terms
