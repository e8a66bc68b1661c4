"""Measures of matches where a homography, or points of a plane, are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.accuracy.sets.cases import Array, Plane, Points, TiltedPlane
from gcm.geometry import apply_homography, inside
from gcm.metrics.homography import magsac_homography, score_homography
from gcm.metrics.matching import count_within, transfer_errors

Score = dict[str, Any]


def plane(truth: Plane, points0: Array, points1: Array) -> Score:
    """Shares of matches within 1, 3, 5 px in image 1 (0 without matches), corner error by MAGSAC."""
    within = count_within(transfer_errors(points0, points1, truth.h_0_to_1)) / max(len(points0), 1)
    corners = score_homography(points0, points1, truth.h_0_to_1, truth.size0).error
    return {**{f"mma{t}": float(within[t - 1]) for t in (1, 3, 5)}, "error": corners}


def transfer(truth: Points, points0: Array, points1: Array) -> Score:
    """Mean distance, in image 1, of the validation points moved by the homography from where they are."""
    estimate = magsac_homography(points0, points1)
    if estimate.matrix is None:
        return {"error": math.inf}
    moved = apply_homography(estimate.matrix, truth.points0)
    error = float(np.linalg.norm(moved - truth.points1, axis=1).mean())
    return {"error": error if math.isfinite(error) else math.inf}


VISIBLE_GRID = 40
"""Points a side of the grid over image 0 on which a slanted plane is compared."""


def visible(truth: TiltedPlane, points0: Array, points1: Array) -> Score:
    """Mean distance, in image 1, of a grid of image 0's points from where they are, of those image 1
    shows."""
    ticks = [np.linspace(0, side - 1, VISIBLE_GRID) for side in truth.size0]
    grid = np.stack(np.meshgrid(*ticks), axis=-1).reshape(-1, 2)
    expected = apply_homography(truth.h_0_to_1, grid)
    shown = inside(expected, *truth.size1)
    return transfer(Points(grid[shown], expected[shown]), points0, points1)
