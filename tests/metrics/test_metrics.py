"""Measures against hand-made cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcm.metrics.bootstrap import bootstrap_means, interval
from gcm.metrics.comparison import MEASURES, compare, confidence_intervals
from gcm.metrics.homography import auc_terms, corner_error, score_homography, swapped_corners
from gcm.metrics.matching import count_within, transfer_errors
from gcm.metrics.protocols import (
    PairScore,
    Protocol,
    group_sequences,
    homography_rows,
    matching_rows,
    summarise,
)

SHIFT = np.array([[1.0, 0, 7], [0, 1, -3], [0, 0, 1]])


def test_transfer_errors_are_distances_in_image_1() -> None:
    points0 = np.array([[0.0, 0.0], [10, 20], [5, 5]])
    points1 = points0 + np.array([7, -3]) + np.array([[0, 0], [3, 4], [0, 1]])
    errors = transfer_errors(points0, points1, SHIFT)
    assert errors == pytest.approx([0, 5, 1])
    assert count_within(errors).tolist() == [2, 2, 2, 2, 3, 3, 3, 3, 3, 3]
    assert count_within(transfer_errors(np.zeros((0, 2)), np.zeros((0, 2)), SHIFT)).tolist() == [0] * 10


def test_a_point_on_the_horizon_counts_for_none() -> None:
    horizon = np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]])
    errors = transfer_errors(np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]]), horizon)
    assert count_within(errors).tolist() == [0] * 10


def test_corner_error() -> None:
    corners = swapped_corners(640, 480)
    assert sorted(map(tuple, corners.tolist())) == [(0, 0), (0, 639), (479, 0), (479, 639)]
    assert corner_error(SHIFT, np.eye(3), corners) == pytest.approx(math.hypot(7, 3))
    singular = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert corner_error(singular, np.eye(3), corners) == math.inf


def test_score_homography() -> None:
    rng = np.random.default_rng(1)
    points0 = rng.uniform(0, 300, (60, 2))
    points1 = points0 + np.array([7, -3])
    points1[:10] += 50
    score = score_homography(points0, points1, SHIFT, (320, 240))
    assert score.inliers == 50
    assert max(score.error, score.error_swapped) < 1e-3
    few = score_homography(points0[:3], points1[:3], SHIFT, (320, 240))
    assert (few.error, few.error_swapped, few.inliers) == (math.inf, math.inf, 0)


@given(
    st.lists(st.floats(0, 30) | st.just(math.inf), min_size=1, max_size=40), st.sampled_from([3.0, 5.0, 10.0])
)
def test_auc_is_the_area_under_the_step_curve(errors: list[float], limit: float) -> None:
    values = np.array(errors)
    grid = (np.arange(4000) + 0.5) / 4000 * limit
    area = (values[:, None] <= grid).mean()
    assert auc_terms(values, [limit]).mean() == pytest.approx(area, abs=1e-3)


def score(name: str, subset: str, sequence: str, within: int, error: float, matches: int = 3) -> PairScore:
    return PairScore(name, subset, sequence, 100.5, matches, (within,) * 10, 2, error, 2 * error)


SCORES = [
    score("a", "illumination", "i_a", 1, 0.75),
    score("b", "illumination", "i_a", 2, 2.5),
    score("c", "viewpoint", "v_a", 3, 4.5),
    score("d", "viewpoint", "v_b", 0, math.inf, matches=0),
]


def test_rows_of_both_protocols() -> None:
    ime, fixed = (matching_rows(SCORES, protocol) for protocol in (Protocol.IME, Protocol.FIXED))
    assert ime[:, 0].tolist() == [0.333, 0.667, 1.0, 0.0]
    assert fixed[:, 0] == pytest.approx([1 / 3, 2 / 3, 1, 0], abs=1e-15)
    assert fixed[3].tolist() == [0.0] * 10 + [100.5, 0.0]
    assert homography_rows(SCORES, Protocol.FIXED)[:, 0].tolist() == [1, 0, 0, 0]
    assert homography_rows(SCORES, Protocol.IME)[:, 1].tolist() == [1, 0, 0, 0]  # 2 px against doubled errors
    assert homography_rows(SCORES, Protocol.FIXED)[1].tolist() == [0, 0] + [1] * 8 + [3, 2]


def test_ime_leaves_the_last_pair_out_and_truncates() -> None:
    groups = {part.group: part for part in summarise(SCORES, Protocol.IME)}
    assert list(groups) == ["illumination_all", "viewpoint_all", "all"]
    assert [part.pairs for part in groups.values()] == [2, 1, 3]
    assert groups["viewpoint_all"].matching[0] == 1.0
    assert groups["all"].matching[[0, 10, 11]] == pytest.approx([(0.333 + 0.667 + 1) / 3, 100, 3])


def test_fixed_counts_every_pair() -> None:
    groups = {part.group: part for part in summarise(SCORES, Protocol.FIXED)}
    assert [part.pairs for part in groups.values()] == [2, 2, 4]
    assert groups["all"].matching[[0, 10, 11]] == pytest.approx([0.5, 100.5, 2.25])
    assert groups["viewpoint_all"].auc == pytest.approx([0, 0.5 * (1 - 4.5 / 5), 0.5 * (1 - 4.5 / 10)])
    mixed = [SCORES[2], SCORES[0], SCORES[3], SCORES[1]]
    regrouped = {part.group: part for part in summarise(mixed, Protocol.FIXED)}
    for name, part in regrouped.items():
        assert part.matching == pytest.approx(groups[name].matching)


def test_sequences_and_a_single_pair() -> None:
    parts = summarise(SCORES, Protocol.FIXED, group_sequences(SCORES))
    assert [(part.group, part.pairs) for part in parts] == [("i_a", 2), ("v_a", 1), ("v_b", 1)]
    alone = summarise(SCORES[:1], Protocol.IME)  # IME averages over nothing
    assert all(np.isnan(part.matching).all() for part in alone)


def test_bootstrap_draws_whole_sequences() -> None:
    sequences = ["a"] * 5 + ["b"] * 5
    values = np.array([0.0] * 5 + [1.0] * 5)[:, None]
    means = bootstrap_means(values, sequences)
    assert set(np.unique(means)) == {0.0, 0.5, 1.0}
    assert means.mean() == pytest.approx(0.5, abs=0.05)
    assert np.array_equal(means, bootstrap_means(values, sequences))
    low, high = interval(means)
    assert (low[0], high[0]) == (0.0, 1.0)


def test_bootstrap_interval_has_the_right_width() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(400, 1))
    low, high = interval(bootstrap_means(values, [str(k) for k in range(400)]))
    assert high[0] - low[0] == pytest.approx(2 * 1.96 / 20, rel=0.12)


def test_comparison_is_paired() -> None:
    rng = np.random.default_rng(5)
    hard = rng.uniform(0, 1, 30)
    first = [score(str(k), "v", str(k), round(9 * h), 3 * h, matches=9) for k, h in enumerate(hard)]
    second = [
        score(str(k), "v", str(k), max(0, round(9 * h) - 1), 3 * h, matches=9) for k, h in enumerate(hard)
    ]
    found = {part.measure: part for part in compare(first, second)}
    assert list(found) == list(MEASURES)
    assert not found["MMA@3"].holds_zero  # far smaller than the spread, yet every pair shows it
    assert found["AUC@5"].holds_zero
    assert found["AUC@5"].value == 0
    wide = {part.measure: part for part in confidence_intervals(first)}["MMA@3"]
    assert wide.high - wide.low > found["MMA@3"].high - found["MMA@3"].low
    with pytest.raises(ValueError, match="same pairs"):
        compare(first, second[1:])
