"""Relative poses against scenes that are known exactly."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gcm.estimation import estimate_relative_pose
from gcm.metrics.homography import auc_terms
from gcm.metrics.pose import (
    FAILED,
    PoseError,
    angle_between,
    pose_auc,
    relative_pose_error,
    rotation_angle,
    score_relative_pose,
)

K0 = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
K1 = np.array([[800.0, 0, 500], [0, 790, 410], [0, 0, 1]])


def turn(axis: tuple[float, float, float], degrees: float) -> NDArray[np.float64]:
    unit = np.array(axis) / np.linalg.norm(axis)
    return np.asarray(cv2.Rodrigues(unit * math.radians(degrees))[0])


def pose(rotation: NDArray[np.float64], translation: tuple[float, float, float]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


TRUTH = pose(turn((0.2, 1, 0.1), 12), (-0.6, 0.1, 0.2))


def scene(count: int = 200) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both cameras' pixels of random points, seen without noise."""
    rng = np.random.default_rng(2)
    points = np.column_stack([rng.uniform(-1.5, 1.5, (count, 2)), rng.uniform(3, 6, count)])
    seen0, seen1 = points @ K0.T, (points @ TRUTH[:3, :3].T + TRUTH[:3, 3]) @ K1.T
    return seen0[:, :2] / seen0[:, 2:], seen1[:, :2] / seen1[:, 2:]


@pytest.mark.parametrize("degrees", [0.0, 1e-5, 1.0, 90.0, 179.0, 180.0])
def test_rotation_angle(degrees: float) -> None:
    assert rotation_angle(turn((1, -2, 0.5), degrees)) == pytest.approx(degrees, abs=1e-6)


def test_angle_between() -> None:
    assert angle_between([1, 0, 0], [0, 5, 0]) == pytest.approx(90)
    assert angle_between([1, 0, 0], [-2, 0, 0]) == pytest.approx(180)
    assert angle_between([1, 0, 0], [1, 1e-8, 0]) == pytest.approx(math.degrees(1e-8))
    assert math.isnan(angle_between([0, 0, 0], [1, 0, 0]))


def test_error_of_known_poses() -> None:
    rotation, translation = TRUTH[:3, :3], TRUTH[:3, 3]
    assert relative_pose_error(rotation, translation, TRUTH).worst == pytest.approx(0, abs=1e-6)
    assert relative_pose_error(rotation, -7 * translation, TRUTH).worst == pytest.approx(0, abs=1e-5)
    off = relative_pose_error(turn((0, 0, 1), 4) @ rotation, turn((1, 2, 3), 0) @ translation, TRUTH)
    assert (off.rotation, off.translation) == pytest.approx((4, 0), abs=1e-5)
    across = np.cross(translation, (0, 0, 1.0))
    aside = relative_pose_error(rotation, translation + across * math.tan(math.radians(9)), TRUTH)
    lean = math.atan(math.tan(math.radians(9)) * np.linalg.norm(across) / np.linalg.norm(translation))
    assert aside.translation == pytest.approx(math.degrees(lean))
    assert aside.worst == aside.translation


def test_the_inverse_pose_is_wrong() -> None:
    inverse = np.linalg.inv(TRUTH)
    assert relative_pose_error(inverse[:3, :3], inverse[:3, 3], TRUTH).rotation == pytest.approx(24)


def test_no_translation() -> None:
    still = pose(TRUTH[:3, :3], (0, 0, 0))
    assert relative_pose_error(TRUTH[:3, :3], [1, 0, 0], still).worst == pytest.approx(0, abs=1e-6)
    assert relative_pose_error(TRUTH[:3, :3], [0, 0, 0], TRUTH).translation == FAILED


def test_exact_scene_with_two_cameras() -> None:
    points0, points1 = scene()
    found = estimate_relative_pose(points0, points1, K0, K1)
    assert found is not None
    assert found.inliers.all()
    assert np.linalg.norm(found.translation) == pytest.approx(1)
    assert found.translation @ TRUTH[:3, 3] > 0  # the points lie in front of both cameras
    assert score_relative_pose(points0, points1, K0, K1, TRUTH).worst < 1e-3


def test_noise_and_outliers() -> None:
    points0, points1 = scene()
    rng = np.random.default_rng(4)
    points1 = points1 + rng.normal(scale=0.2, size=points1.shape)
    points1[:60] = rng.uniform((0, 0), (1000, 800), (60, 2))
    found = estimate_relative_pose(points0, points1, K0, K1)
    assert found is not None
    assert found.inliers[60:].mean() > 0.9
    assert found.inliers[:60].mean() < 0.1
    assert score_relative_pose(points0, points1, K0, K1, TRUTH).worst < 3


def test_intrinsics_of_another_image_size_spoil_the_pose() -> None:
    points0, points1 = scene()
    halved = np.diag([0.5, 0.5, 1.0])
    resized = score_relative_pose(points0 / 2, points1 / 2, halved @ K0, halved @ K1, TRUTH)
    assert resized.worst < 1e-3
    assert score_relative_pose(points0 / 2, points1 / 2, K0, K1, TRUTH).worst > 3


def test_degenerate_input_fails_without_raising() -> None:
    points0, points1 = scene(4)
    assert estimate_relative_pose(points0, points1, K0, K1) is None
    assert score_relative_pose(points0, points1, K0, K1, TRUTH) == PoseError(FAILED, FAILED)
    none = np.zeros((0, 2))
    assert score_relative_pose(none, none, K0, K1, TRUTH).worst == FAILED
    same = np.full((50, 2), 7.0)  # one point many times: whatever comes, it is an angle
    assert 0 <= score_relative_pose(same, same, K0, K1, TRUTH).worst <= FAILED
    line = np.column_stack([np.arange(50.0), np.arange(50.0)])
    assert 0 <= score_relative_pose(line, line, K0, K1, TRUTH).worst <= FAILED


def test_auc_by_hand() -> None:
    # From (0, 0) to (1, 1/3) to (2, 2/3), then level to the limit.
    assert pose_auc([2.0, 1.0, 180.0], [5, 10]) == pytest.approx(
        [(1 / 6 + 1 / 2 + 3 * 2 / 3) / 5, (1 / 6 + 1 / 2 + 8 * 2 / 3) / 10]
    )
    assert pose_auc([180.0, math.nan, math.inf], [5]) == pytest.approx([0])
    assert pose_auc([0.0, 0.0], [5]) == pytest.approx([1])
    assert np.isnan(pose_auc([], [5, 10])).all()


@given(st.lists(st.floats(0.01, 180), min_size=1, max_size=40), st.sampled_from([5.0, 10.0, 20.0]))
def test_auc_lies_just_above_the_step_curves(errors: list[float], limit: float) -> None:
    exact = auc_terms(np.array(errors), [limit]).mean()
    assert exact - 1e-12 <= pose_auc(errors, limit)[0] <= exact + 1 / (2 * len(errors)) + 1e-12
