"""Models by PoseLib (Larsson et al., https://github.com/PoseLib/PoseLib): LO-RANSAC with refinement."""

from __future__ import annotations

from typing import Any

import numpy as np

from gcm.errors import DependencyError, to_install
from gcm.estimation.base import Fit, Mask, Matrix, Points, RelativePose, RobustOptions

try:
    import poselib
except ImportError as error:
    raise DependencyError(
        f"poselib: the package is not installed ({error}); {to_install('poselib')}, or use opencv"
    ) from error

__all__ = ["PoseLibEstimator"]

_LEAST_ITERATIONS = 100
"""PoseLib's own least of 1000 takes most of the time where nearly all matches are right."""


class PoseLibEstimator:
    """PoseLib's estimators; each refines its model on the inliers."""

    name = "poselib"

    def homography(self, source: Points, target: Points, options: RobustOptions) -> Fit | None:
        """See :class:`gcm.estimation.base.Estimator`."""
        settings = {"max_reproj_error": options.threshold, **_search(options)}
        matrix, report = poselib.estimate_homography(source, target, settings, {})
        inliers = _inliers(report, len(source))
        if not inliers.any():  # its matrix is then whatever lay in memory
            return None
        matrix = np.asarray(matrix, dtype=np.float64)
        return matrix / matrix[2, 2], inliers

    def fundamental(self, points0: Points, points1: Points, options: RobustOptions) -> Fit | None:
        """See :class:`gcm.estimation.base.Estimator`."""
        settings = {"max_epipolar_error": options.threshold, **_search(options)}
        matrix, report = poselib.estimate_fundamental(points0, points1, settings, {})
        inliers = _inliers(report, len(points0))
        return (np.asarray(matrix, dtype=np.float64), inliers) if inliers.any() else None

    def relative_pose(
        self,
        points0: Points,
        points1: Points,
        intrinsics0: Matrix,
        intrinsics1: Matrix,
        options: RobustOptions,
    ) -> RelativePose | None:
        """See :class:`gcm.estimation.base.Estimator`; five-point algorithm."""
        settings = {"max_epipolar_error": options.threshold, **_search(options)}
        cameras = _pinhole(intrinsics0), _pinhole(intrinsics1)
        pose, report = poselib.estimate_relative_pose(points0, points1, *cameras, settings, {})
        inliers = _inliers(report, len(points0))
        translation = np.asarray(pose.t, dtype=np.float64)
        length = float(np.linalg.norm(translation))
        if not inliers.any() or not length > 0:
            return None
        return RelativePose(np.asarray(pose.R, dtype=np.float64), translation / length, inliers)


def _search(options: RobustOptions) -> dict[str, Any]:
    return {
        "max_iterations": options.iterations,
        "min_iterations": min(_LEAST_ITERATIONS, options.iterations),
        "success_prob": options.confidence,
        "seed": options.seed,
    }


def _inliers(report: dict[str, Any], count: int) -> Mask:
    """PoseLib's list of flags, empty when it did not even begin."""
    flags = np.array(report["inliers"], dtype=bool)
    return flags if len(flags) == count else np.zeros(count, dtype=bool)


def _pinhole(intrinsics: Matrix) -> dict[str, Any]:
    """A camera as PoseLib takes it; the size of its image plays no part."""
    (fx, _, cx), (_, fy, cy) = intrinsics[:2].tolist()
    return {"model": "PINHOLE", "width": 0, "height": 0, "params": [fx, fy, cx, cy]}
