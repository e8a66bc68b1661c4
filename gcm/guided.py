"""What our own presets do beyond the published method, from the stage-0 homography to final points.

A *view* is image 1 warped into image 0's frame by one homography (or not warped at all). In a view matches
are found as published, from the coarsest map to pixels, but instead of by a ratio they are selected
by their neighbours: right matches of a view move alike, wrong ones stand alone. From the verified
matches follow a better homography and so a second, guided round, and, where the scene is not one
plane, further views, each for the part of the scene it aligns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from gcm.features import FeatureExtractor, Pyramid
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
from gcm.images import RGBImage, fit_within, flat_ground, image_size
from gcm.levels import Clock, Level
from gcm.maps import whole_map
from gcm.refinement.consistency import fit_motion, local_support, smooth_motion
from gcm.refinement.dense import CellMatches, dense_match
from gcm.refinement.hierarchical import refine
from gcm.refinement.local import local_match
from gcm.refinement.subpixel import similarity_peaks
from gcm.stage0 import CoarseMatching, search_hypotheses
from gcm.views import FEWEST_IN_PLANE, View, distortion, explained_by, fit_plane, merge_views, on_one_plane

__all__ = ["Found", "Guidance", "guided_match"]

import os
LOOK_SMALL = not os.environ.get("STRAIGHT")
REACH = int(os.environ.get("REACH", 2))
MARGIN = int(os.environ.get("MARGIN", 1))
_FLAT_RADIUS = 16
"""Pixels: where everything so near has one colour, there is nothing to match."""

_SMALL_SIDES = (384, 480)
"""Pixels: larger images are matched small first, at 0.6 of their size within these bounds on the longer
side, and then at full size near what was found."""

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

_ALIGNED = 1.5
"""Pixels of motion left over with which another round would find nothing new."""

_PLANAR = 0.5
"""Share of matches that one plane must explain for a second round by it."""

_ONE_PLANE = 0.85
"""Share of matches that one plane must explain for the scene to be taken as that plane."""

_MOST_PLANES = 4
_SHARE_IN_PLANE = 0.04
"""Planes that may get a view of their own, and the share of the matches each must explain."""

_DISTORTION = 0.15
"""Stretch or turn (radians) that a further view must undo to be worth its price."""


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
        self.trace: list[str] = []

    def views(self) -> list[View]:
        """The views that together explain the pair; the first is that of the whole."""
        side = int(np.clip(0.6 * max(*self.size0, *self.size1), *_SMALL_SIDES))
        if LOOK_SMALL is False and self.guidance.geometry != "none":
            return self._straight(side)
        small0, small1 = fit_within(self.image0, side), fit_within(self.image1, side)
        if small0 is not self.image0 or small1 is not self.image1:
            return self._enlarged(small0, small1)
        return self.views_at_this_size()

    def views_at_this_size(self) -> list[View]:
        """The same, searching everywhere."""
        with self.clock("features 0"):
            self.features.pyramid(self.image0)  # before stage 0, which needs a part of it
        if self.guidance.geometry != "none":
            with self.clock("stage 0"):
                self.initial = self._initial()
        first = self._look(self.initial)
        self.trace.append(f"round 1: {len(first)}")
        if self.guidance.geometry == "none":
            return [first]
        view = self._second_round(first) if self.guidance.second_round else first
        if self.guidance.geometry == "homography":
            return [view]
        return [view, *self._further_views(view, first)]

    def _initial(self) -> Matrix | None:
        level = self.levels[0]
        matching = CoarseMatching(level.stride, level.threshold, bidirectional=True)
        found = search_hypotheses(
            self.features, self.image0, self.image1, matching, mode=self.guidance.hypotheses
        )
        return None if found is None else found.matrix

    def _straight(self, side: int) -> list[View]:
        level = self.levels[0]
        matching = CoarseMatching(level.stride, level.threshold, bidirectional=True)
        with self.clock("stage 0"):
            found = search_hypotheses(
                self.features, self.image0, self.image1, matching, mode=self.guidance.hypotheses, side=side
            )
        if found is None:
            return [self._look(None)]
        self.initial = found.matrix
        with self.clock("geometry"):
            first = View(found.matrix, found.points0, apply_homography(found.matrix, found.points1), found.points1, np.ones(len(found.points0)))
            scale = max(1.0, max(self.size0) / side)
            cell = level.stride * scale
            alike, around = local_support(first.points0 / cell, first.motion / cell, radius=_BINS, tolerance=_ALIKE)
            first = first.take((alike >= _FEWEST) & (alike >= _SHARE * around))
        self.trace.append(f"stage 0: {len(first)}")
        if len(first) < FEWEST_IN_PLANE // 2:
            return [self._look(self.initial)]
        with self.clock("geometry"):
            plane = fit_plane(first, 3 * scale)
            if plane is not None and explained_by(first, plane, cell).mean() > _PLANAR:
                first = first.warped_by(plane)
        views = [self._look_near(first)]
        rest = first
        for _ in range(_MOST_PLANES if self.guidance.geometry != "homography" else 0):
            if len(rest) < max(FEWEST_IN_PLANE, _SHARE_IN_PLANE * len(first)):
                break
            plane = fit_plane(rest, 3 * scale)
            if plane is None:
                break
            explained = explained_by(rest, plane, 0.75 * cell)
            part, rest = rest.take(explained), rest.take(~explained)
            if len(part) < max(FEWEST_IN_PLANE, _SHARE_IN_PLANE * len(first)):
                break
            if distortion(plane, np.median(part.warped1, axis=0)) < _DISTORTION:
                continue
            views.append(self._look_near(part.warped_by(plane)))
        return views

    def _look_near(self, first: View) -> View:
        h = first.h_1_to_0
        if h is not None and homography_scale(h, self.size1, self.size0) < _FINER:
            return self._seen_from_1(inverse(h), first.points0, first.points1)
        return self._look(h, near=(first.points0, first.motion))

    def _enlarged(self, small0: RGBImage, small1: RGBImage) -> list[View]:
        """Match small copies, then at full size look near what was found there."""
        # To stride 2 alone: what is found is where to look, and full size tells the rest.
        levels = self.levels[:-1] if self.levels[-1].stride == 1 and len(self.levels) > 3 else self.levels
        pair = _Pair(self.features, small0, small1, levels, self.guidance, self.clock)
        found = pair.views_at_this_size()
        self.trace = [*pair.trace, "enlarged"]
        enlarge0 = resize_matrix(image_size(small0), self.size0)
        reduce1 = resize_matrix(self.size1, image_size(small1))
        if pair.initial is not None:
            self.initial = enlarge0 @ pair.initial @ reduce1
        views = []
        for small in found:
            if len(small) < FEWEST_IN_PLANE // 2:
                continue
            plane = None if self.guidance.geometry == "none" else fit_plane(small)
            if plane is not None and explained_by(small, plane, 2.0).mean() > _PLANAR:
                h = small.warped_by(plane).h_1_to_0
            else:
                h = small.h_1_to_0
            h = None if h is None else enlarge0 @ h @ reduce1
            points0 = apply_homography(enlarge0, small.points0)
            points1 = apply_homography(inverse(reduce1), small.points1)
            warped1 = points1 if h is None else apply_homography(h, points1)
            if h is not None and homography_scale(h, self.size1, self.size0) < _FINER:
                views.append(self._seen_from_1(inverse(h), points0, points1))
            else:
                views.append(self._look(h, near=(points0, warped1 - points0)))
        return views or [self._look(self.initial)]

    def _seen_from_1(self, h_0_to_1: Matrix, points0: Points, points1: Points) -> View:
        """The view with image 0 warped into image 1's frame, which shows the scene in more detail."""
        swapped = _Pair(self.features, self.image1, self.image0, self.levels, self.guidance, self.clock)
        motion = apply_homography(h_0_to_1, points0) - points1
        view = swapped._look(h_0_to_1, near=(points1, motion))
        self.trace.append("seen from image 1")
        h = inverse(h_0_to_1)
        return View(h, view.points1, apply_homography(h, view.points0), view.points0, view.scores)

    # -- one view ------------------------------------------------------------------------------

    def _look(
        self, h_1_to_0: Matrix | None, *, radius: int | None = None, near: tuple[Points, Points] | None = None
    ) -> View:
        """Match in the view of one homography.

        Args:
            h_1_to_0: None to take image 1 as it is.
            radius: cells around the same place to search; everywhere when None.
            near: points of image 0 and their motion, known roughly, to search around instead.
        """
        with self.clock("features 0"):
            pyramid0 = self.features.pyramid(self.image0)
        with self.clock("features 1"):
            if h_1_to_0 is None:
                pyramid1 = self.features.pyramid(self.image1)
            else:
                warped = warp_smoothly(self.image1, h_1_to_0, *self.size0)
                pyramid1 = self.features.pyramid_of_warped(warped, self.image1)
        with self.clock("match"):
            aligned = near is None or np.percentile(np.abs(near[1]), 80) < self.stride / 2
            if not LOOK_SMALL:
                aligned = False
            cells = self._dense(pyramid0, pyramid1, radius, near, 1 if aligned else REACH)
            if self.guidance.verify:
                cells = self._borne_out(cells)
            cells, warped1 = self._refine(cells, pyramid0, pyramid1, margin=0 if aligned else MARGIN)
        with self.clock("geometry"):
            return self._verified(cells, warped1, h_1_to_0)

    def _dense(
        self,
        pyramid0: Pyramid,
        pyramid1: Pyramid,
        radius: int | None,
        near: tuple[Points, Points] | None,
        reach: int,
    ) -> CellMatches:
        level = self.levels[1]
        map0, map1 = whole_map(pyramid0.maps[level.index]), whole_map(pyramid1.maps[level.index])
        if near is not None:
            centres = self._expected(near, map0.shape[2], map0.shape[1])
            return local_match(map0, map1, radius=reach, centres=torch.from_numpy(centres).to(map0.device))
        if radius is not None:
            return local_match(map0, map1, radius=radius)
        return dense_match(map0, map1, threshold=level.threshold)

    def _expected(self, near: tuple[Points, Points], width: int, height: int) -> NDArray[np.int64]:
        """For each cell of image 0's coarse map, the view's cell it is expected at; x = -1 for none."""
        points, motion = near
        field = fit_motion(points, motion, radius=_BINS * self.stride * 2)
        cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
        places = cell_to_pixel(cells, self.stride)
        expected = pixel_to_cell(places + field.predict(places), self.stride)
        known = np.isfinite(expected).all(axis=1)
        centres = np.full((len(cells), 2), -1, dtype=np.int64)
        centres[known] = np.rint(expected[known]).astype(np.int64).clip(-1, 2**30)
        return centres.reshape(height, width, 2)

    def _borne_out(self, cells: CellMatches) -> CellMatches:
        """Those coarse matches that enough of their neighbours move like."""
        points = cells.cells0.cpu().numpy().astype(np.float64)
        motion = cells.cells1.cpu().numpy() - points
        alike, around = local_support(points, motion, radius=_BINS, tolerance=_ALIKE)
        keep = (alike >= _FEWEST) & (alike >= _SHARE * around)
        return cells.take(torch.from_numpy(keep).to(cells.cells0.device))

    def _refine(
        self, cells: CellMatches, pyramid0: Pyramid, pyramid1: Pyramid, *, margin: int
    ) -> tuple[CellMatches, Points]:
        """From coarse cells to the finest, and there to a fraction of a cell of the view, in pixels."""
        stride = self.stride
        for level in self.levels[2:]:
            cells = refine(
                cells,
                pyramid0.maps[level.index],
                pyramid1.maps[level.index],
                stride_ratio=stride // level.stride,
                threshold=level.threshold,
                margin=margin if level.stride > 1 else 0,
                survivors=self.guidance.matches_per_cell if stride == self.stride else 1,
            )
            stride = level.stride
        warped = cells.cells1.double()
        if self.guidance.subpixel:
            last = self.levels[-1].index
            maps = pyramid0.maps[last], pyramid1.maps[last]
            warped, peaked = similarity_peaks(*maps, cells.cells0, cells.cells1)
            cells, warped = cells.take(peaked), warped[peaked]
        return cells, cell_to_pixel(warped.cpu().numpy(), stride)

    def _verified(self, cells: CellMatches, warped1: Points, h_1_to_0: Matrix | None) -> View:
        """The view of these matches, less what lies outside, on flat ground or off its neighbours' motion."""
        points0 = cell_to_pixel(cells.cells0.cpu().numpy(), self.levels[-1].stride)
        points1 = warped1 if h_1_to_0 is None else apply_homography(inverse(h_1_to_0), warped1)
        keep = inside(points0, *self.size0) & inside(points1, *self.size1)
        for points, image in ((points0, self.image0), (points1, self.image1)):
            x, y = np.rint(points[keep]).astype(int).T
            keep[keep] = ~flat_ground(image, _FLAT_RADIUS)[y, x]
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
        return self._smooth(view.take(keep), expected[keep], radius) if self.guidance.smooth else view.take(keep)

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
        if len(first) < FEWEST_IN_PLANE // 2:
            return first
        if first.h_1_to_0 is not None and np.percentile(np.abs(first.motion), 80) < _ALIGNED:
            return first
        plane = fit_plane(first)
        if plane is None:
            return first
        if explained_by(first, plane, self.stride).mean() < _PLANAR:
            return first
        second = self._look(first.warped_by(plane).h_1_to_0, radius=3)
        better = len(second) >= len(first)
        self.trace.append(f"round 2: {len(second)}{'' if better else ', not kept'}")
        return second if better else first

    def _further_views(self, view: View, first: View) -> list[View]:
        """Views for those parts of the scene that a view leaves distorted.

        Plane after plane is fitted to the first round's matches not yet explained: a second round, by one
        plane, loses the others. What a plane would only shift is left alone: matching bears a shift.
        """
        views: list[View] = []
        rest = first if view.h_1_to_0 is None else first.in_frame_of(view.h_1_to_0)
        for _ in range(_MOST_PLANES):
            if len(rest) < max(FEWEST_IN_PLANE, _SHARE_IN_PLANE * len(view)):
                break
            plane = fit_plane(rest)
            if plane is None:
                break
            explained = explained_by(rest, plane, 0.75 * self.stride)
            part, rest = rest.take(explained), rest.take(~explained)
            if len(part) < max(FEWEST_IN_PLANE, _SHARE_IN_PLANE * len(view)):
                break
            if distortion(plane, np.median(part.warped1, axis=0)) < _DISTORTION:
                continue
            part = part.warped_by(plane)
            views.append(self._look(part.h_1_to_0, near=(part.points0, part.motion)))
        if views:
            self.trace.append(f"further views: {', '.join(str(len(v)) for v in views)}")
        return views
