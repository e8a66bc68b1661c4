"""Where the depth of one frame puts its places in another, and whether the other frame bears that out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.distillation.data import Image
from gcm.distillation.real_pairs import Array, Mask
from gcm.distillation.rgbd_folders import Frame
from gcm.geometry import inside, resize_points

__all__ = ["Reprojection", "brightness_correlation", "depth_at", "misalignment", "reproject"]

_EDGE = 0.05
"""Share of the depth by which the four pixels around a place may differ; at an edge of depth, which of the
two surfaces a place belongs to is open."""

_HIDES = 2.0
"""Tolerances by which what hides a place must lie before it; in between nobody says."""

_WINDOW = 5
"""Samples a side of the window in which brightness is compared."""

_SHIFTS = 4
"""Cells each way in which a better fit is looked for."""

_FITS = 0.3
"""Correlation of detail below which no shift fits."""

_LEAST_SEEN = 0.5
"""Share of a window whose places must be known."""

_FLAT = 3.0
"""Deviation in grey levels of a window that is flat: noise, which correlates with nothing."""


@dataclass(frozen=True)
class Reprojection:
    """Of N places of one frame."""

    places: Array
    """N x 2, pixels of the other frame; nan where they are not seen there."""
    hidden: Mask
    """N: outside the other frame, or behind something. What is neither seen nor hidden is not known."""
    contradicted: Mask
    """N: the other frame sees past where the place should be, or the way back leads elsewhere."""


def reproject(own: Frame, other: Frame, points: Array, *, tolerance: float, way_back: float) -> Reprojection:
    """Take places to another frame, checked by its depth and by the way back.

    Args:
        own, other: the frames.
        points: N x 2 (x, y), pixels of `own`.
        tolerance: share of the depth by which two frames that agree may differ.
        way_back: pixels of `own`: how near the way there and back ends.
    """
    places, expected = _moved(own, other, points, depth_at(own, points))
    known = expected > 0
    shown = known & inside(np.where(known[:, None], places, -1.0), *other.size)
    found = depth_at(other, places)
    with np.errstate(invalid="ignore"):
        ratio = found / expected
        agrees = shown & (np.abs(ratio - 1) <= tolerance)
        back, _ = _moved(other, own, places, found)
        returns = np.hypot(*(back - points).T) <= way_back
        behind = shown & (ratio < 1 - _HIDES * tolerance)
        past = shown & (ratio > 1 + tolerance)
    seen = agrees & returns
    return Reprojection(
        np.where(seen[:, None], places, np.nan), (known & ~shown) | behind, past | (agrees & ~returns)
    )


def depth_at(frame: Frame, points: Array) -> Array:
    """N depths in metres at N x 2 pixels of a frame's image; nan where unknown and at edges of depth."""
    height, width = frame.depth.shape
    with np.errstate(invalid="ignore"):
        x, y = resize_points(points, frame.size, (width, height)).T
        within = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    x, y = np.where(within, x, 0), np.where(within, y, 0)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    four = np.stack([frame.depth[top + dy, left + dx] for dy in (0, 1) for dx in (0, 1)]).astype(np.float64)
    dx, dy = x - left, y - top
    weights = np.stack([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx])
    low, high = four.min(axis=0), four.max(axis=0)
    # Of a plane it is 1 / depth that is linear over the image.
    depth = 1 / (weights / four).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(within & (high - low <= _EDGE * low), depth, np.nan)


def _moved(own: Frame, other: Frame, points: Array, depth: Array) -> tuple[Array, Array]:
    """N x 2 pixels of the other frame, and depths there; nan where the depth is unknown."""
    rays = np.column_stack([points, np.ones(len(points))]) @ np.linalg.inv(own.intrinsics).T
    change = np.linalg.inv(other.pose) @ own.pose
    moved = (rays * depth[:, None]) @ change[:3, :3].T + change[:3, 3]
    ahead = np.where(moved[:, 2] > 0, moved[:, 2], np.nan)
    projected = moved @ other.intrinsics.T
    return projected[:, :2] / ahead[:, None], ahead


def brightness_correlation(first: Image, second: Image, places: Array, step: int) -> NDArray[np.float32]:
    """How what is around the cells of one image correlates with what is around their places in another.

    Args:
        first, second: H x W x 3 uint8.
        places: N x 2, pixels of `second`: of the cells of `first` (:func:`cell_centres` of its size), row by
            row; nan where unknown.
        step: pixels a cell.

    Returns:
        Rows x columns of cells, -1 to 1; nan where too little is known, or one of both shows nothing.
    """
    own, other, known = _laid_over(first, second, places, step)
    weight = known.astype(np.float32)
    share = _mean(weight)
    divisor = np.maximum(share, 1e-6)
    mean0, mean1 = (_mean(weight * image) / divisor for image in (own, other))
    variance0 = _mean(weight * own * own) / divisor - mean0**2
    variance1 = _mean(weight * other * other) / divisor - mean1**2
    covariance = _mean(weight * own * other) / divisor - mean0 * mean1
    told = known & (share >= _LEAST_SEEN) & (np.minimum(variance0, variance1) > _FLAT**2)
    deviations = np.sqrt(np.maximum(variance0 * variance1, 1e-6))
    return np.where(told, covariance / deviations, np.float32(np.nan)).astype(np.float32)


def misalignment(first: Image, second: Image, places: Array, step: int) -> float:
    """How far off the places must be moved, all alike, to fit the brightness best; pixels of `first`.

    Arguments as of :func:`brightness_correlation`.

    Returns:
        inf where nothing within :data:`_SHIFTS` cells fits best, nan where brightness does not tell.
    """
    own, other, known = _laid_over(first, second, places, step)
    rows, columns = own.shape
    if min(rows, columns) <= 4 * _SHIFTS:
        return float("nan")
    weight = known.astype(np.float32)
    detail0, detail1 = _detail(own, weight), _detail(other, weight)
    inner = slice(_SHIFTS, rows - _SHIFTS), slice(_SHIFTS, columns - _SHIFTS)
    scores = np.zeros((2 * _SHIFTS + 1, 2 * _SHIFTS + 1))
    for y, x in np.ndindex(scores.shape):
        moved = slice(y, y + rows - 2 * _SHIFTS), slice(x, x + columns - 2 * _SHIFTS)
        both = weight[inner] * weight[moved]
        a, b = detail0[inner] * both, detail1[moved] * both
        scores[y, x] = (a * b).sum() / max(1e-6, float(np.sqrt((a * a).sum() * (b * b).sum())))
    y, x = divmod(int(scores.argmax()), scores.shape[1])
    if scores[y, x] < _FITS:
        return float("nan")
    if not (0 < y < 2 * _SHIFTS and 0 < x < 2 * _SHIFTS):
        return float("inf")
    down, across = _peak(scores[:, x]) + y - _SHIFTS, _peak(scores[y]) + x - _SHIFTS
    return step * float(np.hypot(down, across))


def _detail(image: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image less its mean around each cell, as far as it is known: a shadow fits as well further on."""
    around = _mean(weight * image) / np.maximum(_mean(weight), np.float32(1e-6))
    return np.asarray(weight * (image - around), np.float32)


def _peak(scores: NDArray[Any]) -> float:
    """Where a parabola through the highest of the scores and its neighbours is highest, in steps from it."""
    k = int(scores.argmax())
    before, here, after = scores[k - 1 : k + 2]
    return float(0.5 * (before - after) / min(before - 2 * here + after, -1e-9))


def _laid_over(
    first: Image, second: Image, places: Array, step: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], Mask]:
    """Rows x columns of cells: one image, the other as it should look there, and where that is known."""
    rows, columns = first.shape[0] // step, first.shape[1] // step
    own = _shrunk(first[: rows * step, : columns * step], (columns, rows))
    height, width = second.shape[0] // step, second.shape[1] // step
    where = resize_points(places, (second.shape[1], second.shape[0]), (width, height))
    where = where.reshape(rows, columns, 2).astype(np.float32)
    known = np.asarray(np.isfinite(where).all(axis=2))
    return own, _sampled(_shrunk(second, (width, height)), np.nan_to_num(where)), known


def _shrunk(image: Image, size: tuple[int, int]) -> NDArray[np.float32]:
    """In grey, each pixel the mean of what it stands for."""
    grey = image.astype(np.float32).mean(axis=2)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)


def _sampled(image: NDArray[np.float32], where: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image at H x W x 2 places."""
    x, y = np.ascontiguousarray(where[..., 0]), np.ascontiguousarray(where[..., 1])
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _mean(values: Any) -> NDArray[np.float32]:
    """Of the window around each."""
    window = (_WINDOW, _WINDOW)
    return np.asarray(cv2.blur(values.astype(np.float32), window, borderType=cv2.BORDER_CONSTANT), np.float32)
