"""Every library on scenes that are known exactly, and on input that determines nothing."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gcm.errors import DependencyError, UsageError, to_install
from gcm.estimation import (
    RelativePose,
    estimate_fundamental,
    estimate_homography,
    estimate_relative_pose,
    estimator,
    list_estimators,
)
from gcm.geometry import apply_homography

H = np.array([[0.9, 0.1, 20.0], [-0.05, 1.1, 5.0], [1e-4, -2e-4, 1.0]])
K0 = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
K1 = np.array([[800.0, 0, 500], [0, 790, 410], [0, 0, 1]])
ROTATION = np.asarray(cv2.Rodrigues(np.array([0.04, 0.2, 0.02]))[0])
TRANSLATION = np.array([-0.6, 0.1, 0.2])
WRONG = 50
"""The first matches of a scene are wrong."""

Arrays = tuple[NDArray[np.float64], NDArray[np.float64]]


@pytest.fixture(params=["opencv", "poselib"])
def library(request: pytest.FixtureRequest) -> str:
    if request.param == "poselib":
        pytest.importorskip("poselib")
    return str(request.param)


def plane() -> Arrays:
    """Matches of a plane, the first of them wrong."""
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 500, (200, 2))
    target = apply_homography(H, source)
    target[:WRONG] = rng.uniform(0, 500, (WRONG, 2))
    return source, target


def scene() -> Arrays:
    """Both cameras' pixels of points in space, the first of them wrong."""
    rng = np.random.default_rng(2)
    points = np.column_stack([rng.uniform(-1.5, 1.5, (200, 2)), rng.uniform(3, 6, 200)])
    seen0, seen1 = points @ K0.T, (points @ ROTATION.T + TRANSLATION) @ K1.T
    points0, points1 = seen0[:, :2] / seen0[:, 2:], seen1[:, :2] / seen1[:, 2:]
    points1[:WRONG] = rng.uniform((0, 0), (1000, 800), (WRONG, 2))
    return points0, points1


def homography(points0: Any, points1: Any, **options: Any) -> tuple[Any, NDArray[np.bool_]]:
    estimate = estimate_homography(points0, points1, threshold=1.0, **options)
    return estimate.matrix, estimate.inliers


def fundamental(points0: Any, points1: Any, **options: Any) -> tuple[Any, NDArray[np.bool_]]:
    estimate = estimate_fundamental(points0, points1, **options)
    return estimate.matrix, estimate.inliers


def pose(points0: Any, points1: Any, **options: Any) -> tuple[Any, NDArray[np.bool_]]:
    estimate = estimate_relative_pose(points0, points1, K0, K1, **options)
    if estimate is None:
        return None, np.zeros(len(points0), dtype=bool)
    return np.column_stack([estimate.rotation, estimate.translation]), estimate.inliers


Model = Callable[..., tuple[Any, NDArray[np.bool_]]]
MODELS = [(homography, plane, 4), (fundamental, scene, 8), (pose, scene, 5)]
each_model = pytest.mark.parametrize(("model", "matches", "fewest"), MODELS)


def epipolar_distances(matrix: NDArray[np.float64], points0: Any, points1: Any) -> NDArray[np.float64]:
    lines = np.column_stack([points0, np.ones(len(points0))]) @ matrix.T
    products = (np.column_stack([points1, np.ones(len(points1))]) * lines).sum(axis=1)
    return np.asarray(np.abs(products) / np.hypot(lines[:, 0], lines[:, 1]))


def test_homography(library: str) -> None:
    matrix, inliers = homography(*plane(), library=library)
    np.testing.assert_allclose(matrix, H, rtol=1e-4, atol=1e-5)
    assert inliers[WRONG:].all()
    assert inliers[:WRONG].sum() <= 1


def test_fundamental_matrix(library: str) -> None:
    points0, points1 = scene()
    matrix, inliers = fundamental(points0, points1, library=library)
    assert inliers[WRONG:].mean() > 0.95
    assert inliers[:WRONG].mean() < 0.2
    assert epipolar_distances(matrix, points0[WRONG:], points1[WRONG:]).max() < 0.5
    assert np.linalg.svd(matrix, compute_uv=False)[2] == pytest.approx(0, abs=1e-9)


def test_relative_pose(library: str) -> None:
    points0, points1 = scene()
    estimate = estimate_relative_pose(points0, points1, K0, K1, library=library)
    assert estimate is not None
    np.testing.assert_allclose(estimate.rotation, ROTATION, atol=2e-3)
    np.testing.assert_allclose(estimate.translation, TRANSLATION / np.linalg.norm(TRANSLATION), atol=2e-2)
    assert estimate.inliers[WRONG:].mean() > 0.95
    assert estimate.inliers[:WRONG].mean() < 0.2
    as_fundamental = np.linalg.inv(K1).T @ estimate.essential @ np.linalg.inv(K0)
    assert epipolar_distances(as_fundamental, points0[WRONG:], points1[WRONG:]).max() < 0.5


def test_the_essential_matrix_of_a_pose() -> None:
    estimate = RelativePose(ROTATION, TRANSLATION, np.ones(1, dtype=bool))
    point = np.array([0.3, -0.7, 4.0])
    assert (ROTATION @ point + TRANSLATION) @ estimate.essential @ point == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(
        estimate.essential, np.cross(TRANSLATION, ROTATION, axisb=0, axisc=0), atol=1e-12
    )


@each_model
@pytest.mark.parametrize("seed", [0, 7])
def test_equal_seeds_give_equal_results(
    library: str, model: Model, matches: Callable[[], Arrays], fewest: int, seed: int
) -> None:
    first, second = (model(*matches(), library=library, seed=seed) for _ in range(2))
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tolist() == second[1].tolist()


@each_model
def test_another_seed_draws_other_samples(
    library: str, model: Model, matches: Callable[[], Arrays], fewest: int
) -> None:
    points0, points1 = matches()
    noisy = points1 + np.random.default_rng(1).normal(scale=0.4, size=points1.shape)
    results = [model(points0, noisy, library=library, seed=seed, iterations=8) for seed in range(8)]
    distinct = {(matrix if matrix is None else matrix.tobytes()) for matrix, _ in results}
    assert len(distinct) > 1
    # Whatever order they were drawn in: flags belong to the matches as they came.
    good = [inliers for matrix, inliers in results if matrix is not None and inliers.sum() > 80]
    assert all(inliers[WRONG:].sum() > 10 * inliers[:WRONG].mean() for inliers in good)


@each_model
def test_too_few_matches(library: str, model: Model, matches: Callable[[], Arrays], fewest: int) -> None:
    for count in (0, 1, fewest - 1):
        points0, points1 = (points[WRONG : WRONG + count] for points in matches())
        matrix, inliers = model(points0, points1, library=library)
        assert matrix is None
        assert inliers.shape == (count,)
        assert not inliers.any()


@each_model
@pytest.mark.parametrize("direction", [(1.0, 1.0), (1.0, 0.0), (3.0, -1.7)])
def test_matches_on_one_line(
    library: str, model: Model, matches: Callable[[], Arrays], fewest: int, direction: tuple[float, float]
) -> None:
    line = np.array([20.0, 300.0]) + np.arange(50.0)[:, None] * direction
    for points1 in (line, line + np.array([5, 2])):
        matrix, inliers = model(line, points1, library=library)
        assert matrix is None
        assert not inliers.any()
    assert model(line[:fewest], line[:fewest], library=library)[0] is None


@each_model
def test_one_point_many_times(library: str, model: Model, matches: Callable[[], Arrays], fewest: int) -> None:
    same = np.full((20, 2), 7.0)
    matrix, inliers = model(same, same, library=library)
    assert matrix is None
    assert inliers.tolist() == [False] * 20


@each_model
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_matches_that_are_not_finite(
    library: str, model: Model, matches: Callable[[], Arrays], fewest: int, value: float
) -> None:
    points0, points1 = matches()
    exact, flags = model(points0, points1, library=library)
    more0, more1 = np.vstack([points0, points0[-3:]]), np.vstack([points1, points1[-3:]])
    more0[-1, 0] = more1[-2, 1] = more1[-3] = value
    matrix, inliers = model(more0, more1, library=library)
    assert matrix.tobytes() == exact.tobytes()
    assert inliers.tolist() == [*flags.tolist(), False, False, False]
    nothing = np.full((20, 2), value)
    assert model(nothing, nothing, library=library)[0] is None


def test_poselib_believes_no_line_among_scattered_matches() -> None:
    pytest.importorskip("poselib")
    rng = np.random.default_rng(5)
    line = np.arange(60.0)[:, None] * (3.0, 2.0)
    points0, points1 = (
        np.vstack([line, rng.uniform(0, 300, (3, 2))]),
        np.vstack([line + 40, rng.uniform(0, 300, (3, 2))]),
    )
    matrix, inliers = homography(points0, points1, library="poselib")
    assert (matrix is None) == (not inliers.any())
    if matrix is not None:
        assert inliers[60:].any()


def test_both_libraries_agree() -> None:
    pytest.importorskip("poselib")
    for model, matches, _ in (MODELS[0], MODELS[2]):
        a, b = (model(*matches(), library=library)[0] for library in ("opencv", "poselib"))
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-2)


def test_libraries_by_name() -> None:
    assert list_estimators() == ["opencv", "poselib"]
    assert estimator().name == "opencv"
    with pytest.raises(UsageError, match=r"'posselib'.*did you mean 'poselib'"):
        estimate_homography(*plane(), threshold=1.0, library="posselib")
    with pytest.raises(UsageError, match="method is a setting of opencv"):
        estimate_homography(*plane(), threshold=1.0, method=cv2.LMEDS, library="poselib")
    with pytest.raises(UsageError, match="method is a setting of opencv"):
        estimate_fundamental(*scene(), method=cv2.FM_RANSAC, library="poselib")


def test_a_fundamental_matrix_by_another_method_of_opencv() -> None:
    points0, points1 = scene()[:2]
    chosen = estimate_fundamental(points0, points1, threshold=1.5, method=cv2.FM_RANSAC)
    matrix, _ = cv2.findFundamentalMat(points0, points1, cv2.FM_RANSAC, 1.5, 0.9999, 5000)
    assert np.array_equal(chosen.matrix, matrix)
    assert not np.array_equal(chosen.matrix, estimate_fundamental(points0, points1, threshold=1.5).matrix)


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "poselib", None)
    monkeypatch.delitem(sys.modules, "gcm.estimation.poselib", raising=False)
    with pytest.raises(DependencyError, match=re.escape(to_install("poselib"))):
        estimate_fundamental(*scene(), library="poselib")


# -- homographies by OpenCV's own methods ---------------------------------------------------------


def test_a_homography_is_estimate_among_outliers() -> None:
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 500, (200, 2))
    target = apply_homography(H, source)
    target[::4] = rng.uniform(0, 500, (50, 2))
    estimate = estimate_homography(source, target, threshold=1.0)
    assert estimate.matrix is not None
    np.testing.assert_allclose(estimate.matrix, H, rtol=1e-4, atol=1e-5)
    true = np.ones(200, bool)
    true[::4] = False
    assert (estimate.inliers[true]).all()
    assert estimate.inliers[~true].sum() <= 1
    again = estimate_homography(source, target, threshold=1.0)
    assert np.array_equal(again.matrix, estimate.matrix)  # equal inputs, equal results


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_than_four_points_give_no_homography(count: int) -> None:
    points = np.random.default_rng(0).uniform(0, 9, (count, 2))
    estimate = estimate_homography(points, points, threshold=3)
    assert estimate.matrix is None
    assert estimate.inliers.shape == (count,)
    assert not estimate.inliers.any()


def test_points_that_determine_no_homography_give_none() -> None:
    same = np.ones((20, 2))
    estimate = estimate_homography(same, same, threshold=3)
    assert estimate.matrix is None
    assert not estimate.inliers.any()


def test_a_homography_that_flattens_the_plane_is_none(library: str) -> None:
    source = np.array([[76.0, 56.0], [36.0, 63.0], [76.8, 56.4], [56.16, 46.08]])
    target = np.array([[30.0, 40.0], [30.0, 40.0], [50.0, 70.0], [61.0, 12.0]])  # two became one
    matrix, inliers = homography(source, target, library=library)
    assert matrix is None
    assert not inliers.any()
