"""The homography that a result tells beside its matches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gcm.estimation.robust import estimate_homography
from gcm.geometry import Matrix, Points, scaled_inverse

__all__ = ["FINAL_THRESHOLD", "final_homography"]

FINAL_THRESHOLD = 3.0
"""Pixels; the reprojection error of inliers, where no configuration says."""


def final_homography(
    points0: Points, points1: Points, threshold: float = FINAL_THRESHOLD
) -> tuple[Matrix | None, NDArray[np.bool_] | None]:
    """The homography from image 0 to 1 that explains most matches, and which those are; None without one.

    Args:
        points0, points1: N x 2, corresponding points, pixels.
        threshold: pixels of image 0; reprojection error below which a match is an inlier.
    """
    found = estimate_homography(points1, points0, threshold=threshold)
    if found.matrix is None or not abs(np.linalg.det(found.matrix)) > 1e-12:
        return None, None
    return scaled_inverse(found.matrix), found.inliers
