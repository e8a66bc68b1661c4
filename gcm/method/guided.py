"""What our own presets do beyond the published method, from the stage-0 homography to final points.

A *view* is image 1 warped into image 0's frame by one homography (or not warped at all). In a view matches
are found as published, from the coarsest map to the finest, but near where stage 0, at low resolution,
has found coarse ones, and instead of by a ratio they are selected by their neighbours: right matches of a
view move alike, wrong ones stand alone. From the verified matches follow a better homography and so a
second round, and, where the scene is not one plane, further views, each for the part it aligns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from gcm.features.extractor import FeatureExtractor, Pyramid
from gcm.geometry import (
    Matrix,
    Points,
    apply_homography,
    cell_to_pixel,
    homography_scale,
    inside,
    inverse,
    pixel_to_cell,
    resize_matrix,
    warp_smoothly,
)
from gcm.images.content import on_flat_ground
from gcm.images.files import RGBImage
from gcm.images.sizes import fit_within, image_size
from gcm.method.coarse import (
    SEARCH_SIDE,
    SUPPORTED,
    CoarseMatching,
    match_upright,
    search_hypotheses,
    support_value,
)
from gcm.method.planes import (
    FEWEST_IN_PLANE,
    View,
    explained_by,
    fit_plane,
    further_planes,
    merge_views,
    on_one_plane,
    through,
)
from gcm.method.steps import Clock, Level
from gcm.refinement.dense import CellMatches, coarse_match
from gcm.refinement.hierarchical import refine
from gcm.refinement.maps import map_size
from gcm.refinement.motion import LocalMotion, fit_motion, local_support, smooth_motion
from gcm.refinement.subpixel import similarity_peaks
from gcm.refinement.windowed import local_match

__all__ = ["Found", "Guidance", "guided_match"]

_LOW_SIDES = (320, SEARCH_SIDE)
"""Pixels: stage 0 works at half the size, within these bounds on the longer side."""

_EVERYWHERE_SIDE = 1280
"""Pixels: larger images are not searched everywhere at full size, which would take the square of the area."""

_FINER = 0.8
"""Scale of the warp of image 1 below which image 1 shows more detail, and image 0 is warped instead."""

_BINS = 6
"""Cells of the dense match by which neighbourhoods are measured: nine bins of 6 x 6 cells."""

_ALIKE = 1.0
"""Cells: coarse matches whose motions differ by less may bear each other out."""

_FEWEST = 4
"""Neighbours that must bear a match out."""

_SHARE = 0.3
"""Share of a match's neighbours that must bear it out."""

_SPREAD = 2.5
"""Deviations from the smooth motion, as a multiple of their usual size, that a match may show."""

_RESIDUAL = (0.75, 3.0)
"""Pixels: no match is dropped for less, and none is kept with more."""

_ALIGNED = 1.0
"""Pixels of motion left over with which another round would find nothing new."""

_KEPT = 0.95
"""Share of a first round's matches that a second must find again to be taken instead: what it finds, better
aligned, is more precise."""

_PLANAR = 0.5
"""Share of matches that one plane must explain for a second round by it."""

_ONE_PLANE = 0.85
"""Share of matches that one plane must explain for the scene to be taken as that plane."""


@dataclass(frozen=True)
class Guidance:
    """How to match; the keys of :class:`gcm.config.MatcherConfig` of the same names."""

    geometry: str
    hypotheses: str
    second_round: bool
    subpixel: bool
    verify: bool
    smooth: bool
    matches_per_cell: int


@dataclass(frozen=True)
class Found:
    """Matches of two images, in pixels of those."""

    points0: Points
    points1: Points
    scores: NDArray[np.float64]
    """In [0, 1]."""
    h_1_to_0: Matrix | None
    """Of stage 0; None when it found none."""
    trace: tuple[str, ...] = ()
    """What was done, in words."""


def guided_match(
    features: FeatureExtractor,
    image0: RGBImage,
    image1: RGBImage,
    levels: Sequence[Level],
    guidance: Guidance,
    clock: Clock,
) -> Found:
    """Match two images.

    Args:
        features: runs the networks.
        image0, image1: H x W x 3 uint8 RGB.
        levels: stage 0, the dense match, then each refinement.
        guidance: what to do.
        clock: of the stages.

    Returns:
        Points to a fraction of a pixel. A score is (1 + s) / 2, s the cosine of the two full-resolution
        descriptors, times exp(-r^2 / 2), r how far the match lies off the motion of its neighbours, as a
        share of the most it may: 1 is the same descriptor moving exactly as its neighbours do.
    """
    pair = _Pair(features, image0, image1, levels, guidance, clock)
    merged = merge_views(pair.views(), levels[1].stride)
    if guidance.geometry in {"homography", "auto"}:
        merged = on_one_plane(merged, 0.0 if guidance.geometry == "homography" else _ONE_PLANE)
    return Found(merged.points0, merged.points1, merged.scores, pair.initial, tuple(pair.trace))


class _Pair:
    def __init__(
        self,
        features: FeatureExtractor,
        image0: RGBImage,
        image1: RGBImage,
        levels: Sequence[Level],
        guidance: Guidance,
        clock: Clock,
    ) -> None:
        self.features = features
        self.image0, self.image1 = image0, image1
        self.size0, self.size1 = image_size(image0), image_size(image1)
        self.levels = levels
        self.stride = levels[1].stride
        self.guidance = guidance
        self.clock = clock
        self.initial: Matrix | None = None
        self._of_image0: Pyramid | None = None
        self._swapped: _Pair | None = None
        self.trace: list[str] = []

    def views(self) -> list[View]:
        """The views that together explain the pair; the first is that of the whole."""
        side = int(np.clip(max(*self.size0, *self.size1) // 2, *_LOW_SIDES))
        if max(self.size0) <= side:
            self._pyramid0()  # before stage 0, which needs a part of it
        with self.clock("stage 0"):
            coarse = self._coarse(side)
        if coarse is None or len(coarse) < FEWEST_IN_PLANE // 2:
            view = self._everywhere()
            if not self._believed(view):  # somewhere two edges are always alike, a few pixels long
                view = view.take(np.zeros(len(view), dtype=bool))
                self.trace.append("too few to be believed")
            return [view]
        if self.guidance.geometry == "none":
            return [self._look_near(coarse)]
        cell = self._coarse_cell(side)
        with self.clock("geometry"):
            found, rest = coarse, coarse
            plane = fit_plane(coarse, cell / 2)
            if plane is not None:
                explained = explained_by(coarse, plane, cell)
                if explained.mean() > _PLANAR:
                    found, rest = coarse.warped_by(plane), coarse.take(~explained)
                    self.initial = found.h_1_to_0
        view = self._second_round(self._look_near(found))
        if self.guidance.geometry == "homography":
            return [view]
        parts = further_planes(rest.in_frame_of(found.h_1_to_0), len(found), tolerance=0.75 * cell)
        further = [self._second_round(self._look_near(part)) for part in parts]
        if further:
            self.trace.append(f"further views: {', '.join(str(len(v)) for v in further)}")
        return [view, *further]

    def _coarse(self, side: int) -> View | None:
        """Coarse matches at low resolution that their neighbours bear out, and stage 0's homography."""
        level = self.levels[0]
        matching = CoarseMatching(level.stride, level.threshold, bidirectional=True)
        if self.guidance.geometry == "none":
            matches = match_upright(self.features, self.image0, self.image1, matching, side=side)
            h = None
        else:
            found = search_hypotheses(
                self.features,
                self.image0,
                self.image1,
                matching,
                mode=self.guidance.hypotheses,
                side=side,
            )
            if found is None:
                return None
            matches, h = found.matches, found.matrix
            self.initial = h
        cell = self._coarse_cell(side)
        points0, points1 = matches.points()
        keep = _borne_out(points0 / cell, (through(h, points1) - points0) / cell)
        points0, points1 = matches.take(torch.from_numpy(keep).to(self.features.device)).sharp_points()
        self.trace.append(f"stage 0: {len(points0)}")
        return View(h, points0, through(h, points1), points1, np.ones(len(points0)))

    def _coarse_cell(self, side: int) -> float:
        """Pixels of image 0 that a cell of stage 0's maps covers."""
        return self.levels[0].stride * max(1.0, max(self.size0) / side)

    def _everywhere(self) -> View:
        """The view of stage 0's homography, or of none, searched from end to end."""
        small0, small1 = (fit_within(image, _EVERYWHERE_SIDE) for image in (self.image0, self.image1))
        if small0 is self.image0 and small1 is self.image1:
            view = self._look(self.initial)
            self.trace.append(f"everywhere: {len(view)}")
            return view
        pair = _Pair(self.features, small0, small1, self.levels, self.guidance, self.clock)
        enlarge0 = resize_matrix(image_size(small0), self.size0)
        enlarge1 = resize_matrix(image_size(small1), self.size1)
        if self.initial is not None:
            pair.initial = inverse(enlarge0) @ self.initial @ enlarge1
        view = pair._everywhere().enlarged(enlarge0, enlarge1)
        self.trace += pair.trace
        enough = len(view) >= FEWEST_IN_PLANE // 2 and self._believed(view)
        return self._look_near(view) if enough else view

    def _believed(self, view: View) -> bool:
        """Whether matches that no homography of stage 0 bears out are many and spread enough."""
        cells = (self.size0[0] // self.stride) * (self.size0[1] // self.stride)
        needed = min(SUPPORTED, cells / 2)  # a tiny image has no more to show
        return not self.guidance.verify or support_value(view.points0, self.size0) >= needed

    def _look_near(self, found: View) -> View:
        """Look in the view of what was found, near that; in its inverse where image 1 shows more detail."""
        h = found.h_1_to_0
        if h is not None and homography_scale(h, self.size1, self.size0) < _FINER:
            return self._seen_from_1(inverse(h), found.points0, found.points1)
        return self._look(h, near=(found.points0, found.motion))

    def _seen_from_1(self, h_0_to_1: Matrix, points0: Points, points1: Points) -> View:
        """The view with image 0 warped into image 1's frame, which shows the scene in more detail."""
        if self._swapped is None:
            self._swapped = _Pair(
                self.features, self.image1, self.image0, self.levels, self.guidance, self.clock
            )
        motion = apply_homography(h_0_to_1, points0) - points1
        view = self._swapped._look(h_0_to_1, near=(points1, motion))
        self.trace.append("seen from image 1")
        h = inverse(h_0_to_1)
        return View(h, view.points1, apply_homography(h, view.points0), view.points0, view.scores)

    def _pyramid0(self) -> Pyramid:
        if self._of_image0 is None:
            with self.clock("features 0"):
                self._of_image0 = self.features.pyramid(self.image0)
        return self._of_image0

    # -- one view ------------------------------------------------------------------------------

    def _look(self, h_1_to_0: Matrix | None, *, near: tuple[Points, Points] | None = None) -> View:
        """Match in the view of one homography.

        Args:
            h_1_to_0: None to take image 1 as it is.
            near: points of image 0 and their motion, known roughly, to search around; everywhere when None.
        """
        pyramid0 = self._pyramid0()
        with self.clock("features 1"):
            if h_1_to_0 is None:
                pyramid1 = self.features.pyramid(self.image1)
            else:
                warped = warp_smoothly(self.image1, h_1_to_0, *self.size0)
                pyramid1 = self.features.pyramid_of_warped(warped, self.image1)
        with self.clock("match"):
            coarse = self.levels[1].index
            maps = pyramid0.unit_map(coarse), pyramid1.unit_map(coarse)
            aligned = True
            if near is not None:
                field = fit_motion(*near, radius=_BINS * self.stride * 2)
                left = np.abs(field.predict(near[0]))
                aligned = bool(np.percentile(left[np.isfinite(left)], 80) < self.stride / 2)
                centres = self._expected(field, *map_size(maps[0])).to(self.features.device)
                cells = local_match(*maps, radius=1 if aligned else 2, centres=centres)
            else:
                cells = coarse_match(*maps, threshold=self.levels[1].threshold)
            if self.guidance.verify:
                points = cells.cells0.cpu().numpy().astype(np.float64)
                keep = _borne_out(points, cells.cells1.cpu().numpy() - points)
                cells = cells.take(torch.from_numpy(keep).to(cells.cells0.device))
            cells, warped1 = self._refine(cells, pyramid0, pyramid1, margin=0 if aligned else 1)
        with self.clock("geometry"):
            return self._verified(cells, warped1, h_1_to_0)

    def _expected(self, field: LocalMotion, width: int, height: int) -> torch.Tensor:
        """For each cell of image 0's coarse map, the view's cell it is expected at; x = -1 for none."""
        cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
        places = cell_to_pixel(cells, self.stride)
        expected = pixel_to_cell(places + field.predict(places), self.stride)
        known = np.isfinite(expected).all(axis=1)
        centres = np.full((len(cells), 2), -1, dtype=np.int64)
        centres[known] = np.rint(expected[known]).astype(np.int64).clip(-1, 2**30)
        return torch.from_numpy(centres.reshape(height, width, 2))

    def _refine(
        self, cells: CellMatches, pyramid0: Pyramid, pyramid1: Pyramid, *, margin: int
    ) -> tuple[CellMatches, Points]:
        """From coarse cells to the finest, and there to a fraction of a cell of the view, in pixels."""
        stride = self.stride
        for level in self.levels[2:]:
            cells = refine(
                cells,
                pyramid0.unit_map(level.index),
                pyramid1.unit_map(level.index),
                stride_ratio=stride // level.stride,
                threshold=level.threshold,
                margin=margin if level.stride > 1 else 0,
                survivors=self.guidance.matches_per_cell if stride == self.stride else 1,
            )
            stride = level.stride
        warped = cells.cells1.double()
        if self.guidance.subpixel:
            last = self.levels[-1].index
            maps = pyramid0.unit_map(last), pyramid1.unit_map(last)
            warped, peaked = similarity_peaks(*maps, cells.cells0, cells.cells1)
            cells, warped = cells.take(peaked), warped[peaked]
        return cells, cell_to_pixel(warped.cpu().numpy(), stride)

    def _verified(self, cells: CellMatches, warped1: Points, h_1_to_0: Matrix | None) -> View:
        """The view of these matches, less what lies outside, on flat ground or off its neighbours' motion."""
        points0 = cell_to_pixel(cells.cells0.cpu().numpy(), self.levels[-1].stride)
        points1 = warped1 if h_1_to_0 is None else apply_homography(inverse(h_1_to_0), warped1)
        keep = inside(points0, *self.size0) & inside(points1, *self.size1)
        for points, image in ((points0, self.image0), (points1, self.image1)):
            keep[keep] = ~on_flat_ground(image, points[keep])
        scores = 1 - cells.distance.double().cpu().numpy().clip(0, 4) / 4
        view = View(h_1_to_0, points0, warped1, points1, scores).take(keep)
        if not self.guidance.verify or len(view) == 0:
            return view
        radius = _BINS * self.stride / 2
        expected = fit_motion(view.points0, view.motion, radius=radius).predict(view.points0)
        off = np.linalg.norm(view.motion - expected, axis=1)
        usual = 1.25 * np.nanmedian(off) if np.isfinite(off).any() else 0.0
        limit = float(np.clip(_SPREAD * usual, *_RESIDUAL))
        view = replace(view, scores=view.scores * np.exp(-0.5 * (off / limit) ** 2))
        keep = off <= limit
        return (
            self._smooth(view.take(keep), expected[keep], radius) if self.guidance.smooth else view.take(keep)
        )

    @staticmethod
    def _smooth(view: View, expected: Points, radius: float) -> View:
        """The view with positions in image 1 that agree better with their neighbours'."""
        if len(view) == 0:
            return view
        warped1 = view.points0 + smooth_motion(view.points0, view.motion, expected, radius=radius)
        h = view.h_1_to_0
        points1 = warped1 if h is None else apply_homography(inverse(h), warped1)
        return replace(view, warped1=warped1, points1=points1)

    # -- more than one -------------------------------------------------------------------------

    def _second_round(self, first: View) -> View:
        """The better of a view and the one its own matches call for."""
        if not self.guidance.second_round or len(first) < FEWEST_IN_PLANE // 2:
            return first
        with self.clock("geometry"):
            plane = fit_plane(first)
            if plane is None or explained_by(first, plane, self.stride).mean() < _PLANAR:
                return first
            moved = apply_homography(plane, first.warped1) - first.warped1
            if np.percentile(np.abs(moved), 80) < _ALIGNED:
                return first
        second = self._look_near(first.warped_by(plane))
        better = len(second) >= _KEPT * len(first)
        self.trace.append(f"round 2: {len(second)}{'' if better else ', not kept'}")
        return second if better else first


def _borne_out(points: Points, motion: Points) -> NDArray[np.bool_]:
    """Those matches, in coarse cells, that enough of their neighbours move like."""
    alike, around = local_support(points, motion, radius=_BINS, tolerance=_ALIKE)
    result: NDArray[np.bool_] = (alike >= _FEWEST) & (alike >= _SHARE * around)
    return result
