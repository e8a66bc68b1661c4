"""Exact mode against the published implementation's own matches (real photos, published weights)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.parity.__main__ import compare, contained, golden_matcher, golden_names, golden_pairs, measure

PAIRS = ("i_bikes_1_i_bikes_5", "i_leuven_1_i_leuven_4", "v_boat_1_v_boat_2", "v_graf_1_v_graf_2")
CONFIGS = (
    "Avg_R2D2_6",
    "Avg_R2D2_95",
    "ResNet18_R2D2_95",
    "ResNet18_dstlR2D2_6",
    "ResNet18_dstlR2D2_95",
    "VGG16_dstlR2D2_95",
    "VGG16_dstlR2D2_95_onestage",
)


def check(shared: Path, name: str, pair: str) -> None:
    agreement, homography_px = measure(
        shared, golden_matcher(shared, name), shared / "golden" / "matches" / name / f"{pair}_matches.npz"
    )
    assert agreement.golden > 0
    assert agreement.passed, agreement
    if name.endswith("_onestage") and agreement.found == 1 and agreement.extra == 0:
        # The same whole pixels in the same order give the same homography; after a stage 0 the last digits
        # of the points differ, and with them RANSAC's choice.
        assert homography_px < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("name", CONFIGS)
def test_exact_mode_gives_the_published_matches(shared: Path, name: str, pair: str) -> None:
    check(shared, name, pair)


def test_no_golden_file_is_forgotten(shared: Path) -> None:
    assert golden_names(shared) == sorted(CONFIGS)
    for name in CONFIGS:
        assert [path.name for path in golden_pairs(shared, name)] == [f"{pair}_matches.npz" for pair in PAIRS]


# -- the comparison itself -------------------------------------------------------------------------


def some_matches(count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 40, (count, 2)).astype(float), rng.uniform(0, 40, (count, 2))


def test_the_comparison_agrees_with_all_pairs() -> None:
    a0, a1 = some_matches()
    rng = np.random.default_rng(1)
    b0, b1 = a0 + rng.uniform(-0.01, 0.01, a0.shape), a1 + rng.uniform(-0.01, 0.01, a1.shape)
    shuffled = rng.permutation(len(b0))[:400]
    b0, b1 = b0[shuffled], b1[shuffled]
    near = np.linalg.norm(a0[:, None] - b0, axis=2) <= 0.01
    near &= np.linalg.norm(a1[:, None] - b1, axis=2) <= 0.01
    expected = near.any(axis=1)
    assert 50 < expected.sum() < 400
    np.testing.assert_array_equal(contained((a0, a1), (b0, b1)), expected)


def test_the_bars() -> None:
    a0, a1 = some_matches(1000)
    assert compare((a0, a1), (a0[::-1], a1[::-1])).passed
    missing = compare((a0, a1), (a0[6:], a1[6:]))
    assert missing.found == pytest.approx(0.994)
    assert missing.extra == 0
    assert not missing.passed
    more = np.vstack([a0, a0[:6]]), np.vstack([a1, a1[:6] + 100])
    assert compare((a0, a1), more).extra == pytest.approx(0.006)
    assert not compare((a0, a1), more).passed
    moved = a1.copy()
    moved[:, 1] += 0.02
    assert compare((a0, a1), (a0, moved)).found == 0


def test_no_matches_at_all() -> None:
    none = np.zeros((0, 2)), np.zeros((0, 2))
    assert compare(none, none).passed
    assert not compare(none, some_matches()).passed
    assert not compare(some_matches(), none).passed
