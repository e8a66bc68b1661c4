"""Matching one view: two pyramids, of which the second may be of image 1 warped into image 0's frame.

Matches go from the coarsest map to the finest, and instead of by a ratio they are selected by their
neighbours: right matches of a view move alike, wrong ones stand alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gcm.features.pyramid import Pyramid
from gcm.geometry import Matrix, Points, apply_homography, cell_to_pixel, inside, inverse, pixel_to_cell
from gcm.images.content import on_flat_ground
from gcm.images.files import RGBImage
from gcm.images.sizes import image_size
from gcm.method.evidence import has_local_support
from gcm.method.steps import Clock, RefinementStep
from gcm.method.verification import verified
from gcm.method.working_matches import WorkingMatches
from gcm.options import GuidedOptions
from gcm.refinement.dense import CellMatches
from gcm.refinement.hierarchical import refine
from gcm.refinement.maps import map_size
from gcm.refinement.motion import LocalMotion, fit_motion
from gcm.refinement.subpixel import similarity_peaks
from gcm.refinement.windowed import windowed_match

__all__ = ["Hints", "Seen", "match_view", "refine_view"]


@dataclass(frozen=True)
class Hints:
    """Where to look: points whose motion is known roughly."""

    points0: Points
    """N x 2, pixels of image 0."""
    motion: Points
    """N x 2, pixels: where a point lies in the warped image 1, less where it lies in image 0."""


@dataclass(frozen=True)
class Seen:
    """Two images in one view."""

    images: tuple[RGBImage, RGBImage]
    """H x W x 3 uint8 RGB, image 1 not warped."""
    warped1: RGBImage
    """Image 1 in image 0's frame; itself where it was not warped."""
    pyramids: tuple[Pyramid, Pyramid]
    """Of image 0, and of image 1 as warped."""
    h_1_to_0: Matrix | None
    """The warp; None when it was not warped."""

    def shows(self, images: tuple[RGBImage, RGBImage], h_1_to_0: Matrix) -> bool:
        """Whether it is these very images, the second warped so."""
        same = self.images[0] is images[0] and self.images[1] is images[1]
        return same and self.h_1_to_0 is not None and np.array_equal(self.h_1_to_0, h_1_to_0)


def match_view(
    seen: Seen,
    hints: Hints,
    steps: tuple[RefinementStep, ...],
    options: GuidedOptions,
    clock: Clock,
    *,
    whole: bool = False,
    align: bool = True,
) -> WorkingMatches:
    """Match two images in one view, near what is known of it.

    Args:
        seen: the images.
        hints: what to search around.
        steps: stage 0 (not used here), the dense match, then each refinement.
        options: how to match.
        clock: of the stages.
        whole, align: see :func:`refine_view`.

    Returns:
        As of :func:`refine_view`.
    """
    with clock("match"):
        cells, aligned = _coarse_cells(seen.pyramids, hints, steps[1], options)
        if options.verify:
            points = cells.cells0.cpu().numpy().astype(np.float64)
            keep = has_local_support(points, cells.cells1.cpu().numpy() - points, options.neighbours)
            cells = cells.take(torch.from_numpy(keep).to(cells.cells0.device))
    return refine_view(
        cells,
        seen,
        steps,
        options,
        clock,
        margin=options.guide.margins[0 if aligned else 1],
        whole=whole,
        align=align,
    )


def refine_view(
    cells: CellMatches,
    seen: Seen,
    steps: tuple[RefinementStep, ...],
    options: GuidedOptions,
    clock: Clock,
    *,
    margin: int,
    whole: bool,
    align: bool = True,
) -> WorkingMatches:
    """Refine the coarse matches of a view, and keep what their neighbours bear out.

    Args:
        cells: of the dense match.
        seen: the images.
        steps: stage 0 (not used here), the dense match, then each refinement.
        options: how to match.
        clock: of the stages.
        margin: finer cells beside a match's own that are searched.
        whole: the view is of a whole scene, with edges of depth; else of one plane.
        align: take positions from the images themselves where these look alike.

    Returns:
        Points to a fraction of a pixel. A score is (1 + s) / 2, s the cosine of the two descriptors of the
        last step, times exp(-r^2 / 2), r how far the match lies off the motion of its neighbours, as a
        share of the most it may: 1 is the same descriptor moving exactly as its neighbours do.
    """
    with clock("match"):
        points = _refined(cells, seen.pyramids, steps[1:], options, margin=margin)
        if whole:
            other = _refined(cells.swapped(), seen.pyramids[::-1], steps[1:], options, margin=margin)
            points = _joined(points, other, steps[-1].stride)
    with clock("geometry"):
        matches = _in_images(*points, seen.h_1_to_0, seen.images, options.flat_radius)
        if not options.verify or len(matches) == 0:
            return matches
        return verified(
            matches, (seen.images[0], seen.warped1), steps[1].stride, options, whole=whole, align=align
        )


def _coarse_cells(
    pyramids: tuple[Pyramid, Pyramid], hints: Hints, step: RefinementStep, options: GuidedOptions
) -> tuple[CellMatches, bool]:
    """Matches of the coarsest maps, and whether these count as aligned."""
    map0, map1 = (pyramid.prepared(step.map_index) for pyramid in pyramids)
    guide, neighbours = options.guide, options.neighbours
    radius = neighbours.bin_cells * step.stride * guide.bins
    motion = fit_motion(
        hints.points0,
        hints.motion,
        radius=radius,
        rounds=neighbours.motion_rounds,
        scale=neighbours.motion_scale,
    )
    left = np.abs(motion.predict(hints.points0))
    usual = np.percentile(left[np.isfinite(left)], guide.aligned_percentile)
    aligned = bool(usual < step.stride * guide.aligned_cells)
    centres = _expected_cells(motion, *map_size(map0), step.stride).to(map0.device)
    return windowed_match(map0, map1, radius=guide.windows[0 if aligned else 1], centres=centres), aligned


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
) -> tuple[Points, Points, NDArray[np.float64]]:
    """From cells of the first step to those of the last, and there to a fraction of a cell.

    Returns:
        Centres of cells of map 0, N x 2 pixels; where they are in map 1; scores by the last descriptors.
    """
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
    scores = 1 - cells.distance.double().cpu().numpy().clip(0, 4) / 4
    return cells.points()[0], cell_to_pixel(warped.cpu().numpy(), cells.stride), scores


def _joined(
    first: tuple[Points, Points, NDArray[np.float64]],
    second: tuple[Points, Points, NDArray[np.float64]],
    cell: int,
) -> tuple[Points, Points, NDArray[np.float64]]:
    """Matches refined from image 0, and those refined from image 1 that are not the same once more.

    A surface that one image shows at a slant has more cells in the other: only from there is it dense.
    """
    points1, points0, scores = second
    squares = np.floor(np.concatenate([first[0], points0]) / (2 * cell)).astype(np.int64)
    squares -= squares.min(axis=0, initial=0)
    numbers = squares[:, 1] * (squares[:, 0].max(initial=0) + 1) + squares[:, 0]
    new = ~np.isin(numbers[len(first[0]) :], numbers[: len(first[0])])
    return (
        np.concatenate([first[0], points0[new]]),
        np.concatenate([first[1], points1[new]]),
        np.concatenate([first[2], scores[new]]),
    )


def _in_images(
    points0: Points,
    warped1: Points,
    scores: NDArray[np.float64],
    h_1_to_0: Matrix | None,
    images: tuple[RGBImage, RGBImage],
    flat_radius: int,
) -> WorkingMatches:
    """Matches in pixels of both images, less those outside or on flat ground."""
    points1 = warped1 if h_1_to_0 is None else apply_homography(inverse(h_1_to_0), warped1)
    keep = inside(points0, *image_size(images[0])) & inside(points1, *image_size(images[1]))
    for points, image in ((points0, images[0]), (points1, images[1])):
        keep[keep] = ~on_flat_ground(image, points[keep], flat_radius)
    return WorkingMatches(h_1_to_0, points0, warped1, points1, scores).take(keep)
