"""Which matches their neighbours bear out: verification without a global model.

On any surface that is smooth nearly everywhere, matches close together move together. A match is borne out
when enough of those around it have nearly its own displacement; a wrong one stands alone. Unlike a
homography this holds for scenes of any shape, as long as what is left of the motion varies slowly.

Source: the idea is that of grid-based motion statistics (Bian et al., GMS, CVPR 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LocalMotion",
    "fit_motion",
    "local_support",
    "mean_around",
    "moving_together",
    "smooth_motion",
]


def local_support(
    points: NDArray[np.float64],
    displacements: NDArray[np.float64],
    *,
    radius: float,
    tolerance: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the matches around each match, and those of them that move alike.

    Args:
        points: N x 2, pixels.
        displacements: N x 2, pixels.
        radius: side of the square bins; the neighbourhood is the 3 x 3 bins around a match's own.
        tolerance: side of the bins of displacement; alike are those in the 3 x 3 bins around its own.

    Returns:
        N counts of alike neighbours, the match itself not counted, and N counts of all neighbours.
    """
    if len(points) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    bins = _Bins.of(points, displacements, radius, tolerance)
    support = _count(bins.keys, (bins.near[:, None] + bins.alike[None, :]).ravel())
    return support - 1, _count(bins.places, bins.near) - 1


def moving_together(
    points: NDArray[np.float64],
    displacements: NDArray[np.float64],
    *,
    radius: float,
    tolerance: float,
) -> NDArray[np.int64]:
    """Which matches are of one group: linked, one by one, by neighbours that move alike.

    Args:
        points: N x 2, pixels.
        displacements: N x 2, pixels.
        radius, tolerance: who is a neighbour and what is alike, see :func:`local_support`.

    Returns:
        N, the number of each match's group, from 0.
    """
    if len(points) == 0:
        return np.zeros(0, np.int64)
    bins = _Bins.of(points, displacements, radius, tolerance)
    distinct, inverse = np.unique(bins.keys, return_inverse=True)
    shifts = (bins.near[:, None] + bins.alike[None, :]).ravel()
    links = [_linked(distinct, shift) for shift in shifts if shift > 0]
    first, second = (np.concatenate(ends) for ends in zip(*links, strict=True))
    group = np.arange(len(distinct))
    while True:
        least = np.minimum(group[first], group[second])
        joined = group.copy()
        np.minimum.at(joined, first, least)
        np.minimum.at(joined, second, least)
        joined = joined[joined]  # what its first one has joined, it joins
        if np.array_equal(joined, group):
            break
        group = joined
    numbers: NDArray[np.int64] = np.unique(group[inverse], return_inverse=True)[1]
    return numbers


class _Bins(NamedTuple):
    """Matches in square bins of place and of displacement, each bin with a number."""

    keys: NDArray[np.int64]
    """N, of each match's bin."""
    places: NDArray[np.int64]
    """N, the same where all displacements are in one bin."""
    near: NDArray[np.int64]
    """9, what to add for the bins about a place."""
    alike: NDArray[np.int64]
    """9, what to add for the bins about a displacement."""

    @classmethod
    def of(
        cls, points: NDArray[np.float64], displacements: NDArray[np.float64], radius: float, tolerance: float
    ) -> _Bins:
        place = np.floor(points / radius).astype(np.int64)
        motion = np.floor(displacements / tolerance).astype(np.int64)
        place -= place.min(axis=0)
        motion -= motion.min(axis=0)
        # Borders of one bin all round, so that neighbours never wrap into another row.
        spans = np.concatenate([place.max(axis=0), motion.max(axis=0)]) + 3
        steps = np.array([spans[1] * spans[2] * spans[3], spans[2] * spans[3], spans[3], 1])
        places = (place + 1) @ steps[:2]
        around = np.array([[a, b] for a in (-1, 0, 1) for b in (-1, 0, 1)])
        return cls(places + (motion + 1) @ steps[2:], places, around @ steps[:2], around @ steps[2:])


def _linked(distinct: NDArray[np.int64], shift: np.int64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places, among sorted distinct keys, of those pairs that lie a shift apart."""
    at = np.searchsorted(distinct, distinct + shift)
    at[at == len(distinct)] = 0
    there = distinct[at] == distinct + shift
    return np.flatnonzero(there), at[there]


def _count(keys: NDArray[np.int64], shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each key, how many keys equal it after one of the shifts; each has its opposite among them."""
    distinct, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    total = counts * np.count_nonzero(shifts == 0)
    for shift in shifts[shifts > 0]:
        here, there = _linked(distinct, shift)
        total[here] += counts[there]
        total[there] += counts[here]
    result: NDArray[np.int64] = total[inverse]
    return result


@dataclass(frozen=True)
class LocalMotion:
    """A motion that is affine in each square bin, fitted to the matches of the 3 x 3 bins around it."""

    radius: float
    """Side of the bins, pixels."""
    corner: NDArray[np.int64]
    """(x, y) of the first bin."""
    spans: NDArray[np.int64]
    """Bins in x and in y."""
    fits: NDArray[np.float64]
    """Bins x 3 x 2: displacement is (1, x, y) @ fit, x and y from the bin's centre in bins; nan: unknown."""

    def predict(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Displacements, N x 2 pixels, at N x 2 points; nan where no matches lie around."""
        place, local = _place(points, self.radius)
        place = place - self.corner
        known = ((place >= 0) & (place < self.spans)).all(axis=1)
        bins = np.where(known, place[:, 1] * self.spans[0] + place[:, 0], 0)
        predicted = np.einsum("nk,nkd->nd", local, self.fits[bins])
        predicted[~known] = np.nan
        result: NDArray[np.float64] = predicted
        return result


def fit_motion(
    points: NDArray[np.float64],
    displacements: NDArray[np.float64],
    *,
    radius: float,
    rounds: int = 3,
    scale: float = 1.5,
) -> LocalMotion:
    """Fit a motion that is smooth nearly everywhere, robustly.

    Args:
        points, displacements: N x 2, pixels; N at least 1.
        radius: side of the square bins, pixels.
        rounds: of iteratively reweighted least squares with Cauchy weights.
        scale: of the Cauchy weights, pixels.
    """
    place, local = _place(points, radius)
    corner = place.min(axis=0)
    place = place - corner
    spans = place.max(axis=0) + 1
    bins = place[:, 1] * spans[0] + place[:, 0]
    weights = np.ones(len(points))
    for turn in range(rounds):
        fits = _affine_fits(bins, spans, local, displacements, weights)
        if turn + 1 < rounds:
            residuals = displacements - np.einsum("nk,nkd->nd", local, fits[bins])
            weights = 1 / (1 + np.nan_to_num((residuals**2).sum(axis=1), nan=0.0) / scale**2)
    return LocalMotion(radius, corner, spans, fits)


def smooth_motion(
    points: NDArray[np.float64],
    displacements: NDArray[np.float64],
    expected: NDArray[np.float64],
    *,
    radius: float,
    largest_square: float = 9.0,
    fitted_noise: float = 1.15,
    narrow_scale: float = 0.75,
    doubt: float = 4.0,
) -> NDArray[np.float64]:
    """Displacements with less noise: each drawn towards what its neighbours say of it.

    What a fit to small neighbourhoods leaves is taken for noise, what a fit to wide ones leaves beyond
    that for the scene's shape. Where a wide fit describes the scene it is followed, for it averages over
    more matches; elsewhere the narrow one. A match far off both is followed itself: it may be right.

    Args:
        points, displacements: N x 2, pixels; N at least 1.
        expected: N x 2, what :func:`fit_motion` with `radius` predicts at the points; nan where it cannot.
        radius: side of the wide bins, pixels; the narrow ones have half of it.
        largest_square: square pixels, what a single match may add to the estimated noise.
        fitted_noise: noise over what is left of it by a fit to few matches, which follows them a little.
        narrow_scale: pixels, of the narrow fit's Cauchy weights: the far side of an edge must not count.
        doubt: how much rather a near neighbourhood is believed than a wide one it disagrees with, and a match
            that lies off both than they.

    Returns:
        N x 2 displacements; those of matches without neighbours as they were.
    """
    narrow = fit_motion(points, displacements, radius=radius / 2, scale=narrow_scale).predict(points)
    wide = np.where(np.isnan(expected), narrow, expected)
    narrow = np.where(np.isnan(narrow), wide, narrow)
    squares = [((displacements - fit) ** 2).sum(axis=1) for fit in (narrow, wide)]
    noise = fitted_noise * mean_around(points, squares[0], radius, largest_square)
    left = mean_around(points, squares[1], radius, largest_square)
    share = (noise / (noise + doubt * np.maximum(left - noise, 0) + 1e-9))[:, None]
    centre = share * wide + (1 - share) * narrow
    off = displacements - centre
    square = (off**2).sum(axis=1)
    smooth = centre + (square / (square + doubt * noise + 1e-9))[:, None] * off
    return np.where(np.isnan(smooth), displacements, smooth)


def mean_around(
    points: NDArray[np.float64], values: NDArray[np.float64], radius: float, bound: float
) -> NDArray[np.float64]:
    """Mean of bounded values over the 3 x 3 bins around each point; nan counts as the bound."""
    place = np.floor(points / radius).astype(np.int64)
    place -= place.min(axis=0) - 1  # a border of empty bins
    width, height = place.max(axis=0) + 2
    bins = place[:, 1] * width + place[:, 0]
    bounded = np.minimum(np.nan_to_num(values, nan=bound), bound)
    around = (np.arange(-1, 2)[:, None] * width + np.arange(-1, 2)).ravel()
    total = np.bincount(bins, bounded, width * height)
    count = np.bincount(bins, minlength=width * height)
    occupied = np.unique(bins)
    mean = np.zeros(width * height)
    near = occupied[:, None] + around
    mean[occupied] = total[near].sum(axis=1) / count[near].sum(axis=1)
    result: NDArray[np.float64] = mean[bins]
    return result


def _place(points: NDArray[np.float64], radius: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bins of points, N x 2 (x, y), and N x 3 (1, x, y) from their bin's centre, in bins."""
    scaled = points / radius
    place = np.floor(scaled).astype(np.int64)
    return place, np.column_stack([np.ones(len(points)), scaled - place - 0.5])


def _affine_fits(
    bins: NDArray[np.int64],
    spans: NDArray[np.int64],
    local: NDArray[np.float64],
    displacements: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Weighted affine fit of each bin to the matches of the 3 x 3 around it: bins x 3 x 2; nan: unknown."""
    width, height = int(spans[0]), int(spans[1])
    # Sums about the corner of all bins, so that sums over 3 x 3 bins are sums of sums:
    # 1, x, y, x x, x y, y y; d, x d, y d of both components; the count.
    row, column = np.divmod(bins, width)
    x, y = local[:, 1] + column, local[:, 2] + row
    wx, wy = weights * x, weights * y
    factors = [weights, wx, wy, wx * x, wx * y, wy * y]
    factors += [v * d for d in displacements.T for v in (weights, wx, wy)]
    factors.append((weights > 0).astype(np.float64))
    sums = np.zeros((13, height + 2, width + 2))  # a border of empty bins
    for k, factor in enumerate(factors):
        sums[k, 1:-1, 1:-1] = np.bincount(bins, factor, width * height).reshape(height, width)
    sums = sums[:, :-2] + sums[:, 1:-1] + sums[:, 2:]
    sums = sums[:, :, :-2] + sums[:, :, 1:-1] + sums[:, :, 2:]
    # Moved to each bin's own centre.
    s, sx, sy, sxx, sxy, syy = sums[:6]
    cx, cy = np.arange(width), np.arange(height)[:, None]
    mx, my = sx - cx * s, sy - cy * s
    mxx, myy = sxx - cx * (sx + mx), syy - cy * (sy + my)
    mxy = sxy - cx * sy - cy * mx
    t = sums[6:12].reshape(2, 3, height, width)
    rx, ry = t[:, 1] - cx * t[:, 0], t[:, 2] - cy * t[:, 0]
    enough = (sums[12] >= 4) & (s > 1e-3)
    # Of the mean matrix, with a ridge that makes the motion of few points flat; symmetric, so six entries.
    one = np.where(enough, s, 1.0)
    ridge = 2e-3 * (1e-6 / one + 1)
    ax, ay, axx, axy, ayy = mx / one, my / one, mxx / one + ridge, mxy / one, myy / one + ridge
    cofactors = (
        (axx * ayy - axy * axy, ay * axy - ax * ayy, ax * axy - ay * axx),
        (ayy - ay * ay, ax * ay - axy),
        (axx - ax * ax,),
    )
    det = cofactors[0][0] + ax * cofactors[0][1] + ay * cofactors[0][2]
    (c00, c01, c02), (c11, c12), (c22,) = cofactors
    r0, r1, r2 = t[:, 0] / one, rx / one, ry / one
    fits = np.stack(
        [c00 * r0 + c01 * r1 + c02 * r2, c01 * r0 + c11 * r1 + c12 * r2, c02 * r0 + c12 * r1 + c22 * r2]
    )
    fits = np.where(enough, fits / det, np.nan)  # 3 x 2 x H x W
    result: NDArray[np.float64] = fits.reshape(3, 2, -1).transpose(2, 0, 1)
    return result
