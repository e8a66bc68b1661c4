"""Fits that do not depend on the samples they were first found from.

Maps that differ in the last digit, as those of another processor, let RANSAC draw other samples; and an image
warped by a slightly other homography gives matches that all lie a tenth of a pixel elsewhere. The minimum of
a smooth cost, that of Geman and McClure (1987), is the same from wherever near it one starts. It is found by
least squares with weights anew (Holland and Welsch, 1977) on the linear equations of normalised points
(Hartley, 1997).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gcm.geometry import Matrix, Points, apply_homography, inverse

__all__ = ["settle_fundamental", "settle_homography"]

_MOST_ROUNDS, _AT_REST = 30, 1e-4
"""Rounds of least squares, and pixels that a round moves points by when there is no need for another."""


@np.errstate(divide="ignore", invalid="ignore")  # what is not finite ends the search
def settle_homography(h: Matrix, source: Points, target: Points, scale: float) -> Matrix:
    """A homography that fits all matches about it best.

    Args:
        h: 3 x 3, source to target, as it was found.
        source, target: N x 2, pixels.
        scale: of the cost, pixels of the target: what is farther off counts less than a quarter.

    Returns:
        `h` itself where it cannot be bettered.
    """
    to_unit0, to_unit1 = _to_unit(source), _to_unit(target)
    x, y = apply_homography(to_unit0, source).T
    u, v = apply_homography(to_unit1, target).T
    ones, zeros = np.ones_like(x), np.zeros_like(x)
    across = np.column_stack([x, y, ones, zeros, zeros, zeros, -u * x, -u * y, -u])
    down = np.column_stack([zeros, zeros, zeros, x, y, ones, -v * x, -v * y, -v])
    settled, mapped = h, apply_homography(h, source)
    for _ in range(_MOST_ROUNDS):
        off = np.linalg.norm(mapped - target, axis=1)
        depth = source @ settled[2, :2] + settled[2, 2]  # by which the equations stretch each distance
        weights = (_counted(off, scale) / depth) ** 2
        if not np.isfinite(weights).all():
            return h
        equations = (across * weights[:, None]).T @ across + (down * weights[:, None]).T @ down
        settled = inverse(to_unit1) @ _least(equations) @ to_unit0
        settled = settled / settled[2, 2]
        before, mapped = mapped, apply_homography(settled, source)
        moved = np.abs(mapped - before)[off < 2 * scale]
        if not np.isfinite(settled).all() or not np.isfinite(moved).all() or np.linalg.det(settled) <= 0:
            return h
        if moved.max(initial=0) < _AT_REST:
            break
    return settled


@np.errstate(divide="ignore", invalid="ignore")
def settle_fundamental(fundamental: Matrix, points0: Points, points1: Points, scale: float) -> Matrix:
    """A fundamental matrix that fits all matches about it best.

    Args:
        fundamental: 3 x 3, ``x1^T F x0 = 0``, as it was found.
        points0, points1: N x 2, pixels.
        scale: of the cost, pixels off the epipolar lines: what is farther off counts less than a quarter.

    Returns:
        3 x 3 of rank 2; `fundamental` itself where it cannot be bettered.
    """
    to_unit0, to_unit1 = _to_unit(points0), _to_unit(points1)
    first, second = (np.column_stack([points, np.ones(len(points))]) for points in (points0, points1))
    unit0, unit1 = first @ to_unit0.T, second @ to_unit1.T
    products = (unit1[:, :, None] * unit0[:, None, :]).reshape(-1, 9)
    settled, before = fundamental, np.full(len(points0), np.inf)
    for _ in range(_MOST_ROUNDS):
        lines1, lines0 = first @ settled.T, second @ settled
        # Sampson's distance: to first order, how far both points are from satisfying the equation.
        stretch = np.sqrt((lines0[:, :2] ** 2).sum(axis=1) + (lines1[:, :2] ** 2).sum(axis=1))
        usual = np.median(stretch)
        stretch = np.maximum(stretch, 1e-6 * usual)
        off = np.abs((second * lines1).sum(axis=1)) / stretch
        weights = (_counted(off, scale) * usual / stretch) ** 2
        if not np.isfinite(weights).all():
            return fundamental
        left, values, right = np.linalg.svd(_least((products * weights[:, None]).T @ products))
        settled = to_unit1.T @ (left * [values[0], values[1], 0.0]) @ right @ to_unit0
        settled = settled / np.linalg.norm(settled)
        if np.abs(off - before)[off < 2 * scale].max(initial=0) < _AT_REST:
            break
        before = off
    return settled


def _counted(off: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """The root of how much distances count in the next round."""
    result: NDArray[np.float64] = 1 / (1 + (off / scale) ** 2)
    return result


def _least(equations: Matrix) -> Matrix:
    """3 x 3, the solution of 9 x 9 homogeneous equations in the sense of least squares."""
    result: Matrix = np.linalg.eigh(equations)[1][:, 0].reshape(3, 3)
    return result


def _to_unit(points: Points) -> Matrix:
    """3 x 3, to coordinates about the points' centre, of a mean distance of sqrt(2) from it."""
    centre = points.mean(axis=0)
    scale = 2**0.5 / max(float(np.linalg.norm(points - centre, axis=1).mean()), 1e-9)
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1.0]])
