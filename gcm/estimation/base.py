"""What estimators give, and what a library has to offer to be one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcm.errors import UsageError

__all__ = [
    "Estimator",
    "Fit",
    "FundamentalEstimate",
    "HomographyEstimate",
    "Mask",
    "Matrix",
    "Points",
    "RelativePose",
    "RobustOptions",
    "camera_matrix",
]

Points = NDArray[np.float64]
Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]

Fit = tuple[Matrix, Mask]
"""A 3 x 3 model and which of the N matches agree with it."""


def camera_matrix(intrinsics: ArrayLike, name: str) -> Matrix:
    """Intrinsics as a 3 x 3 matrix of numbers.

    Raises:
        UsageError: it is none; the message calls it `name`.
    """
    try:
        matrix = np.asarray(intrinsics, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape != (3, 3):
        raise UsageError(
            f"{name} is no 3 x 3 camera matrix; give [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], in pixels"
        )
    if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise UsageError(f"{name}: focal lengths must be above 0, and all numbers finite")
    return matrix


@dataclass(frozen=True)
class HomographyEstimate:
    """A robustly estimated homography; `matrix` is None and `inliers` all False when none was found."""

    matrix: Matrix | None
    """3 x 3, source points to target points."""
    inliers: Mask
    """N."""


@dataclass(frozen=True)
class FundamentalEstimate:
    """A robustly estimated fundamental matrix; `matrix` is None, `inliers` all False when none was found."""

    matrix: Matrix | None
    """3 x 3, with ``x1^T F x0 = 0`` for homogeneous pixels x0 of image 0 and x1 of image 1."""
    inliers: Mask
    """N."""


@dataclass(frozen=True)
class RelativePose:
    """The pose of camera 1 seen from camera 0: ``x1 = rotation @ x0 + translation``."""

    rotation: NDArray[np.float64]
    """3 x 3."""
    translation: NDArray[np.float64]
    """3, of length 1: matches do not tell how far the cameras stand apart."""
    inliers: Mask
    """N, the matches that agree with the pose and lie in front of both cameras."""

    @property
    def essential(self) -> Matrix:
        """The essential matrix ``[t]x R``, 3 x 3."""
        x, y, z = self.translation
        cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        product: Matrix = cross @ self.rotation
        return product

    def fundamental(self, intrinsics0: ArrayLike, intrinsics1: ArrayLike) -> Matrix:
        """The fundamental matrix, 3 x 3, ``x1^T F x0 = 0`` in pixels; zero where the camera only turned.

        Args:
            intrinsics0, intrinsics1: 3 x 3 camera matrices.
        """
        to_ray0, to_ray1 = (
            np.linalg.inv(camera_matrix(k, f"intrinsics{n}"))
            for n, k in enumerate((intrinsics0, intrinsics1))
        )
        product: Matrix = to_ray1.T @ self.essential @ to_ray0
        return product


@dataclass(frozen=True)
class RobustOptions:
    """How long to search for the model most matches agree with, and what agreeing means."""

    threshold: float
    """Error, pixels, below which a match is an inlier: of reprojection into the target for homographies,
    distance to the epipolar line otherwise."""
    iterations: int
    """The most samples tried."""
    confidence: float
    """Probability, 0 to 1, of having tried a sample without outliers, at which the search ends."""
    seed: int = 0
    """Equal seeds and equal matches give equal results."""


class Estimator(Protocol):
    """A library that fits models to matches of which many may be wrong.

    Its methods get N x 2 float64 points, contiguous and finite, at least as many as the model needs, and
    give None when they find nothing.
    """

    @property
    def name(self) -> str:
        """What it is asked for by."""

    def homography(self, source: Points, target: Points, options: RobustOptions) -> Fit | None:
        """The homography from source to target."""

    def fundamental(self, points0: Points, points1: Points, options: RobustOptions) -> Fit | None:
        """The fundamental matrix, ``x1^T F x0 = 0``."""

    def relative_pose(
        self,
        points0: Points,
        points1: Points,
        intrinsics0: Matrix,
        intrinsics1: Matrix,
        options: RobustOptions,
    ) -> RelativePose | None:
        """The pose, from the essential matrix of two cameras whose 3 x 3 matrices have no skew."""
