"""Neighbours bear out what moves as they do, whatever the scene's shape."""

from __future__ import annotations

import numpy as np
import pytest

from gcm.refinement.motion import fit_motion, local_support, moving_together, smooth_motion


def scene(n: int = 600, *, wrong: float = 0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, a motion affine in position, and which of them are right."""
    rng = np.random.default_rng(2)
    points = rng.uniform(0, 400, (n, 2))
    motion = points @ np.array([[0.03, -0.02], [0.04, 0.01]]) + [5, -7]
    right = rng.random(n) >= wrong
    motion[~right] += rng.uniform(-80, 80, (np.sum(~right), 2))
    return points, motion, right


def test_counts_against_loops() -> None:
    rng = np.random.default_rng(0)
    points, motion = rng.uniform(-50, 200, (80, 2)), rng.uniform(-9, 9, (80, 2))
    alike, around = local_support(points, motion, radius=30, tolerance=4)
    place, kind = np.floor(points / 30), np.floor(motion / 4)
    for i in range(80):
        near = (np.abs(place - place[i]) <= 1).all(axis=1)
        same = (np.abs(kind - kind[i]) <= 1).all(axis=1)
        assert around[i] == near.sum() - 1
        assert alike[i] == (near & same).sum() - 1


def test_none_at_all() -> None:
    alike, around = local_support(np.zeros((0, 2)), np.zeros((0, 2)), radius=3, tolerance=1)
    assert len(alike) == len(around) == 0


def test_support_tells_right_from_wrong() -> None:
    points, motion, right = scene()
    alike, around = local_support(points, motion, radius=40, tolerance=4)
    borne_out = (alike >= 4) & (alike >= 0.3 * around)
    assert borne_out[right].mean() > 0.95
    assert borne_out[~right].mean() < 0.05


def test_motion_is_fitted_despite_outliers() -> None:
    points, motion, right = scene(wrong=0.2)
    off = np.linalg.norm(fit_motion(points, motion, radius=60).predict(points) - motion, axis=1)
    assert np.median(off[right]) < 0.2
    assert np.median(off[~right]) > 20


@pytest.mark.parametrize("corner", [0.0, -1234.5])
def test_an_affine_motion_is_exact_anywhere(corner: float) -> None:
    points, motion, _ = scene(wrong=0.0)
    points = points + corner
    at = np.array([[100.0, 120.0], [333.0, 20.5]]) + corner
    predicted = fit_motion(points, motion, radius=50).predict(at)
    expected = (at - corner) @ np.array([[0.03, -0.02], [0.04, 0.01]]) + [5, -7]
    np.testing.assert_allclose(predicted, expected, atol=0.15)


def test_unknown_far_from_all_matches() -> None:
    points, motion, _ = scene()
    assert np.isnan(fit_motion(points, motion, radius=30).predict(np.array([[5000.0, 0.0]]))).all()
    lonely = fit_motion(points[:2], motion[:2], radius=30).predict(points[:2])
    assert np.isnan(lonely).all()


def smoothed(points: np.ndarray, motion: np.ndarray) -> np.ndarray:
    expected = fit_motion(points, motion, radius=40).predict(points)
    return smooth_motion(points, motion, expected, radius=40)


def test_smoothing_averages_noise_away_where_the_motion_is_smooth() -> None:
    points, motion, _ = scene(2000, wrong=0)
    noisy = motion + np.random.default_rng(3).normal(0, 0.4, motion.shape)
    before, after = (np.linalg.norm(found - motion, axis=1) for found in (noisy, smoothed(points, noisy)))
    assert np.sqrt(np.mean(after**2)) < 0.45 * np.sqrt(np.mean(before**2))


def test_smoothing_follows_the_narrow_fit_where_the_wide_one_is_wrong() -> None:
    """A bent motion: averaging over wide neighbourhoods would flatten it."""
    rng = np.random.default_rng(4)
    points = rng.uniform(0, 400, (8000, 2))
    motion = np.column_stack([4 * np.sin(points[:, 0] / 25), np.zeros(8000)])
    noisy = motion + rng.normal(0, 0.2, motion.shape)
    wide = fit_motion(points, noisy, radius=40).predict(points)
    off = [np.sqrt(np.mean((found - motion) ** 2)) for found in (wide, smoothed(points, noisy))]
    assert off[1] < 0.4 * off[0]


def test_smoothing_leaves_alone_what_stands_alone() -> None:
    points, motion, _ = scene(2000, wrong=0)
    motion[0] += (2.5, -2.5)  # far off its neighbours, but perhaps right
    lonely = np.array([[5000.0, 5000.0]])
    points, motion = np.concatenate([points, lonely]), np.concatenate([motion, [[3.0, 4.0]]])
    after = smoothed(points, motion)
    np.testing.assert_allclose(after[0], motion[0], atol=0.1)
    np.testing.assert_array_equal(after[-1], motion[-1])
    np.testing.assert_allclose(after[1:-1], motion[1:-1], atol=0.02)


def test_what_is_linked_by_neighbours_that_move_alike_is_one_group() -> None:
    """A row whose motion changes a little from match to match, one beside it that moves otherwise, and a far
    one that moves as the first."""
    row = np.column_stack([np.arange(0, 400, 10.0), np.zeros(40)])
    motion = np.column_stack([np.arange(40) * 0.8, np.zeros(40)])
    points = np.concatenate([row, np.add(row, [0, 8]), np.add(row[:5], [0, 500])])
    motions = np.concatenate([motion, np.add(motion, [0, 9]), motion[:5]])
    group = moving_together(points, motions, radius=15, tolerance=2)
    assert group.tolist() == [group[0]] * 40 + [group[40]] * 40 + [group[80]] * 5
    assert sorted({group[0], group[40], group[80]}) == [0, 1, 2]
    assert len(moving_together(points[:0], motions[:0], radius=15, tolerance=2)) == 0


def test_groups_do_not_depend_on_the_order_of_the_matches() -> None:
    points, motion, _ = scene(500)
    order = np.random.default_rng(5).permutation(len(points))
    group = moving_together(points, motion, radius=20, tolerance=2)
    mixed = np.empty_like(group)
    mixed[order] = moving_together(points[order], motion[order], radius=20, tolerance=2)
    assert group.max() > 10
    same, same_mixed = (g[:, None] == g for g in (group, mixed))
    assert np.array_equal(same, same_mixed)
