"""Matching a pair near what is known of it, in the view that shows it best."""

from __future__ import annotations

import numpy as np

from gcm.features.batching import Work
from gcm.geometry import Matrix, Points, apply_homography, homography_scale, inverse, rounded_homography
from gcm.method.pair import Pair
from gcm.method.planes import explained_by, fit_plane
from gcm.method.view import Hints, match_view
from gcm.method.working_matches import WorkingMatches

__all__ = ["match_near", "second_round", "warped_by"]


def match_near(
    pair: Pair, matches: WorkingMatches, *, whole: bool = False, align: bool = False
) -> Work[WorkingMatches]:
    """Match in the view of some matches, near those; in its inverse where image 1 shows more detail."""
    h = matches.h_1_to_0
    images, hints = (pair.image0, pair.image1), Hints(matches.points0, matches.motion)
    swapped = h is not None and homography_scale(h, pair.size1, pair.size0) < pair.options.planes.finer_scale
    if h is not None and swapped:
        # Image 0 is warped into image 1's frame, which shows the scene in more detail.
        images, h = images[::-1], inverse(h)
        hints = Hints(matches.points1, _motion_seen_from_1(matches, h))
        pair.trace.append("seen from image 1")
    seen = yield from pair.see(images, h)
    view = match_view(seen, hints, pair.steps, pair.options, pair.clock, whole=whole, align=align)
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


def second_round(pair: Pair, first: WorkingMatches, *, align: bool = False) -> Work[WorkingMatches]:
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
    second = yield from match_near(pair, warped_by(pair, first, plane), align=align)
    better = len(second) >= planes.kept * len(first)
    pair.trace.append(f"round 2: {len(second)}{'' if better else ', not kept'}")
    return second if better else first
