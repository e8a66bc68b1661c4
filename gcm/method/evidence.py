"""What agreeing matches prove: how often chance would do as well.

Two photos of different things have mutual nearest neighbours as well, and here and there some of them agree
with each other. The question is not how many agree but how likely it is that so many do where nothing is in
common. Matches close together are not independent, for their descriptors see the same surroundings; so what
is counted are blocks of the image, as wide as a descriptor sees, and in both images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.geometry import Points
from gcm.options import ChanceOptions, EvidenceOptions, NeighbourOptions
from gcm.refinement.dense import CellMatches
from gcm.refinement.motion import local_support

__all__ = [
    "Agreement",
    "agreement",
    "blocks_of",
    "has_local_support",
    "near_one_affine",
    "significance",
    "surprise",
]

Mask = NDArray[np.bool_]

_MOST_TURN, _MOST_SCALE = 40.0, 2.0
"""Degrees, and a factor: by more than this, features of unturned images no longer match."""

_ITERATIONS = 2000


@dataclass(frozen=True)
class Agreement:
    """How far the coarse matches of two maps agree with each other."""

    supported: Mask
    """N, which of them their neighbours bear out."""
    together: Mask
    """N, which of those one motion of the whole image explains."""
    tight: bool
    """Whether that motion is one of a plane, known to a cell or two, and not one with room for parallax."""
    significance: float
    """Of those together, see :func:`significance`."""


def has_local_support(points: Points, motion: Points, options: NeighbourOptions) -> Mask:
    """Those matches that enough of their neighbours move like.

    Args:
        points, motion: N x 2 each, in coarse cells.
        options: how many neighbours are enough.
    """
    alike, around = local_support(points, motion, radius=options.bin_cells, tolerance=options.alike_cells)
    result: Mask = (alike >= options.fewest) & (alike >= options.share * around)
    return result


def agreement(
    cells: CellMatches,
    neighbours: NeighbourOptions,
    options: EvidenceOptions,
    side: float,
    chances: ChanceOptions,
) -> Agreement:
    """Which matches bear each other out, and what that proves.

    Either a turn, scale and shift brings them together up to a parallax, which many do by chance, or an
    affine motion does within a cell or two, which few do: so a narrow strip that two photos share is found
    as well.

    Args:
        cells: of the coarsest maps.
        neighbours: what is asked of neighbours.
        options: what is asked.
        side: longer side of the network's inputs, pixels.
        chances: how much would agree by chance.
    """
    places = cells.cells0.cpu().numpy().astype(np.float64)
    supported = has_local_support(places, cells.cells1.cpu().numpy() - places, neighbours)
    points0, points1 = cells.points()
    block = options.block_cells * cells.stride
    wide = np.zeros(len(supported), dtype=bool)
    wide[supported] = _near_one_similarity(points0[supported], points1[supported], options.parallax * side)
    proved = significance((points0, points1), wide, block=block, chance=chances.wide)
    if proved >= options.plain:  # beyond question: no need to ask for more
        return Agreement(supported, wide, False, proved)
    tight = np.zeros(len(supported), dtype=bool)
    tolerance = options.tight_cells * cells.stride
    tight[supported] = near_one_affine(points0[supported], points1[supported], tolerance)
    proved_tight = significance((points0, points1), tight, block=block, chance=chances.tight)
    if proved_tight > proved:
        return Agreement(supported, tight, True, proved_tight)
    return Agreement(supported, wide, False, proved)


def significance(points: tuple[Points, Points], agreeing: Mask, *, block: float, chance: float) -> float:
    """How far beyond chance matches agree: minus the decimal logarithm of the expected number of accidents.

    The a-contrario question of Desolneux, Moisan and Morel (2000): were the photos of different things, in
    how many such pairs would so many blocks hold agreeing matches? The image in which that is likelier
    counts.

    Args:
        points: N x 2 each, all matches, pixels of either image.
        agreeing: N, those that agree with each other.
        block: side of the square blocks, pixels.
        chance: share of the blocks that hold agreeing matches in photos of different things.

    Returns:
        0 or more; 3 is one accident in a thousand pairs.
    """
    least = math.inf
    for own in points:
        blocks, total = blocks_of(own, block)
        least = min(least, surprise(len(np.unique(blocks[agreeing])), total, chance))
    return least


def blocks_of(points: Points, block: float) -> tuple[NDArray[np.int64], int]:
    """The number of each point's block among those that hold one, and how many these are."""
    place = np.floor(points / block).astype(np.int64)
    place -= place.min(axis=0, initial=0)
    _, blocks = np.unique(place[:, 1] * (place[:, 0].max(initial=0) + 1) + place[:, 0], return_inverse=True)
    return blocks, int(blocks.max(initial=-1)) + 1


def surprise(held: int, total: int, chance: float) -> float:
    """Minus the decimal logarithm of how likely `held` or more of `total` independent trials succeed.

    By Chernoff's bound, exp(-n D) with D the divergence of the observed share from `chance`.
    """
    share = held / total if total else 0.0
    if share <= chance:
        return 0.0
    divergence = share * math.log(share / chance)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - chance))
    return total * divergence / math.log(10)


def _near_one_similarity(points0: Points, points1: Points, tolerance: float) -> Mask:
    """Matches that one turn, scale and shift bring together to `tolerance` pixels."""
    if len(points0) < 3:
        return np.zeros(len(points0), dtype=bool)
    matrix, mask = cv2.estimateAffinePartial2D(
        points1, points0, method=cv2.RANSAC, ransacReprojThreshold=tolerance, maxIters=500, confidence=0.99
    )
    return _if_borne(matrix, mask, len(points0))


def near_one_affine(points0: Points, points1: Points, tolerance: float) -> Mask:
    """Matches that one affine motion brings together to `tolerance` pixels."""
    if len(points0) < 4:
        return np.zeros(len(points0), dtype=bool)
    matrix, mask = cv2.estimateAffine2D(
        points1, points0, method=cv2.RANSAC, ransacReprojThreshold=tolerance, maxIters=_ITERATIONS
    )
    return _if_borne(matrix, mask, len(points0))


def _if_borne(matrix: Any, mask: Any, number: int) -> Mask:
    """The inliers of a motion; none where it turns or scales by more than features bear, or mirrors."""
    if matrix is not None:
        u, scales, v = np.linalg.svd(matrix[:, :2])
        turned = u @ v
        turn = abs(float(np.degrees(np.arctan2(turned[1, 0], turned[0, 0]))))
        borne = turn <= _MOST_TURN and scales[1] > 1 / _MOST_SCALE and scales[0] < _MOST_SCALE
        if borne and np.linalg.det(turned) > 0:
            return np.asarray(mask).ravel() > 0
    return np.zeros(number, dtype=bool)
