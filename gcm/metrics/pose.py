"""How well the relative pose of two calibrated cameras is recovered from matches.

A pose is a rotation R (3 x 3) and a translation t (3) that take points of camera 0's frame to camera 1's:
``x1 = R @ x0 + t``. From matches alone t is known up to its length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcm.estimation import estimate_relative_pose

__all__ = [
    "FAILED",
    "PoseError",
    "angle_between",
    "pose_auc",
    "relative_pose_error",
    "rotation_angle",
    "score_relative_pose",
]

FAILED = 180.0
"""Degrees: the error of a pose that was not found."""


@dataclass(frozen=True)
class PoseError:
    """Degrees."""

    rotation: float
    translation: float
    """Between the directions of translation, either sign: 0 to 90 unless failed."""

    @property
    def worst(self) -> float:
        """The larger of the two."""
        return max(self.rotation, self.translation)


def rotation_angle(rotation: ArrayLike) -> float:
    """Degrees by which a 3 x 3 rotation turns, 0 to 180."""
    r = np.asarray(rotation, dtype=np.float64)
    # Both sine and cosine: the cosine alone loses half the digits near 0 and 180 degrees.
    axis = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    return math.degrees(math.atan2(float(np.linalg.norm(axis)), float(np.trace(r)) - 1.0))


def angle_between(a: ArrayLike, b: ArrayLike) -> float:
    """Degrees between two vectors, 0 to 180; nan when one of them has no length."""
    first, second = np.asarray(a, dtype=np.float64).ravel(), np.asarray(b, dtype=np.float64).ravel()
    if not np.any(first) or not np.any(second):
        return math.nan
    sine = float(np.linalg.norm(np.cross(first, second)))
    return math.degrees(math.atan2(sine, float(first @ second)))


def relative_pose_error(rotation: ArrayLike, translation: ArrayLike, pose_0_to_1: ArrayLike) -> PoseError:
    """Angles between an estimated pose and the true one.

    The sign of the translation is disregarded, as is the custom (SuperGlue, CVPR 2020): it follows from
    points in front of the cameras, not from the essential matrix. Where the true translation is zero it has
    no direction, and counts as right.

    Args:
        rotation: 3 x 3, estimated.
        translation: 3, estimated, of any length; no length counts as failed.
        pose_0_to_1: 4 x 4 (or 3 x 4) true pose, camera 0 to camera 1.
    """
    truth = np.asarray(pose_0_to_1, dtype=np.float64)
    turned = rotation_angle(np.asarray(rotation, dtype=np.float64).T @ truth[:3, :3])
    if not np.any(truth[:3, 3]):
        return PoseError(turned, 0.0)
    angle = angle_between(translation, truth[:3, 3])
    return PoseError(turned, FAILED if math.isnan(angle) else min(angle, 180.0 - angle))


def score_relative_pose(
    points0: NDArray[Any],
    points1: NDArray[Any],
    intrinsics0: ArrayLike,
    intrinsics1: ArrayLike,
    pose_0_to_1: ArrayLike,
    *,
    threshold: float = 0.5,
    library: str = "opencv",
) -> PoseError:
    """Estimate the pose from matches and compare it; both errors are :data:`FAILED` where none was found.

    The arguments are those of :func:`gcm.estimation.estimate_relative_pose` and
    :func:`relative_pose_error`.
    """
    estimate = estimate_relative_pose(
        points0, points1, intrinsics0, intrinsics1, threshold=threshold, library=library
    )
    if estimate is None:
        return PoseError(FAILED, FAILED)
    return relative_pose_error(estimate.rotation, estimate.translation, pose_0_to_1)


def pose_auc(errors: ArrayLike, limits: ArrayLike) -> NDArray[np.float64]:
    """Area under the curve "share of pairs with an error of at most t", t from 0 to each limit; 0 to 1.

    The trapezoid rule in common use (SuperGlue, CVPR 2020): the curve starts at (0, 0), rises by straight
    lines to ``k / n`` at the k-th smallest error, and stays level from the last error before the limit to
    the limit. It lies up to 1 / (2 x pairs) above the exact area of the step curve
    (:func:`gcm.metrics.homography.auc_terms`); used for poses to compare with published numbers.

    Args:
        errors: P, degrees; those of failed pairs at or above the largest limit. nan counts as failed.
        limits: M, degrees.

    Returns:
        M; nan without pairs.
    """
    values = np.asarray(errors, dtype=np.float64).ravel()
    ends = np.atleast_1d(np.asarray(limits, dtype=np.float64))
    if not len(values):
        return np.full(len(ends), np.nan)
    ordered = np.sort(np.where(np.isnan(values), np.inf, values))
    areas = []
    for end in ends:
        below = ordered[ordered < end]
        x = np.concatenate([[0.0], below, [end]])
        share = np.arange(len(below) + 1) / len(values)
        y = np.append(share, share[-1])
        areas.append(float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2 / end))
    return np.array(areas)
