"""Our way to match: which views of a pair are matched, and what of them is returned.

Stage 0 finds, small, the view in which both images are seen to show the same (:mod:`gcm.method.sightings`).
From there on two ways lead to matches, and which is taken follows from what is found:

- a *plane*: image 1 is warped by the homography that explains most, and matches are looked for near where
  that and the coarse matches say (:mod:`gcm.method.view`). Nothing is as dense and as precise on a plane;
- a *frame*: image 1 is turned and scaled at most, and the whole scene is matched from end to end
  (:mod:`gcm.method.frame`). It finds what lies off the plane.

A scene that a plane explains, and off which nothing significant lies, takes the first, others the second;
where the plane is seen too differently for a frame, both, and each part of the image takes the better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gcm.features.batching import Work
from gcm.features.cache import image_key
from gcm.features.seeds import SeedMatcher
from gcm.geometry import (
    Matrix,
    apply_homography,
    inside,
    inverse,
)
from gcm.images.files import RGBImage
from gcm.method.evidence import near_one_affine, significance
from gcm.method.frame import Framed, frame_of, look_at_all, refine_all
from gcm.method.near import match_near, second_round
from gcm.method.pair import Pair
from gcm.method.planes import (
    distortion,
    explained_by,
    fit_plane,
    further_planes,
    merge_views,
    on_one_plane,
)
from gcm.method.rivals import Rivalry, settle_rivalry
from gcm.method.seeding import beside, find_seeds, thickened
from gcm.method.sightings import Sighting, search_views
from gcm.method.steps import Clock, RefinementStep
from gcm.method.verdict import confidence_of, evidence_of, seed_confidence
from gcm.method.working_matches import MethodResult, WorkingMatches
from gcm.options import GuidedOptions

__all__ = ["match_guided"]


def match_guided(
    image0: RGBImage,
    image1: RGBImage,
    steps: tuple[RefinementStep, ...],
    options: GuidedOptions,
    clock: Clock,
    seeds: Sequence[SeedMatcher] = (),
) -> Work[MethodResult]:
    """Match two images; the same whichever comes first.

    Args:
        image0, image1: H x W x 3 uint8 RGB at working size.
        steps: stage 0, the dense match, then each refinement.
        options: how to match.
        clock: of the stages.
        seeds: find sparse matches where the maps do not convince.

    Returns:
        Points to a fraction of a pixel; scores as of :func:`gcm.method.view.refine_view`.
    """
    # A pair is matched in one order only, so that the other gives the same. The smaller image comes first:
    # every cell of a small part has its partner in the whole, not the other way round.
    swapped = _rank(image1) < _rank(image0)
    pair = Pair(*((image1, image0) if swapped else (image0, image1)), steps, options, clock, seeds)
    attempt = yield from _best_attempt(pair)
    merged, h = WorkingMatches.none(), attempt.h_1_to_0
    if attempt.views and (not options.verify or attempt.confidence >= options.min_confidence):
        merged = merge_views(attempt.views, pair.stride)
    elif attempt.views:
        pair.trace.append(f"confidence {attempt.confidence:.3f}: nothing returned")
    if swapped:
        merged, h = merged.swapped(), None if h is None else inverse(h)
    # Without verification nobody knows how well matches agree.
    confidence = attempt.confidence if options.verify else None
    return MethodResult(merged, h, confidence, attempt.evidence, tuple(pair.trace))


@dataclass(frozen=True)
class _Attempt:
    """What one view of a pair led to."""

    views: list[WorkingMatches]
    h_1_to_0: Matrix | None
    """Of its main plane."""
    evidence: Mapping[str, float]
    confidence: float
    rivalled: bool = False
    """Whether something is repeated: sparse matches would agree as well, on whichever motion."""

    def __len__(self) -> int:
        return sum(map(len, self.views))


def _rank(image: RGBImage) -> tuple[int, bytes]:
    return image.shape[0] * image.shape[1], image_key(image)


def _best_attempt(pair: Pair) -> Work[_Attempt]:
    """What the view leads to that convinces most; another than the likeliest is tried where it does not."""
    options = pair.options
    if max(*pair.size0, *pair.size1) <= options.views.side:
        yield from pair.pyramid(pair.image0)  # before stage 0, which needs a part of it
    with pair.clock("stage 0"):
        mode = "upright" if options.geometry == "none" else options.hypotheses
        sightings = yield from search_views(pair.image0, pair.image1, pair.steps[0].threshold, options, mode)
    attempts = [_attempt(pair, [], 0.0)]
    if sightings:
        attempts += yield from _dense_attempts(pair, sightings)
    best = max(attempts, key=lambda attempt: attempt.confidence)
    # Without verification nobody knows how sure the maps are.
    sure = not options.verify or best.confidence >= options.verdict.convincing
    convincing = sure and not options.seeds.always
    if not pair.seeds or best.rivalled or convincing:
        return best
    seeded = yield from _seeded_attempt(pair, attempts)
    if best.confidence >= options.min_confidence and len(seeded) < len(best) / 2:
        return best  # what they say is no part of it: so few do not outweigh so many
    return max(best, seeded, key=lambda attempt: attempt.confidence)


def _dense_attempts(pair: Pair, sightings: list[Sighting]) -> Work[list[_Attempt]]:
    """What the maps of both images lead to."""
    options = pair.options
    best = sightings[0]
    pair.trace.append(f"stage 0: significance {best.significance:.1f}")
    attempts: list[_Attempt] = []
    if best.significance >= options.evidence.plain:
        with pair.clock("stage 0"):
            rivalry = settle_rivalry(best, options.rivals)
        if rivalry is not None:
            return [(yield from _rival_attempt(pair, best, rivalry))]
        views = yield from _matched(pair, best, None)
        attempts.append(_attempt(pair, views, best.significance))
    if not attempts or (options.verify and attempts[-1].confidence < options.verdict.convincing):
        # (Without verification nothing could convince.)
        for sighting, framed in (yield from _closer_looks(pair, sightings)):
            views = yield from _matched(pair, sighting, framed)
            attempts.append(_attempt(pair, views, framed.significance, framed.zoom))
    return attempts


def _seeded_attempt(pair: Pair, dense: list[_Attempt]) -> Work[_Attempt]:
    """What the sparse matches of a learned matcher lead to: those of the maps that agree with them beside.

    Args:
        pair: the images.
        dense: what the maps led to, which was not sure enough by itself.
    """
    seeding = pair.options.seeds
    with pair.clock("seeds"):
        seeded = find_seeds(pair, seeding)
    nothing = _attempt(pair, [], 0.0)
    if seeded is None or seeded.significance < seeding.believed:
        return nothing
    pair.trace.append(f"seeds: {len(seeded.matches)}, significance {seeded.significance:.1f}")
    near, h_1_to_0 = yield from thickened(pair, seeded.matches)
    views = [view for attempt in dense for view in attempt.views]
    matches = beside(seeded, [*views, near], seeding, pair.stride)
    pair.trace.append(f"with dense matches beside the seeds: {len(matches)}")
    evidence = {"seeds": math.log1p(seeded.significance)}
    return _Attempt([matches], h_1_to_0, evidence, seed_confidence(seeded.significance, pair.options.verdict))


def _rival_attempt(pair: Pair, sighting: Sighting, rivalry: Rivalry) -> Work[_Attempt]:
    """What a pair with repeated structure leads to: matches near the likeliest motion, and nowhere else."""
    which = "as seen" if rivalry.seen else "another than was seen"
    pair.trace.append(f"repeated structure: the likeliest motion is {which}")
    pair.h_1_to_0 = rivalry.h_1_to_0
    view = yield from match_near(pair, _on_plane(pair, rivalry.h_1_to_0))
    attempt = _attempt(pair, [(yield from second_round(pair, view))], sighting.significance)
    attempt = replace(attempt, rivalled=True)
    if rivalry.decided:
        return attempt
    pair.trace.append("repeated structure: nothing tells this motion from others")
    return replace(attempt, confidence=attempt.confidence / 2)  # at best one of two


def _on_plane(pair: Pair, h_1_to_0: Matrix) -> WorkingMatches:
    """Points all over image 0 that a plane takes into image 1, to look for matches near."""
    step = pair.stride * 2
    x, y = np.meshgrid(np.arange(0, pair.size0[0], step), np.arange(0, pair.size0[1], step))
    points0 = np.column_stack([x.ravel(), y.ravel()]).astype(np.float64)
    points1 = apply_homography(inverse(h_1_to_0), points0)
    found = inside(points1, *pair.size1)
    return WorkingMatches(h_1_to_0, points0, points0, points1, np.ones(len(points0))).take(found)


def _attempt(pair: Pair, views: list[WorkingMatches], significance: float, zoom: float = 1.0) -> _Attempt:
    views = [view for view in views if len(view)]
    evidence = evidence_of(views, significance, zoom)
    confidence = confidence_of(evidence, pair.options.verdict)
    if views:
        pair.trace.append(f"{sum(map(len, views))} matches, confidence {confidence:.3f}")
    return _Attempt(views, pair.h_1_to_0, evidence, confidence)


def _closer_looks(pair: Pair, sightings: list[Sighting]) -> Work[list[tuple[Sighting, Framed]]]:
    """The likeliest views, and the images as they are, in full size; those in which enough agrees."""
    views = pair.options.views
    side = max(*pair.size0, *pair.size1)
    small = side <= views.small_side
    zoom = max(1.0, min(views.zoom, views.zoomed_side / side)) if small else _zoom(pair)
    rivals = [s for s in sightings if s.significance >= views.rival][: views.rivals]
    candidates: list[tuple[Sighting, Matrix | None]] = [
        (rival, frame_of(rival, side, pair.options)) for rival in rivals
    ]
    if all(frame is not None for _, frame in candidates):
        candidates.append((sightings[0], None))
    looks = []
    for sighting, frame in candidates:
        framed = yield from look_at_all(pair, frame, zoom)
        pair.trace.append(f"in full size: significance {framed.significance:.1f}")
        if framed.significance >= pair.options.evidence.believed:
            looks.append((sighting, framed))
    return looks


def _matched(pair: Pair, sighting: Sighting, framed: Framed | None) -> Work[list[WorkingMatches]]:
    """The views that a sighting leads to."""
    pair.h_1_to_0 = None
    if pair.options.geometry == "none":
        framed = framed or (yield from look_at_all(pair, None, _zoom(pair)))
        return [(yield from _whole(pair, framed))]
    if framed is not None and framed.zoom > 1:
        view = yield from _whole(pair, framed)
        planar = pair.options.geometry == "homography"
        return [on_one_plane(view, pair.options.planes, share=0.0) if planar else view]
    return (yield from _plane_or_whole(pair, sighting, framed))


def _zoom(pair: Pair) -> float:
    """By which images too large to be matched from end to end are shrunk."""
    return min(1.0, pair.options.frame.largest_side / max(*pair.size0, *pair.size1))


def _plane_or_whole(pair: Pair, best: Sighting, framed: Framed | None) -> Work[list[WorkingMatches]]:
    """The view of the main plane, of the whole scene, or both."""
    options = pair.options
    with pair.clock("geometry"):
        main = _main_plane(pair, best)
    view: WorkingMatches | None = None
    aligned = main is not None and main.share < options.planes.clear_share  # likely more than a plane
    if main is not None:
        view = yield from match_near(pair, main.matches, align=aligned)
        view = yield from second_round(pair, view, align=aligned)
        if options.geometry == "homography":
            return [on_one_plane(view, options.planes, share=0.0)]
        plane = fit_plane(view, options.planes) if len(view) >= pair.few else None
        share = 0.0 if plane is None else float(explained_by(view, plane, options.planes.off_plane).mean())
        pair.trace.append(f"plane: {main.share:.2f} of the coarse matches, {share:.2f} of {len(view)}")
        if min(main.share, share) >= options.planes.clear_share:
            return [_alone(view, options, plane)]
    if framed is None:
        frame = frame_of(best, max(*pair.size0, *pair.size1), options)
        framed = yield from look_at_all(pair, frame, _zoom(pair))
    if main is not None and view is not None:
        off = _significance_off(pair, framed, view if plane is None else view.warped_by(plane))
        pair.trace.append(f"off the plane: significance {off:.1f}")
        if off < options.planes.nothing_off and share >= options.planes.only_share:
            if aligned:
                return [_alone(view, options, plane)]
            return [_alone((yield from match_near(pair, view, align=True)), options)]
    whole = yield from _whole(pair, framed)
    pair.trace.append(f"whole scene: {len(whole)}")
    if options.geometry == "homography":
        return [on_one_plane(whole, options.planes, share=0.0)]
    views = [whole]
    if options.geometry == "multi" and main is not None:
        views += yield from _further_views(pair, main)
    if view is not None and (len(whole) < pair.few or _differs(view, framed, options)):
        if not aligned and len(view) >= pair.few:
            view = yield from match_near(pair, view, align=True)
        views.insert(0, view)
    return views


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
    main = coarse.warped_by(plane)
    pair.h_1_to_0 = main.h_1_to_0
    rest = coarse.take(~explained).in_frame_of(main.h_1_to_0)
    return _MainPlane(main, rest, share, planes.further_tolerance * cell)


def _alone(view: WorkingMatches, options: GuidedOptions, plane: Matrix | None = None) -> WorkingMatches:
    """The view of the plane that the scene is; `plane` where it was fitted to the view already."""
    if options.geometry != "auto":
        return view
    return on_one_plane(view, options.planes, share=options.planes.only_share, plane=plane)


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


def _differs(view: WorkingMatches, framed: Framed, options: GuidedOptions) -> bool:
    """Whether a plane's warp undoes more than the frame does, so that its view is worth having as well."""
    if not len(view) or view.h_1_to_0 is None:
        return False
    left = inverse(framed.h_1_to_0) @ view.h_1_to_0
    return distortion(left, np.median(view.points1, axis=0)) >= options.planes.distortion


def _further_views(pair: Pair, main: _MainPlane) -> Work[list[WorkingMatches]]:
    """Views of further planes."""
    views = []
    planes = pair.options.planes
    for part in further_planes(main.rest, len(main.matches), planes, tolerance=main.tolerance):
        view = yield from match_near(pair, part)
        views.append((yield from second_round(pair, view)))
    if views:
        pair.trace.append(f"further planes: {', '.join(str(len(view)) for view in views)}")
    return views


def _whole(pair: Pair, framed: Framed) -> Work[WorkingMatches]:
    """The matches of a frame; where images had to be shrunk for it, those at full size near them."""
    with pair.clock("whole scene"):
        view = refine_all(pair, framed)
    if framed.zoom >= 1 or len(view) < pair.few:
        return view
    return (yield from match_near(pair, view, whole=True, align=True))
