"""How much of what both images show is matched, and how much of what is matched is right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.sets.cases import Array, Cameras, Disparity

Score = dict[str, Any]
Mask = NDArray[np.bool_]

CELL = 8
"""Pixels: side of the cells of image 0 that hold a right match or don't."""

SHARED = 0.5
"""Share of a cell's pixels that both images show, from which the cell counts."""

RIGHT = 3.0
"""Pixels: a match is right when it lies no farther from the truth."""

DEPTH_TOLERANCE = 0.05
"""Share of the depth by which the two depth images may differ where both show the same place."""

DISPARITY_TOLERANCE = 1.0
"""Pixels: a place is hidden when another, nearer by more than this, falls on the same pixel of image 1."""


def coverage(truth: Disparity | Cameras, points0: Array, points1: Array) -> Score:
    """Share of the shared cells that hold a right match, and of right ones among matches of known truth.

    A cell of 8 x 8 px of image 0 counts when both images show most of it: half of its pixels have a known
    place inside image 1, and nothing nearer hides them there. A match's truth is known, with a disparity,
    where its pixel of image 0 is such a one; with depth images, where that of image 0 has a depth: that image
    1 has none there, or another, is mostly a fault of the sensor. Without depth images both are nan.
    """
    if isinstance(truth, Cameras) and (truth.depth0 is None or truth.depth1 is None):
        return {"coverage": math.nan, "right": math.nan}
    visible = visible_disparity(truth.disparity) if isinstance(truth, Disparity) else visible_depth(truth)
    rows, columns = (side // CELL for side in visible.shape)
    blocks = visible[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL)
    shared = blocks.mean(axis=(1, 3)) >= SHARED
    if not len(points0):
        return {"coverage": 0.0, "right": math.nan}
    expected = expected_points(truth, points0)
    known: Mask = np.asarray(np.isfinite(expected).all(axis=1))
    if isinstance(truth, Disparity):
        known &= visible[pixels_of(points0, visible.shape)]
    right = known & (np.linalg.norm(np.where(known[:, None], expected, 0) - points1, axis=1) <= RIGHT)
    # Pixel centres are at integers: the first cell reaches from -0.5 to 7.5.
    column, row = np.floor((points0[right] + 0.5) / CELL).astype(int).T
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    hit = np.zeros_like(shared)
    hit[row[inside], column[inside]] = True
    return {
        "coverage": float(hit[shared].mean()) if shared.any() else math.nan,
        "right": float(right.sum() / known.sum()) if known.any() else math.nan,
    }


def expected_points(truth: Disparity | Cameras, points0: Array) -> Array:
    """Where N x 2 points of image 0 are in image 1; nan where that is not known."""
    if isinstance(truth, Disparity):
        return points0 - np.column_stack([sample_disparity(truth.disparity, points0), np.zeros(len(points0))])
    assert truth.depth0 is not None
    depths = truth.depth0[pixels_of(points0, truth.depth0.shape)]
    return project(truth, points0, depths.astype(np.float64))[0]


def pixels_of(points: Array, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pixels nearest to N x 2 points, in an image of height and width `shape`."""
    column, row = np.rint(points).astype(np.intp).T
    return np.clip(row, 0, shape[0] - 1), np.clip(column, 0, shape[1] - 1)


def project(truth: Cameras, points0: Array, depths: Array) -> tuple[Array, Array]:
    """Points of image 0 at given depths, in image 1, N x 2, and their depths there; nan behind camera 1."""
    rays = np.column_stack([points0, np.ones(len(points0))]) @ np.linalg.inv(truth.intrinsics0).T
    moved = (rays * depths[:, None]) @ truth.pose_0_to_1[:3, :3].T + truth.pose_0_to_1[:3, 3]
    moved[~(moved[:, 2] > 0)] = np.nan
    seen = moved @ truth.intrinsics1.T
    return seen[:, :2] / seen[:, 2:], moved[:, 2]


def visible_depth(truth: Cameras) -> Mask:
    """H x W: pixels of image 0 whose place image 1 shows too, by the depth images of both."""
    assert truth.depth0 is not None
    assert truth.depth1 is not None
    height, width = truth.depth0.shape
    y, x = np.mgrid[:height, :width]
    grid = np.column_stack([x.ravel(), y.ravel()]).astype(np.float64)
    expected, depth = project(truth, grid, truth.depth0.ravel().astype(np.float64))
    rows, columns = truth.depth1.shape
    with np.errstate(invalid="ignore"):
        inside = ((expected >= -0.5) & (expected < np.array([columns, rows]) - 0.5)).all(axis=1)
    there = truth.depth1[pixels_of(expected[inside], truth.depth1.shape)]
    visible = np.zeros(height * width, dtype=bool)
    # False where depth 1 is not known: then nobody knows whether something hides the place.
    visible[inside] = np.abs(depth[inside] - there) <= DEPTH_TOLERANCE * there
    return visible.reshape(height, width)


def visible_disparity(disparity: Array) -> Mask:
    """H x W: pixels of the left image that the right one shows too, from the left one's disparities alone."""
    height, width = disparity.shape
    row, column = np.nonzero(np.isfinite(disparity))
    shift = disparity[row, column]
    x = column - shift
    nearest = np.full((height, width), -np.inf)  # of what falls on each pixel of image 1
    for rounded in (np.floor(x), np.ceil(x)):
        inside = (rounded >= 0) & (rounded < width)
        np.maximum.at(nearest, (row[inside], rounded[inside].astype(int)), shift[inside])
    visible = np.zeros((height, width), dtype=bool)
    inside = (x >= -0.5) & (x <= width - 0.5)
    place = np.clip(np.rint(x[inside]).astype(int), 0, width - 1)
    visible[row[inside], column[inside]] = nearest[row[inside], place] <= shift[inside] + DISPARITY_TOLERANCE
    return visible


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
