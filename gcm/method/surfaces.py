"""From what was seen of a pair to its matches: along a plane, of the whole scene, or both.

- A *plane*: image 1 is warped by the homography that explains most, and matches are looked for near where
  that and the coarse matches say (:mod:`gcm.method.view`). Nothing is as dense and as precise on a plane.
- A *frame*: image 1 is turned and scaled at most, and the whole scene is matched from end to end
  (:mod:`gcm.method.frame`). It finds what lies off the plane.

A scene that a plane explains, and off which nothing significant lies, takes the first, others the second;
where the plane is seen too differently for a frame, both, and each part of the image takes the better.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from gcm.features.batching import Work
from gcm.geometry import Matrix, apply_homography, homography_scale, inverse
from gcm.method.evidence import near_one_affine, significance
from gcm.method.frame import Framed, frame_of, look_at_all, refine_all
from gcm.method.lines import on_their_lines, stands_alone
from gcm.method.near import match_near, second_round, warped_by
from gcm.method.pair import Pair
from gcm.method.planes import distortion, explained_by, fit_plane, further_planes, on_one_plane
from gcm.method.sightings import Sighting
from gcm.method.working_matches import WorkingMatches
from gcm.options import PlaneOptions

__all__ = ["match_seen", "zoom_of"]


def match_seen(pair: Pair, sighting: Sighting, framed: Framed | None) -> Work[list[WorkingMatches]]:
    """The views that a sighting leads to."""
    pair.h_1_to_0 = None
    if pair.options.geometry == "none":
        framed = framed or (yield from look_at_all(pair, None, zoom_of(pair)))
        return _verified(pair, [(yield from _whole(pair, framed))])
    if framed is not None and framed.zoom > 1:
        view = yield from _whole(pair, framed)
        planar = pair.options.geometry == "homography"
        return [on_one_plane(view, pair.options.planes, share=0.0)] if planar else _verified(pair, [view])
    return (yield from _plane_or_whole(pair, sighting, framed))


def zoom_of(pair: Pair) -> float:
    """By which images too large to be matched from end to end are shrunk."""
    return min(1.0, pair.options.frame.largest_side / max(*pair.size0, *pair.size1))


def _plane_or_whole(pair: Pair, best: Sighting, framed: Framed | None) -> Work[list[WorkingMatches]]:
    """The view of the main plane, of the whole scene, or both."""
    options = pair.options
    with pair.clock("geometry"):
        main = _main_plane(pair, best)
    view: WorkingMatches | None = None
    aligned = main is not None and main.share < options.planes.clear_share  # likely more than a plane
    zoom = 1.0 if aligned else pair.plane_zoom
    if main is not None:
        view = yield from match_near(pair, main.matches, align=aligned, zoom=zoom)
        view = yield from second_round(pair, view, align=aligned, zoom=zoom)
        if options.geometry == "homography":
            return [on_one_plane(view, options.planes, share=0.0)]
        plane = fit_plane(view, options.planes) if len(view) >= pair.few else None
        share = 0.0 if plane is None else _share_explained(pair, view, plane, zoom)
        pair.trace.append(f"plane: {main.share:.2f} of the coarse matches, {share:.2f} of {len(view)}")
        if min(main.share, share) >= options.planes.clear_share:
            return [_alone(pair, view, plane)]
    if framed is None:
        framed = yield from look_at_all(pair, frame_of(pair, best), zoom_of(pair))
    if main is not None and view is not None:
        off = _significance_off(pair, framed, view if plane is None else view.warped_by(plane))
        pair.trace.append(f"off the plane: significance {off:.1f}")
        undone = _undone(view, framed)
        if off < options.planes.nothing_off * (1 + undone) and share >= _enough(options.planes, undone):
            if aligned:
                return [_alone(pair, view, plane)]
            return [_alone(pair, (yield from match_near(pair, view, align=True)))]
    whole = yield from _whole(pair, framed)
    pair.trace.append(f"whole scene: {len(whole)}")
    if options.geometry == "homography":
        return [on_one_plane(whole, options.planes, share=0.0)]
    views = [whole]
    if options.geometry == "multi" and main is not None:
        views += yield from _further_views(pair, main)
    if view is not None and (len(whole) < pair.few or _undone(view, framed) >= options.planes.distortion):
        if not aligned and len(view) >= pair.few:
            view = yield from match_near(pair, view, align=True)
        views.insert(0, view)
    return _verified(pair, views)


def _verified(pair: Pair, views: list[WorkingMatches]) -> list[WorkingMatches]:
    """Views of a whole scene without what its geometry does not bear out."""
    if not pair.options.verify:
        return views
    with pair.clock("geometry"):
        return on_their_lines(views, pair.options, pair.stride)


@dataclass(frozen=True)
class _MainPlane:
    """The plane that explains most coarse matches."""

    matches: WorkingMatches
    """Those it explains, with image 1 warped by it."""
    rest: WorkingMatches
    """Those it does not."""
    share: float
    """Of the coarse matches, those it explains."""
    tolerance: float
    """Pixels, to which a further plane must explain a coarse match."""


def _main_plane(pair: Pair, sighting: Sighting) -> _MainPlane | None:
    """The plane that explains most of what was seen; None when it is not even half of it."""
    planes = pair.options.planes
    points0, points1 = sighting.supported.sharp_points()
    coarse = WorkingMatches(None, points0, points1, points1, np.ones(len(points0)))
    if len(coarse) < pair.few:
        return None
    cell = pair.coarse_cell(sighting.side)
    plane = fit_plane(coarse, planes, threshold=planes.coarse_threshold * cell)
    if plane is None or np.linalg.det(plane) <= 0:  # no view of a plane mirrors it
        return None
    explained = explained_by(coarse, plane, planes.coarse_tolerance * cell)
    share = float(explained.mean())
    if share <= planes.main_share:
        return None
    main = warped_by(pair, coarse, plane)
    pair.h_1_to_0 = main.h_1_to_0
    rest = coarse.take(~explained).in_frame_of(main.h_1_to_0)
    return _MainPlane(main, rest, share, planes.further_tolerance * cell)


def _share_explained(pair: Pair, view: WorkingMatches, plane: Matrix, zoom: float) -> float:
    """Of a view's matches, those that lie on a plane, to pixels of the photo that shows it coarser.

    No match is more exact than that: what is a pixel there may be three in the other photo. In a view of
    photos shrunk by `zoom` neighbours are drawn together more, so less of what is left tells of relief:
    at the same pixels relief was taken for a plane, at shrunk ones planes for scenes.
    """
    h_1_to_0 = view.h_1_to_0
    scale = 1.0 if h_1_to_0 is None else homography_scale(h_1_to_0, pair.size1, pair.size0)
    tolerance = max(1.0, scale) * zoom**0.5 * pair.options.planes.off_plane
    return float(explained_by(view, plane, tolerance).mean())


def _enough(planes: PlaneOptions, undone: float) -> float:
    """The share of its matches that a plane must explain to be the scene.

    Where its warp undoes nothing, what lies a little off it is low relief, which the whole scene's matches
    show as exactly. The more tilted it is, the more of its own matches go astray.
    """
    return max(planes.only_share, 1 - (1 - planes.clear_share) * (1 + planes.astray * undone))


def _alone(pair: Pair, view: WorkingMatches, plane: Matrix | None = None) -> WorkingMatches:
    """The view of the plane that the scene is; `plane` where it was fitted to the view already."""
    if pair.options.geometry != "auto":
        return view
    planes = pair.options.planes
    alone = partial(stands_alone, options=pair.options.lines, cell=pair.stride)
    checked = alone if pair.options.verify else None
    return on_one_plane(view, planes, share=planes.main_share, plane=plane, alone=checked)


def _significance_off(pair: Pair, framed: Framed, view: WorkingMatches) -> float:
    """What the coarse matches of a frame prove that lie farther off the plane than its view looks."""
    options, h_1_to_0 = pair.options, view.h_1_to_0
    assert h_1_to_0 is not None
    points0, points1 = framed.points(pair)
    tolerance = options.frame.off_plane * pair.stride / framed.zoom
    off = ~(np.linalg.norm(apply_homography(h_1_to_0, points1) - points0, axis=1) < tolerance)
    off &= framed.agreement.supported
    evidence, chance = options.evidence, options.frame.chance
    block = evidence.block_cells * pair.stride / framed.zoom
    proved = significance((points0, points1), off, block=block, chance=chance.wide)
    # One thing before a wall moves as one, which accidents seldom do.
    alone = off.copy()
    cell = pair.stride / framed.zoom
    alone[off] = near_one_affine(points0[off], points1[off], evidence.tight_cells * cell)
    return max(proved, significance((points0, points1), alone, block=block, chance=chance.tight))


def _undone(view: WorkingMatches, framed: Framed) -> float:
    """How much more a plane's warp undoes than the frame, as of :func:`distortion`; 0 without a warp."""
    if not len(view) or view.h_1_to_0 is None:
        return 0.0
    left = inverse(framed.h_1_to_0) @ view.h_1_to_0
    return distortion(left, np.median(view.points1, axis=0))


def _further_views(pair: Pair, main: _MainPlane) -> Work[list[WorkingMatches]]:
    """Views of further planes."""
    views = []
    planes = pair.options.planes
    for part, plane in further_planes(main.rest, len(main.matches), planes, tolerance=main.tolerance):
        view = yield from match_near(pair, warped_by(pair, part, plane))
        views.append((yield from second_round(pair, view)))
    if views:
        pair.trace.append(f"further planes: {', '.join(str(len(view)) for view in views)}")
    return views


def _whole(pair: Pair, framed: Framed) -> Work[WorkingMatches]:
    """The matches of a frame; where images had to be shrunk much for it, those at full size near them."""
    with pair.clock("whole scene"):
        view = refine_all(pair, framed)
    if framed.zoom >= pair.options.frame.exact_zoom or len(view) < pair.few:
        return view
    for pyramid in framed.seen.pyramids:  # room for those of full size
        pyramid.forget_prepared()
    pair.forget_shrunk()
    return (yield from match_near(pair, view, whole=True, align=True))
