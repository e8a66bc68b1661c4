"""What sparse matches of a learned matcher prove, and how they are thickened.

A pair that differs in light, season or sensor has coarse maps that agree nowhere, and a few hundred matches
of a matcher that has learnt to look at both images. They are asked for the epipolar geometry they share, and
each of those that share it counts, whether or not finer maps confirm it: what refinement cannot see is not
wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gcm.features.batching import Work
from gcm.features.seeds import AttentionSeeds, Glimpsing, SeedMatcher, Seeds
from gcm.geometry import Matrix, apply_homography, epipolar_distances, inverse, resize_matrix
from gcm.images.files import RGBImage
from gcm.images.sizes import image_size, resize_to
from gcm.method.coarse import turn_image
from gcm.method.near import match_near, warped_by
from gcm.method.pair import Pair
from gcm.method.planes import explained_by, fit_plane, merge_views
from gcm.method.seed_evidence import (
    epipolar_significance,
    first_of_their_kind,
    fundamental_of,
    same_way_round,
    share_adrift,
)
from gcm.method.verdict import seed_confidence
from gcm.method.working_matches import WorkingMatches, concatenated
from gcm.options import SeedOptions, VerdictOptions
from gcm.refinement.motion import LocalMotion, fit_motion

__all__ = ["Seeded", "beside", "find_seeds", "thickened"]


@dataclass(frozen=True)
class Seeded:
    """Sparse matches that share an epipolar geometry."""

    matches: WorkingMatches
    significance: float
    """See :func:`gcm.method.seed_evidence.epipolar_significance`."""
    fundamental: NDArray[np.float64]
    """3 x 3, of that geometry: points of image 0 to lines in image 1."""
    own: bool = True
    """Whether our own network found some of them, which errs over whole regions and so proves less."""
    adrift: float = 0.0
    """See :func:`gcm.method.seed_evidence.share_adrift`."""

    def confidence(self, options: VerdictOptions) -> float:
        """See :func:`gcm.method.verdict.seed_confidence`."""
        return seed_confidence(self.significance, options, own=self.own)

    def believed(self, options: SeedOptions) -> bool:
        """Whether that is more than chance."""
        return self.significance >= (options.believed if self.own else options.believed_others)

    def slide(self, options: SeedOptions) -> bool:
        """Whether they are of one geometry only because each may lie anywhere on its line.

        So it is on a facade of equal windows: all of them lie on lines through one vanishing point.
        """
        return self.believed(options) and self.adrift >= options.adrift


def find_seeds(pair: Pair, options: SeedOptions) -> Seeded | None:
    """Sparse matches of a pair that share an epipolar geometry; None where there are too few.

    Our own network is asked as well as others where these are not sure. Where nothing is significant in the
    images as they are, it glimpses at one of them tilted, as ASIFT does (Morel and Yu, 2009), and looks
    closer at the view that promises most. With `options.turned` the first matcher looks at all turned and
    tilted views in full, until it finds something. Not so where `hypotheses` or `geometry` leave the images
    as they are. What the mirror image explains far better shows nothing in common.
    """
    own = [isinstance(matcher, AttentionSeeds) for matcher in pair.seeds]
    upright: list[WorkingMatches] = []
    best: Seeded | None = None
    for ours in sorted(set(own)):  # others first: of what these are sure, ours proves no more
        if best is None or best.significance < options.sure:
            chosen = (matcher for matcher, which in zip(pair.seeds, own, strict=True) if which is ours)
            upright += [_found(pair, matcher, _AS_IT_IS) for matcher in chosen]
            best = _surest(pair, [best, _proved(pair, concatenated(*upright), options, own=ours)])
    others = _other_looks(pair, options)
    while best is None or best.significance < options.sure:
        look = next(others, None)
        if look is None:
            break
        matcher, view = look
        found = _proved(pair, _found(pair, matcher, view), options, own=isinstance(matcher, AttentionSeeds))
        best = _surest(pair, [best, found])
    if best is not None and best.believed(options) and _mirrored(pair, best, options):
        pair.trace.append("seeds: the mirror image has more")
        return None
    return best


def _surest(pair: Pair, seen: list[Seeded | None]) -> Seeded | None:
    """Of what was seen, the first of those that convince most."""
    verdict = pair.options.verdict
    return max(
        (found for found in seen if found is not None),
        key=lambda found: found.confidence(verdict),
        default=None,
    )


def _mirrored(pair: Pair, found: Seeded, options: SeedOptions) -> bool:
    """Whether the mirror image of image 1 has far more than what was found."""
    # Whoever found it is asked.
    first = next(matcher for matcher in pair.seeds if isinstance(matcher, AttentionSeeds) is found.own)
    mirror = np.ascontiguousarray(pair.image1[:, ::-1])
    if isinstance(first, Glimpsing):
        upright, mirrored = (
            _significance(_proved(pair, _working(first.glimpse(pair.image0, image)), options))
            for image in (pair.image1, mirror)
        )
        if upright >= max(options.believed, mirrored):
            return False
    mirrored = _significance(_proved(pair, _sparse(first, pair.image0, mirror), options))
    return mirrored > pair.options.views.mirrored * found.significance


def _significance(seeded: Seeded | None) -> float:
    return 0.0 if seeded is None else seeded.significance


@dataclass(frozen=True)
class _View:
    """One of the images turned, and then shrunk along x."""

    first: bool
    """Whether it is image 0."""
    degrees: float
    tilt: float

    def of(self, image: RGBImage) -> tuple[RGBImage, Matrix]:
        """An image seen so, and the homography from it to that."""
        turned, turn = turn_image(image, self.degrees)
        width, height = image_size(turned)
        size = max(1, round(width / self.tilt)), height
        return resize_to(turned, size), resize_matrix((width, height), size) @ turn


_AS_IT_IS = _View(True, 0, 1)

_TILTS = 2.5, 5.0
"""A plane seen at 66 and at 78 degrees."""

_GLIMPSED_TILT = 5.0
"""Of glimpses: with that, a plane at 66 degrees shows enough as well."""


def _turned_and_tilted() -> Iterator[_View]:
    """The views to try, turned ones first."""
    for degrees in (90, 270, 180):
        yield _View(True, degrees, 1)
    for tilt in _TILTS:
        yield from _tilted(tilt)


def _tilted(tilt: float) -> Iterator[_View]:
    """Either image tilted, along x and along y."""
    for degrees in (0, 90):
        for first in (True, False):
            yield _View(first, degrees, tilt)


def _other_looks(pair: Pair, options: SeedOptions) -> Iterator[tuple[SeedMatcher, _View]]:
    """Who looks at which other view, the likeliest first; nobody where the images are to stay as they are."""
    if pair.options.tried == "upright":
        return
    for matcher in pair.seeds:
        if isinstance(matcher, Glimpsing):
            view = _likeliest_tilt(pair, matcher, options)
            if view is not None:
                pair.trace.append(f"seeds: image {0 if view.first else 1} tilted, {view.degrees:g} degrees")
                yield matcher, view
    if options.turned:
        yield from ((pair.seeds[0], view) for view in _turned_and_tilted())


def _likeliest_tilt(pair: Pair, matcher: Glimpsing, options: SeedOptions) -> _View | None:
    """The tilted view of which glimpses promise most right matches; None where none promises enough."""
    expected = {}
    for view in _tilted(_GLIMPSED_TILT):
        scores = np.asarray(matcher.glimpse(*_images(pair, view)[0]).scores)
        expected[view] = float(scores.sum())  # they are probabilities
    view = max(expected, key=lambda key: expected[key])
    return view if expected[view] >= options.tilted else None


def _images(pair: Pair, view: _View) -> tuple[tuple[RGBImage, RGBImage], Matrix]:
    """The images, one of them seen otherwise, and the homography from that one as it is to that."""
    if view == _AS_IT_IS:
        return (pair.image0, pair.image1), np.eye(3)
    if view.first:
        image, matrix = view.of(pair.image0)
        return (image, pair.image1), matrix
    image, matrix = view.of(pair.image1)
    return (pair.image0, image), matrix


def _found(pair: Pair, matcher: SeedMatcher, view: _View) -> WorkingMatches:
    """What a matcher finds with one of the images seen otherwise, in pixels of both as they are."""
    images, matrix = _images(pair, view)
    found = _sparse(matcher, *images)
    back = inverse(matrix)
    if view.first:
        return replace(found, points0=apply_homography(back, found.points0))
    points1 = apply_homography(back, found.points1)
    return replace(found, points1=points1, warped1=points1)


def _sparse(matcher: SeedMatcher, image0: RGBImage, image1: RGBImage) -> WorkingMatches:
    """What a matcher finds in two images, in pixels of these."""
    return _working(matcher.match(image0, image1))


def _working(found: Seeds) -> WorkingMatches:
    points0, points1 = (np.asarray(p, np.float64).reshape(-1, 2) for p in (found.points0, found.points1))
    scores = np.clip(np.asarray(found.scores, np.float64), 0, 1)
    return WorkingMatches(None, points0, points1, points1, scores)


def _proved(pair: Pair, matches: WorkingMatches, options: SeedOptions, *, own: bool = True) -> Seeded | None:
    """Those of some matches that share an epipolar geometry."""
    matrix = fundamental_of(matches.points0, matches.points1, options.tolerance)
    if matrix is None:
        return None
    distances = epipolar_distances(matrix, matches.points0, matches.points1)
    right = np.maximum(*distances) <= options.tolerance
    if same_way_round(matches.points0[right], matches.points1[right]) < options.same_way_round:
        # A mirror image: no camera sees that, though any plane's mirror image has such a geometry.
        return None
    first = first_of_their_kind(matches, options.tolerance)
    once = distances[0][first], distances[1][first]
    significance = epipolar_significance(once, (pair.size0, pair.size1), options.tolerance)
    counted = matches.take(right & first)
    adrift = share_adrift(counted.points0, counted.points1, options.tolerance)
    return Seeded(matches.take(right), significance, matrix, own, adrift)


def thickened(pair: Pair, seeds: WorkingMatches) -> Work[tuple[WorkingMatches, Matrix | None]]:
    """The dense matches that are found near sparse ones, and the plane that was followed, if there is one.

    Args:
        pair: the images.
        seeds: sparse matches that are right.
    """
    planes = pair.options.planes
    with pair.clock("geometry"):
        cell = pair.coarse_cell(max(pair.options.seeds.sides))
        plane = fit_plane(seeds, planes, threshold=planes.coarse_threshold * cell)
        if plane is not None and np.linalg.det(plane) > 0:
            explained = explained_by(seeds, plane, planes.coarse_tolerance * cell)
            if explained.mean() > planes.main_share:
                seeds = warped_by(pair, seeds, plane)
    dense = yield from match_near(pair, seeds, whole=True, align=True)
    return dense, seeds.h_1_to_0


def beside(
    seeded: Seeded, views: Sequence[WorkingMatches], options: SeedOptions, stride: int
) -> WorkingMatches:
    """Sparse matches, and the dense ones that share their epipolar geometry.

    Of a view in which enough matches do, those count; of another only those that also move as the sparse ones
    near them do.

    The sparse ones stay whatever else is found, with low scores: what finer maps cannot confirm is not wrong.

    Args:
        seeded: sparse matches.
        views: dense ones.
        options: how far dense ones may be off.
        stride: pixels a coarse cell.
    """
    seeds = seeded.matches
    seeds = replace(seeds, scores=seeds.scores * options.score)
    motion = fit_motion(seeds.points0, seeds.motion, radius=options.near_cells * stride)
    chosen = [_agreeing(seeded, motion, view, options, stride) for view in views if len(view)]
    chosen = [view for view in chosen if len(view)]
    return concatenated(merge_views(chosen, stride).in_frame_of(None), seeds) if chosen else seeds


def _agreeing(
    seeded: Seeded, motion: LocalMotion, view: WorkingMatches, options: SeedOptions, stride: int
) -> WorkingMatches:
    """The matches of a view that share the geometry of sparse ones, everywhere or near those only."""
    lines = np.maximum(*epipolar_distances(seeded.fundamental, view.points0, view.points1)) < options.line
    if lines.mean() >= options.agreeing:  # by chance a few in a hundred would
        return view.take(lines)
    off = np.linalg.norm(motion.predict(view.points0) - (view.points1 - view.points0), axis=1)
    return view.take(lines & (np.nan_to_num(off, nan=np.inf) < stride))
