"""Our way to match, from the stage-0 homography to final points.

A *view* is image 1 warped into image 0's frame by one homography (or not warped at all). In a view matches
are found as published, from the coarsest map to the finest, but near where stage 0, at low resolution,
has found coarse ones (:mod:`gcm.method.view`). From the verified matches follow a better homography and so a
second round, and, where the scene is not one plane, further views, each for the part it aligns.

This file decides which views to match.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from gcm.features.batching import Request, Work
from gcm.features.pyramid import Pyramid
from gcm.geometry import (
    Matrix,
    Points,
    apply_homography,
    homography_scale,
    inverse,
    resize_matrix,
    warp_smoothly,
)
from gcm.images.files import RGBImage
from gcm.images.sizes import fit_within, image_size
from gcm.method.coarse import CoarseMatching, consensus_score, match_upright, search_hypotheses
from gcm.method.planes import explained_by, fit_plane, further_planes, merge_views, on_one_plane
from gcm.method.steps import Clock, RefinementStep
from gcm.method.view import Hints, has_local_support, match_view
from gcm.method.working_matches import MethodResult, WorkingMatches, moved_by
from gcm.options import GuidedOptions

__all__ = ["match_guided"]


def match_guided(
    image0: RGBImage,
    image1: RGBImage,
    steps: tuple[RefinementStep, ...],
    options: GuidedOptions,
    clock: Clock,
) -> Work[MethodResult]:
    """Match two images.

    Args:
        image0, image1: H x W x 3 uint8 RGB at working size.
        steps: stage 0, the dense match, then each refinement.
        options: how to match.
        clock: of the stages.

    Returns:
        Points to a fraction of a pixel; scores as of :func:`gcm.method.view.match_view`.
    """
    pair = _Pair(image0, image1, steps, options, clock)
    views = yield from _views(pair)
    merged = merge_views(views, pair.stride)
    if options.geometry in {"homography", "auto"}:
        share = 0.0 if options.geometry == "homography" else options.planes.only_share
        merged = on_one_plane(merged, options.planes, share=share)
    return MethodResult(merged, pair.h_1_to_0, tuple(pair.trace))


@dataclass
class _Pair:
    """Two images, and what is known of them so far."""

    image0: RGBImage
    image1: RGBImage
    steps: tuple[RefinementStep, ...]
    options: GuidedOptions
    clock: Clock
    h_1_to_0: Matrix | None = None
    """Of stage 0; None until, or when, it finds none."""
    trace: list[str] = field(default_factory=list)
    pyramids: dict[int, tuple[RGBImage, Pyramid]] = field(default_factory=dict)
    """Of images not warped, by their identity; the images stand beside, so that no other gets theirs."""

    @property
    def size0(self) -> tuple[int, int]:
        """Width and height of image 0."""
        return image_size(self.image0)

    @property
    def size1(self) -> tuple[int, int]:
        """Width and height of image 1."""
        return image_size(self.image1)

    @property
    def stride(self) -> int:
        """Of the dense match."""
        return self.steps[1].stride

    @property
    def coarse_side(self) -> int:
        """Pixels: longer side of the images that stage 0 works with."""
        return int(np.clip(max(*self.size0, *self.size1) // 2, *self.options.search.sides))

    @property
    def coarse_cell(self) -> float:
        """Pixels of image 0 that a cell of stage 0's maps covers."""
        return self.steps[0].stride * max(1.0, max(self.size0) / self.coarse_side)

    @property
    def few(self) -> int:
        """Matches too few to build on."""
        return self.options.planes.fewest_coarse


def _views(pair: _Pair) -> Work[list[WorkingMatches]]:
    """The views that together explain the pair; the first is that of the whole."""
    options = pair.options
    if max(pair.size0) <= pair.coarse_side:
        yield from _pyramid(pair, pair.image0)  # before stage 0, which needs a part of it
    with pair.clock("stage 0"):
        coarse = yield from _match_coarse(pair)
    if coarse is None or len(coarse) < pair.few:
        view = yield from _match_exhaustively(pair)
        if not _is_significant(pair, view):  # somewhere two edges are always alike, a few pixels long
            view = view.take(np.zeros(len(view), dtype=bool))
            pair.trace.append("too few to be believed")
        return [view]
    if options.geometry == "none":
        return [(yield from _match_near(pair, coarse))]
    with pair.clock("geometry"):
        main, rest = _main_plane(pair, coarse)
    view = yield from _match_near(pair, main)
    view = yield from _second_round(pair, view)
    if options.geometry == "homography":
        return [view]
    further: list[WorkingMatches] = []
    rest = rest.in_frame_of(main.h_1_to_0)
    tolerance = options.planes.further_tolerance * pair.coarse_cell
    for part in further_planes(rest, len(main), options.planes, tolerance=tolerance):
        part_view = yield from _match_near(pair, part)
        further.append((yield from _second_round(pair, part_view)))
    if further:
        pair.trace.append(f"further views: {', '.join(str(len(v)) for v in further)}")
    return [view, *further]


def _match_coarse(pair: _Pair) -> Work[WorkingMatches | None]:
    """Coarse matches at low resolution that their neighbours bear out, and stage 0's homography."""
    step, options = pair.steps[0], pair.options
    matching = CoarseMatching(step.threshold, bidirectional=True)
    h: Matrix | None = None
    if options.geometry == "none":
        matches = yield from match_upright(pair.image0, pair.image1, matching, side=pair.coarse_side)
    else:
        homography = yield from search_hypotheses(
            pair.image0,
            pair.image1,
            matching,
            options.search,
            mode=options.hypotheses,
            side=pair.coarse_side,
        )
        if homography is None:
            return None
        matches, h = homography.matches, homography.h_1_to_0
        pair.h_1_to_0 = h
    cell = pair.coarse_cell
    points0, points1 = matches.points()
    keep = has_local_support(points0 / cell, (moved_by(h, points1) - points0) / cell, options.neighbours)
    points0, points1 = matches.take(torch.from_numpy(keep).to(matches.map0.device)).sharp_points()
    pair.trace.append(f"stage 0: {len(points0)}")
    return WorkingMatches(h, points0, moved_by(h, points1), points1, np.ones(len(points0)))


def _main_plane(pair: _Pair, coarse: WorkingMatches) -> tuple[WorkingMatches, WorkingMatches]:
    """The coarse matches in the frame of the plane that explains most, and those that it does not explain."""
    planes = pair.options.planes
    plane = fit_plane(coarse, planes, threshold=planes.coarse_threshold * pair.coarse_cell)
    if plane is not None:
        explained = explained_by(coarse, plane, planes.coarse_tolerance * pair.coarse_cell)
        if explained.mean() > planes.main_share:
            main = coarse.warped_by(plane)
            pair.h_1_to_0 = main.h_1_to_0
            return main, coarse.take(~explained)
    return coarse, coarse


def _match_exhaustively(pair: _Pair) -> Work[WorkingMatches]:
    """The view of stage 0's homography, or of none, searched from end to end."""
    side = pair.options.search.exhaustive_side
    small0, small1 = fit_within(pair.image0, side), fit_within(pair.image1, side)
    enlarge0 = resize_matrix(image_size(small0), pair.size0)
    enlarge1 = resize_matrix(image_size(small1), pair.size1)
    shrunk = small0 is not pair.image0 or small1 is not pair.image1
    h = pair.h_1_to_0
    if h is not None and shrunk:
        h = inverse(enlarge0) @ h @ enlarge1
    view = yield from _match_warped(pair, (small0, small1), h, None)
    pair.trace.append(f"everywhere: {len(view)}")
    if not shrunk:
        return view
    view = view.enlarged(enlarge0, enlarge1)
    if len(view) < pair.few or not _is_significant(pair, view):
        return view
    return (yield from _match_near(pair, view))


def _is_significant(pair: _Pair, view: WorkingMatches) -> bool:
    """Whether matches that no homography of stage 0 bears out are many and spread enough."""
    search = pair.options.search
    cells = (pair.size0[0] // pair.stride) * (pair.size0[1] // pair.stride)
    needed = min(search.significant, cells * search.tiny_share)  # a tiny image has no more to show
    return not pair.options.verify or consensus_score(view.points0, pair.size0, search.grid) >= needed


def _match_near(pair: _Pair, matches: WorkingMatches) -> Work[WorkingMatches]:
    """Match in the view of some matches, near those; in its inverse where image 1 shows more detail."""
    h = matches.h_1_to_0
    if h is None or homography_scale(h, pair.size1, pair.size0) >= pair.options.planes.finer_scale:
        hints = Hints(matches.points0, matches.motion)
        return (yield from _match_warped(pair, (pair.image0, pair.image1), h, hints))
    # Image 0 is warped into image 1's frame, which shows the scene in more detail.
    h_0_to_1 = inverse(h)
    hints = Hints(matches.points1, _motion_seen_from_1(matches, h_0_to_1))
    swapped = yield from _match_warped(pair, (pair.image1, pair.image0), h_0_to_1, hints)
    pair.trace.append("seen from image 1")
    h = inverse(h_0_to_1)
    warped1 = apply_homography(h, swapped.points0)
    return WorkingMatches(h, swapped.points1, warped1, swapped.points0, swapped.scores)


def _motion_seen_from_1(matches: WorkingMatches, h_0_to_1: Matrix) -> Points:
    """What warping image 0 leaves of the motion, N x 2 pixels of image 1."""
    return apply_homography(h_0_to_1, matches.points0) - matches.points1


def _match_warped(
    pair: _Pair, images: tuple[RGBImage, RGBImage], h_1_to_0: Matrix | None, hints: Hints | None
) -> Work[WorkingMatches]:
    """Match two images, of the pair or made from it, the second warped by a homography if there is one."""
    image0, image1 = images
    pyramid0 = yield from _pyramid(pair, image0)
    with pair.clock("features 1"):
        if h_1_to_0 is None:
            pyramid1 = yield Request(image1)
        else:
            warped = warp_smoothly(image1, h_1_to_0, *image_size(image0))
            pyramid1 = yield Request(warped, original=image1)
    return match_view((pyramid0, pyramid1), images, h_1_to_0, hints, pair.steps, pair.options, pair.clock)


def _pyramid(pair: _Pair, image: RGBImage) -> Work[Pyramid]:
    """The pyramid of an image that is not warped, asked for once a pair."""
    if id(image) not in pair.pyramids:
        with pair.clock("features 0"):
            pyramid: Pyramid = yield Request(image)
        pair.pyramids[id(image)] = image, pyramid
    return pair.pyramids[id(image)][1]


def _second_round(pair: _Pair, first: WorkingMatches) -> Work[WorkingMatches]:
    """The better of a view and the one its own matches call for."""
    options, planes = pair.options, pair.options.planes
    if not options.second_round or len(first) < pair.few:
        return first
    with pair.clock("geometry"):
        plane = fit_plane(first, planes)
        if plane is None or explained_by(first, plane, pair.stride).mean() < planes.main_share:
            return first
        moved = apply_homography(plane, first.warped1) - first.warped1
        if np.percentile(np.abs(moved), options.guide.aligned_percentile) < planes.aligned:
            return first
    second = yield from _match_near(pair, first.warped_by(plane))
    better = len(second) >= planes.kept * len(first)
    pair.trace.append(f"round 2: {len(second)}{'' if better else ', not kept'}")
    return second if better else first
