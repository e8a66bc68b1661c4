"""What speaks for sparse matches: the geometry they share, and how they move together."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gcm.estimation import estimate_fundamental
from gcm.geometry import Points
from gcm.method.working_matches import WorkingMatches

__all__ = ["epipolar_significance", "first_of_their_kind", "fundamental_of", "same_way_round", "share_adrift"]

_ITERATIONS, _SURE = 5000, 0.9999

_LEAST_CHANCE = 1e-6
"""Of fitting a line by accident: nothing is exact."""

_SAMPLE = 8
"""Matches that make an epipolar geometry, less one: fewer prove nothing."""

_TRIANGLES = 500

_AROUND, _FEWEST = 8, 40
"""Matches around another that tell where it lies, and the fewest of all of which these are near."""

_FLAT = 0.01
"""Ratio of the singular values below which matches around another lie on a line."""


def fundamental_of(points0: Points, points1: Points, tolerance: float) -> NDArray[np.float64] | None:
    """The epipolar geometry of N x 2 points and N x 2 others, MAGSAC's; None of too few."""
    if len(points0) < _SAMPLE + 1:
        return None
    return estimate_fundamental(
        points0,
        points1,
        threshold=tolerance,
        iterations=_ITERATIONS,
        confidence=_SURE,
    ).matrix


def epipolar_significance(
    distances: tuple[Points, Points], sizes: tuple[tuple[int, int], tuple[int, int]], tolerance: float
) -> float:
    """How far beyond chance matches share an epipolar geometry.

    The a-contrario question of Moisan and Stival (2004), as Moulon's AC-RANSAC asks it: were one of the
    points of each match anywhere in its image, how many geometries would so many of them fit so well?

    Args:
        distances: N pixels from the epipolar lines of their partners, in image 0 and in image 1, all matches.
        sizes: width and height of the images.
        tolerance: pixels off a line at which a match still counts.

    Returns:
        Minus the decimal logarithm of that expected number; 0 where it is 1 or more.
    """
    total = len(distances[0])
    chance = np.maximum(
        *(
            np.clip(2 * off * math.hypot(*size) / (size[0] * size[1]), _LEAST_CHANCE, 1.0)
            for off, size in zip(distances, sizes, strict=True)
        )
    )
    chances = np.sort(chance[np.maximum(*distances) <= tolerance])
    most = 0.0
    for k in range(_SAMPLE, len(chances) + 1):
        accidents = (
            math.log10(total - _SAMPLE + 1)
            + _log_choose(total, k)
            + _log_choose(k, _SAMPLE - 1)
            + (k - _SAMPLE + 1) * math.log10(chances[k - 1])
        )
        most = max(most, -accidents)
    return most


def share_adrift(points0: Points, points1: Points, tolerance: float) -> float:
    """How far the median match is from where those around it say, as a share of how far these lie apart.

    Around a match are the eight nearest; where they say it is, is by their affine motion. At 1 they tell
    nothing about it. Taken from image 0 and from image 1, and the smaller counts: in an image that shows a
    plane at a slant those around lie so close together that they tell little.

    Args:
        points0, points1: N x 2 each, pixels.
        tolerance: pixels that matches are taken to lie apart at least.

    Returns:
        0 of matches too few to say.
    """
    if len(points0) < _FEWEST:
        return 0.0
    return min(_adrift(points0, points1, tolerance), _adrift(points1, points0, tolerance))


def _adrift(here: Points, there: Points, tolerance: float) -> float:
    distances = np.linalg.norm(here[:, None] - here[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    around = np.argpartition(distances, _AROUND, axis=1)[:, :_AROUND]
    offsets = here[around] - here[:, None]
    design = np.concatenate([offsets, np.ones((*around.shape, 1))], axis=2)
    # Where they lie on a line, the pseudoinverse leaves out what they do not tell.
    said = (np.linalg.pinv(design, rcond=_FLAT) @ there[around])[:, 2]
    middle = np.median(there[around], axis=1, keepdims=True)
    apart = np.median(np.linalg.norm(there[around] - middle, axis=2), axis=1)
    return float(np.median(np.linalg.norm(said - there, axis=1) / np.maximum(apart, tolerance)))


def same_way_round(points0: Points, points1: Points) -> float:
    """The share of triangles of matches that go the same way round in both images."""
    if len(points0) < _SAMPLE:
        return 0.0
    corners = np.random.default_rng(0).integers(len(points0), size=(_TRIANGLES, 3))
    areas = []
    for points in (points0, points1):
        a, b, c = (points[corners[:, k]] for k in range(3))
        u, v = b - a, c - a
        areas.append(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    wide = np.minimum(*np.abs(areas)) > 0
    return float((areas[0] * areas[1] > 0)[wide].mean()) if wide.any() else 0.0


def first_of_their_kind(matches: WorkingMatches, radius: float) -> NDArray[np.bool_]:
    """Which matches have none before them that lies within `radius` pixels in both images.

    Two matchers, or one at two sizes, find the same match twice, right or wrong: it proves no more for that.
    """
    near = np.ones((len(matches), len(matches)), dtype=bool)
    for values in (*matches.points0.T, *matches.points1.T):
        near &= np.abs(values[:, None] - values[None]) < radius
    first: NDArray[np.bool_] = ~np.asarray(np.tril(near, -1).any(axis=1))
    return first


def _log_choose(n: int, k: int) -> float:
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(10)
