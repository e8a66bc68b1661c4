"""Models by OpenCV, the default."""

from __future__ import annotations

import cv2
import numpy as np

from gcm.estimation.base import Fit, Mask, Matrix, Points, RelativePose, RobustOptions

__all__ = ["OpenCVEstimator"]

_FAR = 1e9
"""Points are taken as in front of a camera up to this depth, in baselines; OpenCV's own limit of 50 would
discard the far points of a short baseline."""


class OpenCVEstimator:
    """RANSAC and its kin as OpenCV has them.

    OpenCV seeds itself alike at every call. A seed other than 0 puts the matches into another order first,
    so that other samples are drawn.

    Args:
        homography_method: OpenCV's number of a robust method for homographies.
        fundamental_method: the same for fundamental matrices.
    """

    name = "opencv"

    def __init__(self, homography_method: int = cv2.RANSAC, fundamental_method: int = cv2.FM_RANSAC) -> None:
        self._homography_method = homography_method
        self._fundamental_method = fundamental_method

    def homography(self, source: Points, target: Points, options: RobustOptions) -> Fit | None:
        """See :class:`gcm.estimation.base.Estimator`."""
        order = _order(len(source), options.seed)
        matrix, mask = cv2.findHomography(
            source if order is None else source[order],
            target if order is None else target[order],
            self._homography_method,
            options.threshold,
            maxIters=options.iterations,
            confidence=options.confidence,
        )
        if matrix is None or mask is None:
            return None
        return np.asarray(matrix, dtype=np.float64), _reordered(mask, order)

    def fundamental(self, points0: Points, points1: Points, options: RobustOptions) -> Fit | None:
        """See :class:`gcm.estimation.base.Estimator`."""
        order = _order(len(points0), options.seed)
        try:
            matrix, mask = cv2.findFundamentalMat(
                points0 if order is None else points0[order],
                points1 if order is None else points1[order],
                self._fundamental_method,
                options.threshold,
                options.confidence,
                options.iterations,
            )
        except cv2.error:  # what it makes of some degenerate input
            return None
        if matrix is None or mask is None or matrix.shape != (3, 3) or len(mask) != len(points0):
            return None
        return np.asarray(matrix, dtype=np.float64), _reordered(mask, order)

    def relative_pose(
        self,
        points0: Points,
        points1: Points,
        intrinsics0: Matrix,
        intrinsics1: Matrix,
        options: RobustOptions,
    ) -> RelativePose | None:
        """See :class:`gcm.estimation.base.Estimator`; five-point algorithm."""
        order = _order(len(points0), options.seed)
        first, second = _normalised(points0, intrinsics0), _normalised(points1, intrinsics1)
        if order is not None:
            first, second = first[order], second[order]
        focal = (intrinsics0[0, 0] + intrinsics0[1, 1] + intrinsics1[0, 0] + intrinsics1[1, 1]) / 4
        try:
            stacked, mask = cv2.findEssentialMat(
                first,
                second,
                np.eye(3),
                method=cv2.RANSAC,
                prob=options.confidence,
                threshold=options.threshold / focal,
                maxIters=options.iterations,
            )
        except cv2.error:  # what it makes of some degenerate input
            return None
        if stacked is None or mask is None or len(stacked) < 3 or not np.isfinite(stacked).all():
            return None
        best: RelativePose | None = None
        most = 0
        # With very few points several essential matrices fit; they come one below the other.
        for essential in np.split(stacked[: len(stacked) // 3 * 3], len(stacked) // 3):
            count, rotation, translation, in_front, _ = cv2.recoverPose(
                essential, first, second, np.eye(3), distanceThresh=_FAR, mask=mask.copy()
            )
            if count > most:
                most = int(count)
                best = RelativePose(
                    np.asarray(rotation, dtype=np.float64),
                    np.asarray(translation, dtype=np.float64).ravel(),
                    _reordered(in_front, order),
                )
        return best


def _normalised(points: Points, intrinsics: Matrix) -> Points:
    """Points on the plane one unit before the camera."""
    centre, focal = intrinsics[[0, 1], [2, 2]], intrinsics[[0, 1], [0, 1]]
    return np.ascontiguousarray((points - centre) / focal)


def _order(count: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    """The order a seed puts matches into; None for the order they have."""
    return None if seed == 0 else np.random.default_rng(seed).permutation(count)


def _reordered(mask: object, order: np.ndarray[tuple[int], np.dtype[np.int64]] | None) -> Mask:
    """OpenCV's mask, back in the order of the matches as they came."""
    flags: Mask = np.asarray(mask).ravel().astype(bool)
    if order is None:
        return flags
    result = np.zeros(len(flags), dtype=bool)
    result[order] = flags
    return result
