"""Matching one view: two pyramids, of which the second may be of image 1 warped into image 0's frame.

Matches go from the coarsest map to the finest, and instead of by a ratio they are selected by their
neighbours: right matches of a view move alike, wrong ones stand alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from gcm.features.pyramid import Pyramid
from gcm.geometry import Matrix, Points, apply_homography, cell_to_pixel, inside, inverse, pixel_to_cell
from gcm.images.content import on_flat_ground
from gcm.images.files import RGBImage
from gcm.images.sizes import image_size
from gcm.method.steps import Clock, RefinementStep
from gcm.method.working_matches import WorkingMatches
from gcm.options import GuidedOptions, NeighbourOptions
from gcm.refinement.dense import CellMatches, coarse_match
from gcm.refinement.hierarchical import refine
from gcm.refinement.maps import map_size
from gcm.refinement.motion import LocalMotion, fit_motion, local_support, smooth_motion
from gcm.refinement.subpixel import similarity_peaks
from gcm.refinement.windowed import windowed_match

__all__ = ["Hints", "has_local_support", "match_view"]


@dataclass(frozen=True)
class Hints:
    """Where to look: points whose motion is known roughly."""

    points0: Points
    """N x 2, pixels of image 0."""
    motion: Points
    """N x 2, pixels: where a point lies in the warped image 1, less where it lies in image 0."""


def match_view(
    pyramids: tuple[Pyramid, Pyramid],
    images: tuple[RGBImage, RGBImage],
    h_1_to_0: Matrix | None,
    hints: Hints | None,
    steps: tuple[RefinementStep, ...],
    options: GuidedOptions,
    clock: Clock,
) -> WorkingMatches:
    """Match two images in one view.

    Args:
        pyramids: of image 0, and of image 1 as warped.
        images: H x W x 3 uint8 RGB, image 1 not warped.
        h_1_to_0: the warp of image 1; None when it was not warped.
        hints: what to search around; everywhere when None.
        steps: stage 0 (not used here), the dense match, then each refinement.
        options: how to match.
        clock: of the stages.

    Returns:
        Points to a fraction of a pixel. A score is (1 + s) / 2, s the cosine of the two descriptors of the
        last step, times exp(-r^2 / 2), r how far the match lies off the motion of its neighbours, as a
        share of the most it may: 1 is the same descriptor moving exactly as its neighbours do.
    """
    dense = steps[1]
    with clock("match"):
        cells, aligned = _coarse_cells(pyramids, hints, dense, options)
        if options.verify:
            points = cells.cells0.cpu().numpy().astype(np.float64)
            keep = has_local_support(points, cells.cells1.cpu().numpy() - points, options.neighbours)
            cells = cells.take(torch.from_numpy(keep).to(cells.cells0.device))
        cells, warped1 = _refined(
            cells, pyramids, steps[1:], options, margin=options.guide.margins[0 if aligned else 1]
        )
    with clock("geometry"):
        matches = _in_images(cells, warped1, h_1_to_0, images, options.flat_radius)
        if not options.verify or len(matches) == 0:
            return matches
        return _verified(matches, dense.stride, options)


def has_local_support(points: Points, motion: Points, options: NeighbourOptions) -> NDArray[np.bool_]:
    """Those matches that enough of their neighbours move like.

    Args:
        points, motion: N x 2 each, in coarse cells.
        options: how many neighbours are enough.
    """
    alike, around = local_support(points, motion, radius=options.bin_cells, tolerance=options.alike_cells)
    result: NDArray[np.bool_] = (alike >= options.fewest) & (alike >= options.share * around)
    return result


def _coarse_cells(
    pyramids: tuple[Pyramid, Pyramid], hints: Hints | None, step: RefinementStep, options: GuidedOptions
) -> tuple[CellMatches, bool]:
    """Matches of the coarsest maps, and whether these count as aligned."""
    map0, map1 = (pyramid.prepared(step.map_index) for pyramid in pyramids)
    if hints is None:
        return coarse_match(map0, map1, threshold=step.threshold), True
    guide, neighbours = options.guide, options.neighbours
    radius = neighbours.bin_cells * step.stride * guide.bins
    motion = _fitted_motion(hints.points0, hints.motion, radius, neighbours)
    left = np.abs(motion.predict(hints.points0))
    usual = np.percentile(left[np.isfinite(left)], guide.aligned_percentile)
    aligned = bool(usual < step.stride * guide.aligned_cells)
    centres = _expected_cells(motion, *map_size(map0), step.stride).to(map0.device)
    return windowed_match(map0, map1, radius=guide.windows[0 if aligned else 1], centres=centres), aligned


def _fitted_motion(points: Points, motion: Points, radius: float, options: NeighbourOptions) -> LocalMotion:
    """The smooth motion of matches, as :func:`gcm.refinement.motion.fit_motion`, by the options."""
    return fit_motion(points, motion, radius=radius, rounds=options.motion_rounds, scale=options.motion_scale)


def _expected_cells(motion: LocalMotion, width: int, height: int, stride: int) -> torch.Tensor:
    """For each cell of image 0's coarse map, the view's cell it is expected at; x = -1 for none."""
    cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
    places = cell_to_pixel(cells, stride)
    expected = pixel_to_cell(places + motion.predict(places), stride)
    known = np.isfinite(expected).all(axis=1)
    centres = np.full((len(cells), 2), -1, dtype=np.int64)
    centres[known] = np.rint(expected[known]).astype(np.int64).clip(-1, 2**30)
    return torch.from_numpy(centres.reshape(height, width, 2))


def _refined(
    cells: CellMatches,
    pyramids: tuple[Pyramid, Pyramid],
    steps: tuple[RefinementStep, ...],
    options: GuidedOptions,
    *,
    margin: int,
) -> tuple[CellMatches, Points]:
    """From cells of the first step to those of the last, and there to a fraction of a cell; in pixels."""
    survivors = options.matches_per_cell
    for step in steps[1:]:
        cells = refine(
            cells,
            *(pyramid.prepared(step.map_index) for pyramid in pyramids),
            threshold=step.threshold,
            margin=margin if step.stride > 1 else 0,
            survivors=survivors,
        )
        survivors = 1
    warped = cells.cells1.double()
    if options.subpixel:
        map0, map1 = (pyramid.prepared(steps[-1].map_index) for pyramid in pyramids)
        warped, peaked = similarity_peaks(
            map0, map1, cells.cells0, cells.cells1, radius=options.guide.peak_steps
        )
        cells, warped = cells.take(peaked), warped[peaked]
    return cells, cell_to_pixel(warped.cpu().numpy(), cells.stride)


def _in_images(
    cells: CellMatches,
    warped1: Points,
    h_1_to_0: Matrix | None,
    images: tuple[RGBImage, RGBImage],
    flat_radius: int,
) -> WorkingMatches:
    """Matches in pixels of both images, less those outside or on flat ground."""
    points0, _ = cells.points()
    points1 = warped1 if h_1_to_0 is None else apply_homography(inverse(h_1_to_0), warped1)
    keep = inside(points0, *image_size(images[0])) & inside(points1, *image_size(images[1]))
    for points, image in ((points0, images[0]), (points1, images[1])):
        keep[keep] = ~on_flat_ground(image, points[keep], flat_radius)
    scores = 1 - cells.distance.double().cpu().numpy().clip(0, 4) / 4
    return WorkingMatches(h_1_to_0, points0, warped1, points1, scores).take(keep)


def _verified(matches: WorkingMatches, stride: int, options: GuidedOptions) -> WorkingMatches:
    """Without what lies off its neighbours' motion; scores and positions follow that motion."""
    neighbours = options.neighbours
    radius = neighbours.bin_cells * stride * neighbours.motion_bins
    motion = _fitted_motion(matches.points0, matches.motion, radius, neighbours)
    expected = motion.predict(matches.points0)
    off = np.linalg.norm(matches.motion - expected, axis=1)
    usual = neighbours.usual_over_median * np.nanmedian(off) if np.isfinite(off).any() else 0.0
    limit = float(np.clip(neighbours.residual_spread * usual, *neighbours.residual_bounds))
    scored = replace(matches, scores=matches.scores * np.exp(-0.5 * (off / limit) ** 2))
    keep = off <= limit
    kept = scored.take(keep)
    return _smoothed(kept, expected[keep], radius, options) if options.smooth else kept


def _smoothed(
    matches: WorkingMatches, expected: Points, radius: float, options: GuidedOptions
) -> WorkingMatches:
    """The matches with positions in image 1 that agree better with their neighbours'."""
    if len(matches) == 0:
        return matches
    motion = smooth_motion(
        matches.points0, matches.motion, expected, radius=radius, **options.smoothing.model_dump()
    )
    warped1 = matches.points0 + motion
    h = matches.h_1_to_0
    points1 = warped1 if h is None else apply_homography(inverse(h), warped1)
    return replace(matches, warped1=warped1, points1=points1)
