"""Which refined matches to keep, and where exactly they lie.

A match is kept where it moves as its neighbours do, wide ones or near ones: beyond a depth edge only the near
ones are of the same surface. Its position is then found from the images themselves where they look alike, and
elsewhere drawn towards what its neighbours say.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.geometry import Points
from gcm.images.files import RGBImage
from gcm.method.evidence import blocks_of, surprise
from gcm.method.working_matches import Precision, WorkingMatches
from gcm.options import EvidenceOptions, GuidedOptions
from gcm.refinement.motion import fit_motion, mean_around, smooth_motion
from gcm.refinement.photometric import align_patches

__all__ = ["verified"]

Mask = NDArray[np.bool_]


def verified(
    matches: WorkingMatches,
    seen: tuple[RGBImage, RGBImage],
    stride: int,
    options: GuidedOptions,
    *,
    whole: bool,
    align: bool,
) -> WorkingMatches:
    """Matches without what moves unlike its neighbours, with scores and positions by that motion.

    Args:
        matches: of one view, at least one.
        seen: image 0 and image 1 as warped, H x W x 3 uint8 RGB.
        stride: pixels a cell of the dense match.
        options: what is asked.
        whole: the view is of a whole scene, with edges of depth; else of one plane, smooth throughout.
        align: take positions from the images themselves where these look alike.
    """
    neighbours = options.neighbours
    radius = neighbours.bin_cells * stride * neighbours.motion_bins
    expected = _expected(matches, radius, neighbours.motion_scale, neighbours.motion_rounds)
    off = np.linalg.norm(matches.motion - expected, axis=1)
    usual = neighbours.usual_over_median * np.nanmedian(off) if np.isfinite(off).any() else 0.0
    limit = float(np.clip(neighbours.residual_spread * usual, *neighbours.residual_bounds))
    kept = off <= limit
    rescued = np.zeros(len(matches), dtype=bool)
    if whole:
        near = _expected(matches, radius / 2, options.smoothing.narrow_scale, neighbours.motion_rounds)
        rescued = ~kept & (np.linalg.norm(matches.motion - near, axis=1) <= limit)
    keep = kept | rescued
    bounded = np.minimum(np.nan_to_num(off, nan=limit), limit)
    scored = replace(
        matches,
        scores=matches.scores * np.exp(-0.5 * (bounded / limit) ** 2),
        precision=_precision(matches, off, float(keep.mean()), options.evidence),
    )
    result = scored.take(keep)
    if not options.smooth or len(result) == 0:
        return result
    if align:
        return _positioned(result, expected[keep], rescued[keep], seen, radius, options, whole=whole)
    return result.with_warped1(_smooth(result, expected[keep], radius, options))


def _expected(matches: WorkingMatches, radius: float, scale: float, rounds: int) -> Points:
    motion = fit_motion(matches.points0, matches.motion, radius=radius, rounds=rounds, scale=scale)
    return motion.predict(matches.points0)


def _precision(
    matches: WorkingMatches, off: NDArray[np.float64], kept: float, options: EvidenceOptions
) -> Precision:
    """How precisely matches agree that had a whole cell's room to differ."""
    near = np.nan_to_num(off, nan=np.inf) < options.precise
    least = np.inf
    for points in (matches.points0, matches.points1):
        blocks, total = blocks_of(points, options.precise_block)
        share = np.bincount(blocks, near, total) / np.bincount(blocks, minlength=total)
        least = min(least, surprise(int((share > 0.5).sum()), total, options.precise_chance))
    return Precision(float(near.mean()), float(least), kept)


def _positioned(
    matches: WorkingMatches,
    expected: Points,
    rescued: Mask,
    seen: tuple[RGBImage, RGBImage],
    radius: float,
    options: GuidedOptions,
    *,
    whole: bool,
) -> WorkingMatches:
    """The matches where the images look most alike around them, and where their neighbours say."""
    alignment = options.alignment
    positions, correlation = align_patches(
        cv2.cvtColor(seen[0], cv2.COLOR_RGB2GRAY),
        cv2.cvtColor(seen[1], cv2.COLOR_RGB2GRAY),
        matches.points0,
        matches.warped1,
        radius=alignment.radius,
        iterations=alignment.iterations,
        blur=alignment.blur,
    )
    moved = np.linalg.norm(positions - matches.warped1, axis=1)
    aligned = (moved < alignment.farthest) & (correlation > alignment.alike[whole])
    if not whole and aligned.any():  # on a plane neighbours know better than a blurred patch
        there = np.where(aligned[:, None], positions, matches.warped1)
        aligned &= _roughness(matches.points0, there) < _roughness(matches.points0, matches.warped1)
    # What looks much less alike than is usual in this pair lies on another surface, or is hidden.
    lack = (1 - correlation) / max(float(np.median(1 - correlation)), alignment.least_lack)
    alike = lack <= np.where(rescued, *alignment.unlike[::-1])
    matches = matches.with_warped1(np.where(aligned[:, None], positions, matches.warped1))
    matches, expected, aligned = matches.take(alike), expected[alike], aligned[alike]
    if len(matches) == 0:
        return matches
    smooth = _smooth(matches, expected, radius, options)
    return matches.with_warped1(np.where(aligned[:, None], matches.warped1, smooth) if whole else smooth)


def _smooth(matches: WorkingMatches, expected: Points, radius: float, options: GuidedOptions) -> Points:
    """Where neighbours draw matches in warped image 1, N x 2."""
    motion = smooth_motion(
        matches.points0, matches.motion, expected, radius=radius, **options.smoothing.model_dump()
    )
    return matches.points0 + motion


def _roughness(points0: Points, warped1: Points) -> NDArray[np.float64]:
    """Mean square, pixels, around each match of how far matches lie off a narrowly smooth motion."""
    motion = warped1 - points0
    smooth = fit_motion(points0, motion, radius=_ROUGH_BIN, scale=_ROUGH_SCALE).predict(points0)
    return mean_around(points0, ((motion - smooth) ** 2).sum(axis=1), _ROUGH_BIN, _ROUGH_BOUND)


_ROUGH_BIN, _ROUGH_SCALE, _ROUGH_BOUND = 16.0, 0.75, 4.0
"""Pixels, pixels, square pixels."""
