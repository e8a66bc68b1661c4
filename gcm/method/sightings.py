"""Stage 0 of the guided method: the view in which two images are seen to show the same.

Both images are looked at small, as they are, turned and scaled, and the coarse matches of each view are
counted that bear each other out (:mod:`gcm.method.evidence`). No plane is assumed, so that a scene of any
shape is seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gcm.estimation import estimate_homography
from gcm.features.batching import Request, Work
from gcm.geometry import Matrix, Points, inverse, warp_image
from gcm.images.files import RGBImage
from gcm.images.sizes import fit_within, image_size
from gcm.method.coarse import HALVED, CoarseMatches, Views, consensus_score, resizing
from gcm.method.evidence import Agreement, agreement
from gcm.options import ChanceOptions, GuidedOptions, Hypotheses
from gcm.refinement.dense import coarse_match
from gcm.refinement.maps import FeatureMap

__all__ = ["Sighting", "search_views"]

_Kind: TypeAlias = tuple[float, int | None]
"""Of a view: degrees by which image 0 is turned, and which image is halved."""


@dataclass(frozen=True)
class Sighting:
    """Coarse matches of one view, and what they prove."""

    matches: CoarseMatches
    """All mutual ones, and how they lie in the images."""
    agreement: Agreement
    side: int
    """Pixels: longer side of the images that were looked at."""
    upright: bool = False
    """Whether they were looked at as they are: one view, where turned and scaled ones are many."""

    @property
    def significance(self) -> float:
        """See :func:`gcm.method.evidence.significance`."""
        return self.agreement.significance

    @property
    def supported(self) -> CoarseMatches:
        """Those matches that their neighbours bear out."""
        return self._take(self.agreement.supported)

    @property
    def together(self) -> tuple[Points, Points]:
        """Points, N x 2 each in pixels of the images, of those matches that one motion explains."""
        return self._take(self.agreement.together).points()

    def between(self, to0: Matrix, to1: Matrix) -> Sighting:
        """The same for other images: `to0` and `to1` map pixels of the old ones to those."""
        matches = self.matches
        return replace(self, matches=replace(matches, to0=to0 @ matches.to0, to1=to1 @ matches.to1))

    def _take(self, index: NDArray[np.bool_]) -> CoarseMatches:
        return self.matches.take(torch.from_numpy(index).to(self.matches.map0.device))


def search_views(
    image0: RGBImage, image1: RGBImage, threshold: float, options: GuidedOptions, mode: Hypotheses
) -> Work[list[Sighting]]:
    """Look at two images turned and scaled, at low resolution.

    Args:
        image0, image1: H x W x 3 uint8 RGB at working size.
        threshold: largest ratio of best to second-best squared distance; 1 keeps every mutual pair.
        options: which views, and when one is good enough.
        mode: ``upright`` tries image 1 as it is; ``auto`` tries the rest when that is not beyond doubt, up to
            the first that is; ``full`` tries everything.

    Returns:
        What was seen, the most significant first, points in pixels of the given images; nothing where the
        mirror image of image 1 shows more.
    """
    views, plain = options.views, options.evidence.plain
    glimpse = yield from _glimpse(image0, image1, threshold, options)
    if glimpse is not None:
        return [glimpse]
    low0, low1 = fit_within(image0, views.side), fit_within(image1, views.side)
    if np.ptp(low0) == 0 or np.ptp(low1) == 0:  # nothing to see, so no angle to see it from
        return []
    (first,) = yield from _looked(low0, low1, _UPRIGHT, threshold, options)
    seen, upright = [replace(first, upright=True)], first.significance
    if mode == "full" or (mode == "auto" and upright < views.sure):
        if mode == "auto" and upright >= plain:
            # Upright shows much already: a tilt, perhaps, which the plane of what it shows undoes.
            seen += yield from _seen_on_a_plane(low0, low1, seen, threshold, options)
        seen += yield from _seen_otherwise(low0, low1, seen, threshold, options, mode)
        if max(sighting.significance for sighting in seen) < views.sure:
            seen += yield from _seen_on_a_plane(low0, low1, seen, threshold, options)
    most = max(sighting.significance for sighting in seen)
    if plain <= most < views.glimpse_sure:
        mirror = np.ascontiguousarray(low1[:, ::-1])
        (mirrored,) = yield from _looked(low0, mirror, _UPRIGHT, threshold, options)
        if mirrored.significance > views.mirrored * most:
            return []  # a mirror image, of something that is much like its own
    return sorted(
        (s.between(*resizing((low0, low1), (image0, image1))) for s in seen),
        key=lambda sighting: -sighting.significance,
    )


_UPRIGHT: list[_Kind] = [(0.0, None)]


def _seen_otherwise(
    low0: RGBImage,
    low1: RGBImage,
    seen: list[Sighting],
    threshold: float,
    options: GuidedOptions,
    mode: Hypotheses,
) -> Work[list[Sighting]]:
    """What two images show turned and scaled; turned ones are looked at smaller first, all of them, and those
    that show most then as large as the rest, up to the first that is beyond doubt.

    Args:
        low0, low1: H x W x 3 uint8 RGB, as large as images are looked at.
        seen: what they show upright, first of all; what shows much there is of one scale.
        threshold: see :func:`search_views`.
        options: which views.
        mode: ``auto``, or ``full``, which stops at nothing.
    """
    views, full = options.views, mode == "full"
    one_scale = not full and seen[0].significance >= options.evidence.plain
    scales = (None,) if one_scale else HALVED
    if not full and seen[-1].significance >= views.sure:
        return []
    found = yield from _looked(low0, low1, [(0.0, halved) for halved in scales[1:]], threshold, options)
    if not full and any(sighting.significance >= views.sure for sighting in found):
        return found
    kinds = [kind for kind in product(views.rotations, scales) if kind[0]]
    small0, small1 = (fit_within(image, views.turned_side) for image in (low0, low1))
    first = yield from _looked(small0, small1, kinds, threshold, options, views.turned_chance)
    to0, to1 = resizing((small0, small1), (low0, low1))
    for kind, sighting in sorted(zip(kinds, first, strict=True), key=lambda pair: -pair[1].significance):
        if sighting.significance < options.evidence.believed:
            found.append(sighting.between(to0, to1))
            continue
        found += yield from _looked(low0, low1, [kind], threshold, options)
        if not full and found[-1].significance >= views.sure:
            break
    return found


def _looked(
    image0: RGBImage,
    image1: RGBImage,
    kinds: list[_Kind],
    threshold: float,
    options: GuidedOptions,
    chance: ChanceOptions | None = None,
) -> Work[list[Sighting]]:
    """What two images show turned and scaled in some ways, in pixels of the images."""
    views = Views(image0, image1)
    shown = [views.of(angle, halved) for angle, halved in kinds]
    maps: list[FeatureMap] = yield [request for view in shown for request in (view.request0, view.request1)]
    side = max(*image_size(image0), *image_size(image1))
    return [
        replace(_sighting(map0, map1, threshold, options, chance), side=side).between(view.to0, view.to1)
        for view, map0, map1 in zip(shown, maps[::2], maps[1::2], strict=True)
    ]


def _glimpse(
    image0: RGBImage, image1: RGBImage, threshold: float, options: GuidedOptions
) -> Work[Sighting | None]:
    """The images as they are, very small; None where that does not show all there is to see."""
    side = options.views.glimpse_side
    low0, low1 = fit_within(image0, side), fit_within(image1, side)
    if low0 is image0 or low1 is image1 or np.ptp(low0) == 0 or np.ptp(low1) == 0:
        return None
    (seen,) = yield from _looked(low0, low1, _UPRIGHT, threshold, options)
    if options.evidence.plain <= seen.significance < options.views.glimpse_sure:
        for tilted in (yield from _seen_on_a_plane(low0, low1, [seen], threshold, options)):
            seen = max(seen, tilted, key=lambda sighting: sighting.significance)
    if seen.significance < options.views.glimpse_sure:
        return None
    seen = replace(seen, side=side)
    return seen.between(*resizing((low0, low1), (image0, image1)))


def _sighting(
    map0: FeatureMap,
    map1: FeatureMap,
    threshold: float,
    options: GuidedOptions,
    chance: ChanceOptions | None = None,
) -> Sighting:
    cells = coarse_match(map0, map1, threshold=threshold)
    side = max(*map0.shape[1:], *map1.shape[1:]) * map0.stride
    return Sighting(
        CoarseMatches(map0, map1, cells, np.eye(3), np.eye(3)),
        agreement(cells, options.neighbours, options.evidence, side, chance or options.views.chance),
        options.views.side,
    )


def _seen_on_a_plane(
    low0: RGBImage, low1: RGBImage, seen: list[Sighting], threshold: float, options: GuidedOptions
) -> Work[list[Sighting]]:
    """What is seen with image 1 warped by the homography that explains most matches of one view.

    A plane that is tilted a lot is like no turned and scaled view, but the few matches that one of them has
    may be enough to find its homography, which then shows all of it.
    """
    best: tuple[float, Matrix] | None = None
    seen = sorted(seen, key=lambda sighting: -sighting.significance)
    if seen[0].significance >= options.evidence.plain:
        seen = seen[:1]  # it is the one to follow; otherwise any may show the plane
    for sighting in seen:
        points0, points1 = sighting.matches.points()
        cell = sighting.matches.map0.stride * np.sqrt(abs(np.linalg.det(sighting.matches.to0[:2, :2])))
        found = estimate_homography(points1, points0, threshold=cell * 2**0.5 + 1, method=cv2.USAC_FAST)
        if found.matrix is None or np.linalg.det(found.matrix) < 1e-12:  # no view of a plane mirrors it
            continue
        score = consensus_score(points0[found.inliers], image_size(low0), options.views.grid)
        if best is None or score > best[0]:
            best = score, found.matrix
    if best is None:
        return []
    h_1_to_0 = best[1]
    warped = warp_image(low1, h_1_to_0, *image_size(low0))
    map0, map1 = yield [Request(low0, "coarsest"), Request(warped, "coarsest", original=low1)]
    return [_sighting(map0, map1, threshold, options).between(np.eye(3), inverse(h_1_to_0))]
