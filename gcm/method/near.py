"""Matching a pair near what is known of it, in the view that shows it best."""

from __future__ import annotations

import numpy as np

from gcm.features.batching import Work
from gcm.geometry import Matrix, Points, apply_homography, inverse, rounded_homography
from gcm.images.files import RGBImage
from gcm.images.sizes import image_size
from gcm.method.coarse import resizing
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
    images = pair.enlarged(zoom)
    to0, to1 = resizing((pair.image0, pair.image1), images)
    if zoom < 1:
        matches = _in_frame_rounded(matches.enlarged(to0, to1), images[1])
    h = matches.h_1_to_0
    hints = Hints(matches.points0, matches.motion)
    swapped = h is not None and pair.shows_more(images, h)
    looked_at = images
    if h is not None and swapped:
        # Image 0 is warped into image 1's frame, which shows the scene in more detail.
        looked_at, h = images[::-1], inverse(h)
        hints = Hints(matches.points1, _motion_seen_from_1(matches, h))
        pair.trace.append("seen from image 1")
    seen = yield from pair.see(looked_at, h)
    options = pair.options.model_copy(update={"matches_per_cell": pair.matches_per_cell(zoom)})
    view = match_view(seen, hints, pair.steps, options, pair.clock, whole=whole, align=align)
    view = view.swapped() if swapped else view
    return view.enlarged(inverse(to0), inverse(to1)) if zoom < 1 else view


def warped_by(pair: Pair, matches: WorkingMatches, plane: Matrix) -> WorkingMatches:
    """The same matches as a warp shows them that moves their points by `plane`, and is rounded.

    A warp that differs in the sixth digit would lead to other matches.
    """
    return _in_frame_rounded(matches.warped_by(plane), pair.image1)


def _in_frame_rounded(matches: WorkingMatches, image1: RGBImage) -> WorkingMatches:
    """The same matches as their own warp of image 1 shows them, rounded."""
    h = matches.h_1_to_0
    return matches if h is None else matches.in_frame_of(rounded_homography(h, image_size(image1)))


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
