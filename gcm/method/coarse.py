"""Stage 0: the homography that undoes the gross motion between two images.

The published method matches the coarsest maps of both images as they are, which fails when one is
turned by more than some 30 degrees or scaled by more than some 1.8. With hypotheses, image 0 is then also
tried turned, and either image halved, at low resolution; the hypothesis with the best consensus
wins, and upright wins at once where it is well supported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from torch import Tensor

from gcm.estimation import estimate_homography
from gcm.features.batching import Request, Work
from gcm.geometry import (
    Matrix,
    Points,
    apply_homography,
    cell_to_pixel,
    image_corners,
    inverse,
    resize_matrix,
    warp_image,
)
from gcm.images.files import RGBImage
from gcm.images.sizes import fit_within, image_size
from gcm.options import Hypotheses, SearchOptions
from gcm.refinement.dense import CellMatches, coarse_match
from gcm.refinement.maps import FeatureMap
from gcm.refinement.subpixel import similarity_peaks

__all__ = [
    "CoarseHomography",
    "CoarseMatches",
    "CoarseMatching",
    "View",
    "Views",
    "consensus_score",
    "resizing",
    "search_hypotheses",
    "turn_image",
    "turned_views",
]


def consensus_score(points: Points, size: tuple[int, int], grid: int) -> float:
    """How much N x 2 points in an image of that width and height, in pixels, prove by agreeing.

    The geometric mean of their count and their spread, the cells of a grid of `grid` x `grid` over the
    image that hold one: many in one corner prove little.
    """
    occupied = {tuple(cell) for cell in (points / np.array(size) * grid).astype(int).tolist()}
    return float(np.sqrt(len(points) * len(occupied)))


@dataclass(frozen=True)
class CoarseMatches:
    """Matched cells of two coarsest maps, and how these lie in the images."""

    map0: FeatureMap
    map1: FeatureMap
    cells: CellMatches
    to0: Matrix
    """From pixels of the network's input to those of image 0."""
    to1: Matrix
    """The same for image 1."""

    def points(self) -> tuple[Points, Points]:
        """Centres of the matched cells, N x 2 each, in pixels of the images."""
        points0, points1 = self.cells.points()
        return apply_homography(self.to0, points0), apply_homography(self.to1, points1)

    def take(self, index: Tensor) -> CoarseMatches:
        """The matches an index or boolean mask names."""
        return replace(self, cells=self.cells.take(index))

    def sharp_points(self) -> tuple[Points, Points]:
        """As :meth:`points`, with image 1's points where between its cells the similarity peaks.

        Whole cells would hide a motion of less than half of one: every cell then matches itself.
        """
        points0, _ = self.points()
        peaks, _ = similarity_peaks(self.map0, self.map1, self.cells.cells0, self.cells.cells1, radius=1)
        points1 = cell_to_pixel(peaks.cpu().numpy(), self.cells.stride)
        return points0, apply_homography(self.to1, points1)


@dataclass(frozen=True)
class CoarseHomography:
    """A homography of stage 0 and how well the coarse matches back it."""

    h_1_to_0: Matrix
    score: float
    """Of its inliers, see :func:`consensus_score`."""
    matches: CoarseMatches
    """All mutual matches, inliers or not."""

    def between(self, to0: Matrix, to1: Matrix) -> CoarseHomography:
        """The same for other images: `to0` and `to1` map pixels of the old ones to those."""
        matches = replace(self.matches, to0=to0 @ self.matches.to0, to1=to1 @ self.matches.to1)
        return replace(self, h_1_to_0=to0 @ self.h_1_to_0 @ inverse(to1), matches=matches)


@dataclass(frozen=True)
class CoarseMatching:
    """How two coarsest maps are matched."""

    threshold: float
    """Largest ratio of best to second-best squared distance; 1 keeps every mutual pair."""
    bidirectional: bool
    compat: bool = False
    tolerance: float | None = None
    """Pixels: reprojection error of the homography's inliers; one cell diagonally when None."""
    method: int = cv2.RANSAC
    """OpenCV's, of finding the homography."""
    grid: int = 8
    """Of :func:`consensus_score`."""

    def match(self, map0: FeatureMap, map1: FeatureMap) -> CoarseMatches:
        """Mutual matches of two maps of one stride."""
        cells = coarse_match(
            map0, map1, threshold=self.threshold, bidirectional=self.bidirectional, compat=self.compat
        )
        return CoarseMatches(map0, map1, cells, np.eye(3), np.eye(3))

    def fit(self, map0: FeatureMap, map1: FeatureMap) -> CoarseHomography | None:
        """Match two maps and fit a homography, in pixels of the network's input; None when none is found."""
        matches = self.match(map0, map1)
        points0, points1 = matches.points()
        estimate = estimate_homography(
            points1,
            points0,
            threshold=map0.stride * 2**0.5 + 1 if self.tolerance is None else self.tolerance,
            method=self.method,
        )
        if estimate.matrix is None or abs(np.linalg.det(estimate.matrix)) < 1e-12:
            return None
        size = map0.shape[2] * map0.stride, map0.shape[1] * map0.stride
        score = consensus_score(points0[estimate.inliers], size, self.grid)
        return CoarseHomography(estimate.matrix, score, matches)


def search_hypotheses(
    image0: RGBImage,
    image1: RGBImage,
    matching: CoarseMatching,
    options: SearchOptions,
    *,
    mode: Hypotheses,
) -> Work[CoarseHomography | None]:
    """Find the gross homography from image 1 to image 0 among turned and scaled hypotheses.

    All is done at low resolution. Unless it is beyond doubt, the winner is matched once more with image 1
    warped by it, which leaves only small motion and so finds more.

    Args:
        image0, image1: H x W x 3 uint8 RGB at working size.
        matching: how to match the coarsest maps.
        options: when a hypothesis is good enough.
        mode: ``upright`` tries image 1 as it is; ``auto`` tries the rest when that is not well supported,
            up to the first that is; ``full`` tries everything.

    Returns:
        Matrix in pixels of the given images, with its score; None when nothing is more than chance.
    """
    # Most hypotheses are wrong, and on those plain RANSAC takes all its iterations, 25 times as long as this.
    matching = replace(matching, method=cv2.USAC_FAST, grid=options.grid)
    low0, low1 = fit_within(image0, options.side), fit_within(image1, options.side)
    if np.ptp(low0) == 0 or np.ptp(low1) == 0:  # nothing to see, so no angle to see it from
        return None
    best = yield from _best_hypothesis(low0, low1, matching, options, mode)
    if best is None:
        return None
    if best.score < options.beyond_doubt:
        best = yield from _matched_warped(low0, low1, matching, best)
    if best.score < options.significant:
        return None
    return best.between(*resizing((low0, low1), (image0, image1)))


def resizing(images: tuple[RGBImage, RGBImage], others: tuple[RGBImage, RGBImage]) -> tuple[Matrix, Matrix]:
    """From pixels of two images to those of the same in other sizes."""
    to0, to1 = (
        resize_matrix(image_size(image), image_size(other))
        for image, other in zip(images, others, strict=True)
    )
    return to0, to1


def _best_hypothesis(
    low0: RGBImage,
    low1: RGBImage,
    matching: CoarseMatching,
    options: SearchOptions,
    mode: Hypotheses,
) -> Work[CoarseHomography | None]:
    """The best supported homography from `low1` to `low0`; each costs at most one network pass."""
    map0, map1 = yield [Request(low0, "coarsest"), Request(low1, "coarsest")]
    best = matching.fit(map0, map1)
    if mode == "upright":
        return best
    for view in turned_views(low0, low1, options.rotations):
        if mode != "full" and best is not None and best.score >= options.well_supported:
            break
        map0, map1 = yield [view.request0, view.request1]
        hypothesis = matching.fit(map0, map1)
        if hypothesis is None:
            continue
        hypothesis = hypothesis.between(view.to0, view.to1)
        if best is None or hypothesis.score > best.score:
            best = hypothesis
    return best


@dataclass(frozen=True)
class View:
    """Both images as one hypothesis sees them."""

    request0: Request
    request1: Request
    to0: Matrix
    """From pixels of image 0's view to those of the image."""
    to1: Matrix


def turned_views(low0: RGBImage, low1: RGBImage, rotations: Sequence[float]) -> Iterator[View]:
    """Turned and scaled views of two small images, likeliest first."""
    views = Views(low0, low1)
    for angle in rotations:
        for halved in HALVED:
            yield views.of(angle, halved)


class Views:
    """Views of two small images, each turned and halved image made once.

    Image 1 is turned back by quarters, and image 0 by what is left: for eight angles one map alone is of a
    canvas that a slanted image fills by half. Pairs that share an image share its turned maps. A difference
    of scale is tried by halving the one image or the other, never by enlarging.

    Args:
        low0, low1: H x W x 3 uint8 RGB.
    """

    def __init__(self, low0: RGBImage, low1: RGBImage) -> None:
        self._images = low0, low1
        self._half = max(low0.shape[:2] + low1.shape[:2]) // 2
        self._shown: dict[tuple[int, bool, float], tuple[Request, Matrix]] = {}

    def of(self, angle: float, halved: int | None) -> View:
        """One view.

        Args:
            angle: degrees by which image 0 is turned against image 1.
            halved: 0 or 1, the image that is halved; None for neither.
        """
        slant = angle % 90
        request0, to0 = self._one(0, halved == 0, slant)
        request1, to1 = self._one(1, halved == 1, slant - angle)
        return View(request0, request1, to0, to1)

    def _one(self, which: int, halved: bool, angle: float) -> tuple[Request, Matrix]:
        """The coarsest map of an image as a view shows it, and the matrix from there to the image."""
        angle %= 360
        key = which, halved, angle
        if key not in self._shown:
            full = self._images[which]
            if angle:
                image = self._one(which, halved, 0.0)[0].image
            else:
                image = fit_within(full, self._half) if halved else full
            request, turn = _turned(image, angle)
            matrix = resize_matrix(image_size(image), image_size(full)) @ np.linalg.inv(turn)
            self._shown[key] = request, matrix
        return self._shown[key]


def _turned(image: RGBImage, angle: float) -> tuple[Request, Matrix]:
    """The coarsest map of an image turned by an angle, and the matrix from its pixels to the turned ones."""
    if angle == 0:  # unturned it is the image itself
        return Request(image, "coarsest"), np.eye(3)
    turned, turn = turn_image(image, angle)
    return Request(turned, "coarsest", original=image, keep=True), turn


HALVED = None, 1, 0
"""What a view may halve, likeliest first."""


def _matched_warped(
    low0: RGBImage, low1: RGBImage, matching: CoarseMatching, first: CoarseHomography
) -> Work[CoarseHomography]:
    """Match again with `low1` warped by what was found; the better supported of the two."""
    warped = warp_image(low1, first.h_1_to_0, *image_size(low0))
    map0 = yield Request(low0, "coarsest")
    map1 = yield Request(warped, "coarsest", original=low1)
    again = matching.fit(map0, map1)
    if again is None or again.score <= first.score:
        return first
    return again.between(np.eye(3), inverse(first.h_1_to_0))


def turn_image(image: RGBImage, angle: float) -> tuple[RGBImage, Matrix]:
    """Turn an image about its centre onto a canvas that holds it whole; also the matrix of that."""
    width, height = image_size(image)
    matrix = np.vstack([cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0), [0, 0, 1]])
    corners = apply_homography(matrix, image_corners(width, height))
    low = corners.min(axis=0)
    size = np.ceil(corners.max(axis=0) - low - 1e-6).astype(int) + 1
    matrix[:2, 2] -= low
    return warp_image(image, matrix, int(size[0]), int(size[1])), matrix
