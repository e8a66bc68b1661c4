"""Fits that do not depend on where they start."""

from __future__ import annotations

import cv2
import numpy as np

from gcm.estimation import estimate_fundamental, estimate_homography, settle_fundamental, settle_homography
from gcm.geometry import apply_homography, epipolar_distances

H = np.array([[1.1, 0.07, 12.3], [-0.05, 0.9, 2.1], [1e-4, 2e-4, 1]])


def on_a_plane(count: int = 1500, wrong: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Points to a fifth of a pixel, the last of them anywhere."""
    rng = np.random.default_rng(0)
    points0 = rng.uniform(0, 600, (count, 2))
    points1 = apply_homography(H, points0) + rng.normal(0, 0.2, (count, 2))
    points1[count - wrong :] = rng.uniform(0, 600, (wrong, 2))
    return points0, points1


def of_a_scene(count: int = 1500, wrong: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of two cameras, the last of them anywhere, and the true fundamental matrix."""
    rng = np.random.default_rng(1)
    scene = np.column_stack([rng.uniform(-2, 2, (count, 2)), rng.uniform(3, 8, count)])
    k = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    turn, shift = cv2.Rodrigues(np.array([0.05, -0.2, 0.02]))[0], np.array([0.6, 0.1, 0.2])
    seen0, seen1 = scene @ k.T, (scene @ turn.T + shift) @ k.T
    points0, points1 = (p[:, :2] / p[:, 2:] + rng.normal(0, 0.2, (count, 2)) for p in (seen0, seen1))
    points1[count - wrong :] = rng.uniform(0, 600, (wrong, 2))
    across = np.array([[0, -shift[2], shift[1]], [shift[2], 0, -shift[0]], [-shift[1], shift[0], 0]])
    back = np.linalg.inv(k)
    return points0, points1, back.T @ across @ turn @ back


def test_a_homography_is_the_same_from_any_start() -> None:
    points0, points1 = on_a_plane()
    corners = np.array([[0.0, 0], [600, 0], [600, 600], [0, 600]])
    ends = []
    for seed in range(4):
        some = np.random.default_rng(seed).choice(len(points0), 300, replace=False)
        start = estimate_homography(points0[some], points1[some], threshold=3.0, seed=seed).matrix
        assert start is not None
        ends.append(apply_homography(settle_homography(start, points0, points1, 1.0), corners))
    assert np.ptp(ends, axis=0).max() < 2e-3
    assert np.abs(ends[0] - apply_homography(H, corners)).max() < 0.1


def test_a_fundamental_matrix_is_the_same_from_any_start() -> None:
    points0, points1, true = of_a_scene()
    ends = []
    for seed in range(4):
        some = np.random.default_rng(seed).choice(len(points0), 300, replace=False)
        start = estimate_fundamental(points0[some], points1[some], seed=seed).matrix
        assert start is not None
        settled = settle_fundamental(start, points0, points1, 1.0)
        assert abs(np.linalg.det(settled / np.linalg.norm(settled))) < 1e-15
        ends.append(epipolar_distances(settled, points0[:1200], points1[:1200])[1])
    assert np.ptp(ends, axis=0).max() < 2e-3
    exact = epipolar_distances(true, points0[:1200], points1[:1200])[1]
    assert np.median(ends[0]) < 1.02 * np.median(exact)


def test_what_cannot_be_bettered_is_given_back() -> None:
    one = np.ones((20, 2))
    assert settle_homography(H, one, one, 1.0) is H
    points0, points1, true = of_a_scene(50, 0)
    points1[:] = np.nan
    assert settle_fundamental(true, points0, points1, 1.0) is true
