"""How many matches agree with a known homography."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcm.geometry import apply_homography

__all__ = ["THRESHOLDS", "count_within", "transfer_errors"]

THRESHOLDS = np.arange(1.0, 11.0)
"""Pixels: 1 to 10."""


def transfer_errors(points0: NDArray[Any], points1: NDArray[Any], h_0_to_1: ArrayLike) -> NDArray[np.float64]:
    """Distance, in pixels of image 1, of each match from where the homography takes it; N.

    Args:
        points0, points1: N x 2 matched points (x, y) in image 0 and image 1.
        h_0_to_1: 3 x 3 ground truth from image 0 to image 1.
    """
    difference = apply_homography(h_0_to_1, points0)
    difference -= np.asarray(points1, dtype=np.float64).reshape(-1, 2)
    difference *= difference
    distances: NDArray[np.float64] = np.sqrt(difference[:, 0] + difference[:, 1])
    return distances


def count_within(errors: NDArray[np.float64], thresholds: ArrayLike = THRESHOLDS) -> NDArray[np.int64]:
    """How many errors are at most each of the thresholds; nan counts for none."""
    limits = np.asarray(thresholds, dtype=np.float64)
    # Comparing all with all beats searching, where each error costs a few mispredicted branches.
    counts: NDArray[np.int64] = np.count_nonzero(errors <= limits[:, None], axis=1)
    return counts
