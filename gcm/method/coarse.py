"""Stage 0: the homography that undoes the gross motion between two images.

The published method matches the coarsest maps of both images as they are, which fails when one is
turned by more than some 30 degrees or scaled by more than some 1.8. With hypotheses, image 0 is then also
tried turned, and either image halved, at low resolution; the hypothesis with the best verified
support wins, and upright wins at once where it is well supported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from torch import Tensor

from gcm.estimation import estimate_homography
from gcm.features.extractor import FeatureExtractor
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
from gcm.refinement.dense import coarse_match
from gcm.refinement.subpixel import similarity_peaks

__all__ = ["CoarseMatching", "CoarsePoints", "Support", "match_upright", "search_hypotheses", "support_value"]

PUBLISHED_THRESHOLD = 16 * 2**0.5 + 1
"""Pixels: the published code lets a stage-0 match be off by one cell of stride 16 diagonally."""

SEARCH_SIDE = 480
"""Longer side, in pixels, at which hypotheses are tried."""

ROTATIONS = (0, 90, 270, 180, 45, 315, 135, 225)
"""Degrees by which image 0 is tried; what remains, at most 22.5, a match of upright features bears."""

WELL_SUPPORTED = 80.0
"""Support from which a hypothesis needs no rival."""

BEYOND_DOUBT = 200.0
"""Support, at :data:`SEARCH_SIDE`, so good that matching again with image 1 warped by it adds nothing."""

SUPPORTED = 40.0
"""Below this a homography is taken for chance; unrelated photos have reached 44 in trials."""

_GRID = 8


def support_value(points: Points, size: tuple[int, int]) -> float:
    """How much N x 2 points in an image of that width and height, in pixels, prove by agreeing.

    The geometric mean of their count and their spread, the cells of an 8 x 8 grid over the image that
    hold one: many in one corner prove little.
    """
    occupied = {tuple(cell) for cell in (points / np.array(size) * _GRID).astype(int).tolist()}
    return float(np.sqrt(len(points) * len(occupied)))


@dataclass(frozen=True)
class CoarsePoints:
    """Matched cells of two coarsest maps, and where they lie in the images the maps were computed for."""

    map0: Tensor
    map1: Tensor
    cells0: Tensor
    cells1: Tensor
    stride: int
    to0: Matrix
    to1: Matrix
    """From pixels of the networks' input to those of the image."""

    def points(self) -> tuple[Points, Points]:
        """Centres of the matched cells, N x 2 each."""
        return self._placed(self.cells1)

    def take(self, index: Tensor) -> CoarsePoints:
        """The matches an index or boolean mask names."""
        return replace(self, cells0=self.cells0[index], cells1=self.cells1[index])

    def sharp_points(self) -> tuple[Points, Points]:
        """The same, with image 1's points where between its cells the similarity peaks.

        Whole cells would hide a motion of less than half of one: every cell then matches itself.
        """
        peaks, _ = similarity_peaks(self.map0, self.map1, self.cells0, self.cells1, radius=1)
        return self._placed(peaks)

    def _placed(self, cells1: Tensor) -> tuple[Points, Points]:
        points0 = cell_to_pixel(self.cells0.cpu().numpy(), self.stride)
        points1 = cell_to_pixel(cells1.cpu().numpy(), self.stride)
        return apply_homography(self.to0, points0), apply_homography(self.to1, points1)


@dataclass(frozen=True)
class Support:
    """A homography (image 1 to image 0) and how well the coarse matches back it."""

    matrix: Matrix
    value: float
    """Of its inliers, see :func:`support_value`."""
    matches: CoarsePoints
    """All mutual matches, inliers or not."""

    def between(self, to0: Matrix, to1: Matrix) -> Support:
        """The same for other images: `to0` and `to1` map pixels of the old ones to those."""
        matches = replace(self.matches, to0=to0 @ self.matches.to0, to1=to1 @ self.matches.to1)
        return replace(self, matrix=to0 @ self.matrix @ inverse(to1), matches=matches)


@dataclass(frozen=True)
class CoarseMatching:
    """How two coarsest maps are matched."""

    stride: int
    threshold: float
    bidirectional: bool
    compat: bool = False
    method: int = cv2.RANSAC
    """OpenCV's, of finding the homography."""

    def matches(self, map0: Tensor, map1: Tensor) -> CoarsePoints:
        """Mutual matches of two maps, C x H x W, in pixels of the networks' input."""
        cells = coarse_match(
            map0, map1, threshold=self.threshold, bidirectional=self.bidirectional, compat=self.compat
        )
        return CoarsePoints(map0, map1, cells.cells0, cells.cells1, self.stride, np.eye(3), np.eye(3))

    def support(self, map0: Tensor, map1: Tensor, *, tolerance: float | None = None) -> Support | None:
        """Match two maps and fit a homography; None when none is found.

        Args:
            map0, map1: C x H x W, of the common stride.
            tolerance: reprojection error in pixels; one cell diagonally unless given.

        Returns:
            A homography in pixels of the networks' input.
        """
        matches = self.matches(map0, map1)
        points0, points1 = matches.points()
        found = estimate_homography(
            points1, points0, threshold=tolerance or self.stride * 2**0.5 + 1, method=self.method
        )
        if found.matrix is None or abs(np.linalg.det(found.matrix)) < 1e-12:
            return None
        size = map0.shape[2] * self.stride, map0.shape[1] * self.stride
        return Support(found.matrix, support_value(points0[found.inliers], size), matches)


def search_hypotheses(
    features: FeatureExtractor,
    image0: RGBImage,
    image1: RGBImage,
    matching: CoarseMatching,
    *,
    mode: str = "auto",
    side: int = SEARCH_SIDE,
) -> Support | None:
    """Find the gross homography from image 1 to image 0 among turned and scaled hypotheses.

    All is done at low resolution. Unless it is beyond doubt, the winner is matched once more with image 1
    warped by it, which leaves only small motion and so finds more.

    Args:
        features: runs the backbone.
        image0, image1: H x W x 3 uint8 RGB at working size.
        matching: how to match the coarsest maps.
        mode: ``upright`` tries image 1 as it is; ``auto`` tries the rest when that is not well supported,
            up to the first that is; ``full`` tries everything.
        side: longer side, in pixels, of the images it is done with.

    Returns:
        Matrix in pixels of the given images, with its support; None when nothing is more than chance.
    """
    # Most hypotheses are wrong, and on those plain RANSAC takes all its iterations, 25 times as long as this.
    matching = replace(matching, method=cv2.USAC_FAST)
    low0, low1 = fit_within(image0, side), fit_within(image1, side)
    if np.ptp(low0) == 0 or np.ptp(low1) == 0:  # nothing to see, so no angle to see it from
        return None
    best: Support | None = None
    for candidate in _candidates(features, low0, low1, matching, mode, side):
        if best is None or candidate.value > best.value:
            best = candidate
        if mode != "full" and best.value >= WELL_SUPPORTED:
            break
    if best is None:
        return None
    if best.value < BEYOND_DOUBT * side / SEARCH_SIDE:  # smaller images have fewer cells to agree
        best = _match_warped(features, low0, low1, matching, best)
    if best.value < SUPPORTED:
        return None
    return best.between(
        resize_matrix(image_size(low0), image_size(image0)),
        resize_matrix(image_size(low1), image_size(image1)),
    )


def match_upright(
    features: FeatureExtractor, image0: RGBImage, image1: RGBImage, matching: CoarseMatching, *, side: int
) -> CoarsePoints:
    """Matches at low resolution of two images as they are; arguments as of :func:`search_hypotheses`."""
    low0, low1 = fit_within(image0, side), fit_within(image1, side)
    return replace(
        matching.matches(features.coarsest(low0), features.coarsest(low1)),
        to0=resize_matrix(image_size(low0), image_size(image0)),
        to1=resize_matrix(image_size(low1), image_size(image1)),
    )


def _candidates(
    features: FeatureExtractor,
    low0: RGBImage,
    low1: RGBImage,
    matching: CoarseMatching,
    mode: str,
    side: int,
) -> Iterator[Support]:
    """Supported homographies from `low1` to `low0`, likeliest first; each costs at most one network pass."""
    whole0 = features.coarsest(low0)
    upright = matching.support(whole0, features.coarsest(low1))
    if upright is not None:
        yield upright
    if mode == "upright":
        return
    # A difference of scale is tried by halving the one image or the other, never by enlarging. It is image 0
    # that is turned, because pairs that share it then share its turned maps.
    half0, half1 = fit_within(low0, side // 2), fit_within(low1, side // 2)
    for angle in ROTATIONS:
        for small0, others in ((low0, (low1, half1)), (half0, (low1,))):
            turned, turn = _turn(small0, angle)
            if angle == 0:  # seen already, and unturned it is the image itself
                map0 = features.coarsest(small0)
            else:
                map0 = features.coarsest_of_warped(turned, small0, keep=True)
            turn_back = resize_matrix(image_size(small0), image_size(low0)) @ np.linalg.inv(turn)
            for small1 in others:
                found = matching.support(map0, features.coarsest(small1))
                if found is not None:
                    yield found.between(turn_back, resize_matrix(image_size(small1), image_size(low1)))


def _match_warped(
    features: FeatureExtractor, low0: RGBImage, low1: RGBImage, matching: CoarseMatching, first: Support
) -> Support:
    """Match again with `low1` warped by what was found; the better supported of the two."""
    warped = warp_image(low1, first.matrix, *image_size(low0))
    again = matching.support(features.coarsest(low0), features.coarsest_of_warped(warped, low1))
    if again is None or again.value <= first.value:
        return first
    return again.between(np.eye(3), inverse(first.matrix))


def _turn(image: RGBImage, angle: float) -> tuple[RGBImage, Matrix]:
    """Turn an image about its centre onto a canvas that holds it whole; also the matrix of that."""
    width, height = image_size(image)
    matrix = np.vstack([cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0), [0, 0, 1]])
    corners = apply_homography(matrix, image_corners(width, height))
    low = corners.min(axis=0)
    size = np.ceil(corners.max(axis=0) - low - 1e-6).astype(int) + 1
    matrix[:2, 2] -= low
    return warp_image(image, matrix, int(size[0]), int(size[1])), matrix
