"""The method as published: stage 0, the dense match, and its refinement level by level (docs/method.md).

The coarsest maps give an initial homography (stage 0), by which image 1 is warped into image 0's frame; the
dense match of the next map (stage 1) is then refined to single pixels, at last with a patch descriptor, and
mapped back.

Source: GCM, arXiv 2403.05388; DFM, arXiv 2106.07791.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gcm.features.batching import Request, Work
from gcm.features.pyramid import Pyramid
from gcm.geometry import Matrix, Points, apply_homography, inside, warp_image
from gcm.images.content import on_flat_ground
from gcm.images.files import RGBImage
from gcm.images.sizes import image_size
from gcm.method.coarse import CoarseMatching, search_hypotheses
from gcm.method.steps import Clock, RefinementStep
from gcm.method.working_matches import MethodResult, WorkingMatches
from gcm.options import PublishedOptions
from gcm.refinement.dense import CellMatches, dense_match
from gcm.refinement.hierarchical import refine

__all__ = ["match_published"]


def match_published(
    image0: RGBImage,
    image1: RGBImage,
    steps: tuple[RefinementStep, ...],
    options: PublishedOptions,
    clock: Clock,
) -> Work[MethodResult]:
    """Match two images as the paper does.

    Args:
        image0, image1: H x W x 3 uint8 RGB at working size.
        steps: stage 0, the dense match, then each refinement.
        options: how to match.
        clock: of the stages.

    Returns:
        Whole pixels. A score is ``1 - ratio / t`` of the last refinement, where *ratio* is the larger of the
        two directions' ratio of the best to the second-best squared descriptor distance among the pixels
        considered, and *t* the threshold it had to stay below: 1 is unmistakable, 0 just passed.
    """
    with clock("features 0"):
        pyramid0: Pyramid = yield Request(image0)
    initial, h_1_to_0 = None, np.eye(3)
    if options.enable_two_stage:
        with clock("stage 0"):
            initial = yield from _initial_homography(image0, image1, steps[0], options)
            h_1_to_0 = h_1_to_0 if initial is None else initial
    with clock("features 1"):
        # Where stage 0 finds nothing, the published code warps by the identity, which crops.
        if options.enable_two_stage and (initial is not None or options.compat):
            warped = warp_image(image1, h_1_to_0, *image_size(image0))
            pyramid1: Pyramid = yield Request(warped, original=image1)
        else:
            pyramid1 = yield Request(image1)
    with clock("match"):
        cells = _refined(pyramid0, pyramid1, steps[1:], options)
    with clock("geometry"):
        scores = _scores(cells, steps[-1].threshold)
        return MethodResult(_map_back(cells, scores, h_1_to_0, image0, image1, options), h_1_to_0)


def _initial_homography(
    image0: RGBImage, image1: RGBImage, step: RefinementStep, options: PublishedOptions
) -> Work[Matrix | None]:
    """Stage 0: homography from image 1 to image 0 from the coarsest maps; None when none is found."""
    matching = CoarseMatching(step.threshold, options.bidirectional, options.compat)
    if options.hypotheses is None:
        map0, map1 = (yield Request(image0, "coarsest")), (yield Request(image1, "coarsest"))
        homography = replace(matching, tolerance=options.coarse_threshold).fit(map0, map1)
    else:
        homography = yield from search_hypotheses(
            image0,
            image1,
            matching,
            options.search,
            mode=options.hypotheses,
        )
    return None if homography is None else homography.h_1_to_0


def _refined(
    pyramid0: Pyramid, pyramid1: Pyramid, steps: tuple[RefinementStep, ...], options: PublishedOptions
) -> CellMatches:
    """Stage 1 and the refinements, from the coarsest map to the finest."""
    first, *finer = steps
    cells = dense_match(
        pyramid0.maps[first.map_index],
        pyramid1.maps[first.map_index],
        threshold=first.threshold,
        bidirectional=options.bidirectional,
        compat=options.compat,
    )
    for step in finer:
        cells = refine(
            cells,
            pyramid0.maps[step.map_index],
            pyramid1.maps[step.map_index],
            threshold=step.threshold,
            bidirectional=options.bidirectional,
            compat=options.compat,
        )
    return cells


def _points(cells: CellMatches, compat: bool) -> tuple[Points, Points]:
    """Points of image 0 and of the warped image 1."""
    if not compat:
        return cells.points()
    # The published code multiplies by the stride, which forgets the half pixel where it is not 1.
    points0, points1 = (
        c.cpu().numpy().astype(np.float64) * cells.stride for c in (cells.cells0, cells.cells1)
    )
    return points0, points1


def _map_back(
    cells: CellMatches,
    scores: NDArray[np.float64],
    h_1_to_0: Matrix,
    image0: RGBImage,
    image1: RGBImage,
    options: PublishedOptions,
) -> WorkingMatches:
    """Points of both images, without those that lie outside and, unless `compat`, those on flat ground."""
    points0, warped1 = _points(cells, options.compat)
    points1 = warped1
    if not np.array_equal(h_1_to_0, np.eye(3)):
        points1 = apply_homography(np.linalg.inv(h_1_to_0), warped1)
    keep = inside(points0, *image_size(image0))
    if options.compat:
        # The published code tests y against the width, and neither coordinate against zero.
        width = image1.shape[1]
        keep &= (points1[:, 0] < width) & (points1[:, 1] < width) & np.isfinite(points1).all(axis=1)
    else:
        keep &= inside(points1, *image_size(image1))
        for points, image in ((points0, image0), (points1, image1)):
            keep[keep] = ~on_flat_ground(image, points[keep])
    return WorkingMatches(h_1_to_0, points0, warped1, points1, scores).take(keep)


def _scores(cells: CellMatches, threshold: float) -> NDArray[np.float64]:
    ratios = cells.ratio.double().cpu().numpy()
    scores: NDArray[np.float64] = np.clip(1 - ratios / (threshold if threshold > 0 else 1.0), 0.0, 1.0)
    return scores
