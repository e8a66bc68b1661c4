"""Matching a pair near what is known of it, in the view that shows it best."""

from __future__ import annotations

import numpy as np

from gcm.features.batching import Work
from gcm.geometry import (
    Matrix,
    Points,
    apply_homography,
    homography_scale,
    inverse,
    resize_matrix,
    rounded_homography,
)
from gcm.images.sizes import image_size
from gcm.method.pair import Pair
from gcm.method.planes import explained_by, fit_plane
from gcm.method.view import Hints, match_view
from gcm.method.working_matches import WorkingMatches

__all__ = ["match_near", "second_round", "warped_by"]


def match_near(
    pair: Pair, matches: WorkingMatches, *, whole: bool = False, align: bool = False, zoom: float = 1.0
) -> Work[WorkingMatches]:
    """Match in the view of some matches, near those; in its inverse where image 1 shows more detail.

    Args:
        pair: the images.
        matches: what is known of them.
        whole, align: see :func:`gcm.method.view.refine_view`.
        zoom: at most 1, by which both images are shrunk first. A cell then covers more of the scene, and
            gives as many more matches.
    """
    if zoom < 1:
        to0, to1 = (
            resize_matrix(size, image_size(image))
            for size, image in zip((pair.size0, pair.size1), pair.enlarged(zoom), strict=True)
        )
        shrunk = yield from _match_near(pair, matches.enlarged(to0, to1), zoom, whole=whole, align=align)
        return shrunk.enlarged(inverse(to0), inverse(to1))
    return (yield from _match_near(pair, matches, zoom, whole=whole, align=align))


def _match_near(
    pair: Pair, matches: WorkingMatches, zoom: float, *, whole: bool, align: bool
) -> Work[WorkingMatches]:
    """As :func:`match_near`; matches in pixels of the images as shrunk."""
    first, second = pair.enlarged(zoom)
    h = matches.h_1_to_0
    if h is not None and zoom < 1:
        h = rounded_homography(h, image_size(second))
        matches = matches.in_frame_of(h)
    images, hints = (first, second), Hints(matches.points0, matches.motion)
    sizes = image_size(second), image_size(first)
    swapped = h is not None and homography_scale(h, *sizes) < pair.options.planes.finer_scale
    if h is not None and swapped:
        # Image 0 is warped into image 1's frame, which shows the scene in more detail.
        images, h = images[::-1], inverse(h)
        hints = Hints(matches.points1, _motion_seen_from_1(matches, h))
        pair.trace.append("seen from image 1")
    seen = yield from pair.see(images, h)
    options = pair.options
    if zoom < 1:
        options = options.model_copy(update={"matches_per_cell": pair.matches_per_cell(zoom)})
    view = match_view(seen, hints, pair.steps, options, pair.clock, whole=whole, align=align)
    return view.swapped() if swapped else view


def warped_by(pair: Pair, matches: WorkingMatches, plane: Matrix) -> WorkingMatches:
    """The same matches as a warp shows them that moves their points by `plane`, and is rounded.

    A warp that differs in the sixth digit would lead to other matches.
    """
    h = matches.warped_by(plane).h_1_to_0
    assert h is not None
    return matches.in_frame_of(rounded_homography(h, pair.size1))


def _motion_seen_from_1(matches: WorkingMatches, h_0_to_1: Matrix) -> Points:
    """What warping image 0 leaves of the motion, N x 2 pixels of image 1."""
    return apply_homography(h_0_to_1, matches.points0) - matches.points1


def second_round(
    pair: Pair, first: WorkingMatches, *, align: bool = False, zoom: float = 1.0
) -> Work[WorkingMatches]:
    """The better of a view and the one its own matches call for; `align` and `zoom` as of the first."""
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
    second = yield from match_near(pair, warped_by(pair, first, plane), align=align, zoom=zoom)
    better = len(second) >= planes.kept * len(first)
    pair.trace.append(f"round 2: {len(second)}{'' if better else ', not kept'}")
    return second if better else first
