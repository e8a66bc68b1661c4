"""Our way to match: which views of a pair are matched, and what of them is returned.

Stage 0 finds, small, the view in which both images are seen to show the same (:mod:`gcm.method.sightings`).
What it leads to (:mod:`gcm.method.surfaces`) is returned where it convinces. Where it does not, sparse
matches of a learned matcher are asked for (:mod:`gcm.method.seeding`), and the images are looked at larger,
unless nothing at all speaks for the pair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gcm.features.batching import Work
from gcm.features.cache import image_key
from gcm.features.seeds import SeedMatcher
from gcm.geometry import Matrix, apply_homography, inside, inverse
from gcm.images.files import RGBImage
from gcm.method.frame import Framed, frame_of, look_at_all
from gcm.method.near import match_near, second_round
from gcm.method.pair import Pair
from gcm.method.planes import merge_views
from gcm.method.rivals import Rivalry, settle_rivalry
from gcm.method.seeding import Seeded, beside, find_seeds, thickened
from gcm.method.sightings import Sighting, search_views
from gcm.method.steps import Clock, RefinementStep
from gcm.method.surfaces import match_seen, zoom_of
from gcm.method.verdict import confidence_of, evidence_of
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
    if max(*pair.size0, *pair.size1) <= options.views.side and pair.plane_zoom == 1:
        yield from pair.pyramid(pair.image0)  # before stage 0, which needs a part of it
    with pair.clock("stage 0"):
        threshold = pair.steps[0].threshold
        sightings = yield from search_views(pair.image0, pair.image1, threshold, options, options.tried)
    attempts = [_attempt(pair, [], 0.0)]
    if sightings:
        attempts += yield from _first_attempt(pair, sightings)
    if _convincing(pair, attempts) and not options.seeds.always:
        return attempts[-1]
    seeded = _seeds_of(pair)
    if seeded is not None and seeded.slide(options.seeds):
        pair.trace.append("seeds: they slide along their lines")
        last = attempts[-1]  # the maps see what repeats, too
        return last if _convincing(pair, attempts) else replace(last, confidence=last.confidence / 2)
    if not _convincing(pair, attempts) and _worth_a_closer_look(pair, attempts[-1], sightings, seeded):
        for sighting, framed in (yield from _closer_looks(pair, sightings)):
            views = yield from match_seen(pair, sighting, framed)
            attempts.append(_attempt(pair, views, framed.significance, framed.zoom))
    best = max(attempts, key=lambda attempt: attempt.confidence)
    if seeded is None or not seeded.believed(options.seeds):
        return best
    # Without verification nobody knows how sure the maps are.
    sure = not options.verify or best.confidence >= options.verdict.convincing
    if sure and not options.seeds.always:
        return best
    sparse = yield from _seeded_attempt(pair, attempts, seeded)
    if best.confidence >= options.min_confidence and len(sparse) < len(best) / 2:
        return best  # what they say is no part of it: so few do not outweigh so many
    return max(best, sparse, key=lambda attempt: attempt.confidence)


def _convincing(pair: Pair, attempts: list[_Attempt]) -> bool:
    """Whether the last attempt ends the search."""
    options, last = pair.options, attempts[-1]
    if last.rivalled:
        return True
    # Without verification nobody knows how sure the maps are: what they show has to do.
    return len(attempts) > 1 if not options.verify else last.confidence >= options.verdict.convincing


def _first_attempt(pair: Pair, sightings: list[Sighting]) -> Work[list[_Attempt]]:
    """What the likeliest view leads to where it shows enough: one attempt at most."""
    best = sightings[0]
    pair.trace.append(f"stage 0: significance {best.significance:.1f}")
    if best.significance < pair.options.evidence.plain:
        return []
    with pair.clock("stage 0"):
        rivalry = settle_rivalry(best, pair.options.rivals)
    if rivalry is not None:
        return [(yield from _rival_attempt(pair, best, rivalry))]
    views = yield from match_seen(pair, best, None)
    return [_attempt(pair, views, best.significance)]


def _seeds_of(pair: Pair) -> Seeded | None:
    """Sparse matches of a pair that share an epipolar geometry; None where nobody looks for them."""
    if not pair.seeds:
        return None
    with pair.clock("seeds"):
        found = find_seeds(pair, pair.options.seeds)
    if found is not None and found.significance > 0:
        told = f"significance {found.significance:.1f}, adrift {found.adrift:.2f}"
        pair.trace.append(f"seeds: {len(found.matches)}, {told}")
    return found


def _worth_a_closer_look(
    pair: Pair, last: _Attempt, sightings: list[Sighting], seeded: Seeded | None
) -> bool:
    """Whether anything, small or sparse, speaks for a pair: larger looks cost most.

    Where images are not enlarged for them they add next to nothing to what the maps have already, if sparse
    matches are sure of the pair: those that agree with these are returned then.
    """
    if not sightings:
        return False
    if seeded is not None and seeded.significance > 0:
        verdict = pair.options.verdict
        return _small(pair) or not len(last) or seeded.confidence(verdict) < verdict.convincing
    # One of many views shows as much by chance as the images as they are hardly ever do.
    views = pair.options.views
    return any(s.significance >= (views.rival if s.upright else views.closer) for s in sightings)


def _small(pair: Pair) -> bool:
    """Whether closer looks enlarge the images."""
    return max(*pair.size0, *pair.size1) <= pair.options.views.small_side


def _seeded_attempt(pair: Pair, dense: list[_Attempt], seeded: Seeded) -> Work[_Attempt]:
    """What the sparse matches of a learned matcher lead to: those of the maps that agree with them beside.

    Args:
        pair: the images.
        dense: what the maps led to, which was not sure enough by itself.
        seeded: the sparse matches.
    """
    near, h_1_to_0 = yield from thickened(pair, seeded.matches)
    views = max(dense, key=lambda attempt: attempt.confidence).views
    matches = beside(seeded, [*views, near], pair.options.seeds, pair.stride)
    pair.trace.append(f"with dense matches beside the seeds: {len(matches)}")
    evidence = {"seeds": math.log1p(seeded.significance)}
    return _Attempt([matches], h_1_to_0, evidence, seeded.confidence(pair.options.verdict))


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
    zoom = max(1.0, min(views.zoom, views.zoomed_side / side)) if _small(pair) else zoom_of(pair)
    rivals = [s for s in sightings if s.significance >= views.rival][: views.rivals]
    candidates: list[tuple[Sighting, Matrix | None]] = [(rival, frame_of(pair, rival)) for rival in rivals]
    if all(frame is not None for _, frame in candidates):
        candidates.append((sightings[0], None))
    looks = []
    for sighting, frame in candidates:
        framed = yield from look_at_all(pair, frame, zoom)
        pair.trace.append(f"in full size: significance {framed.significance:.1f}")
        if framed.significance >= pair.options.evidence.believed:
            looks.append((sighting, framed))
    return looks
