"""What agreeing matches prove, and how sure a pair is made by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gcm.method.evidence import agreement, significance, surprise
from gcm.method.verdict import confidence_of, evidence_of
from gcm.method.working_matches import Precision, WorkingMatches
from gcm.options import ChanceOptions, EvidenceOptions, NeighbourOptions, VerdictOptions
from gcm.refinement.dense import CellMatches


def cells(first: np.ndarray, second: np.ndarray) -> CellMatches:
    distance = torch.zeros(len(first))
    return CellMatches(torch.from_numpy(first), torch.from_numpy(second), distance, distance, 8)


def grid(width: int, height: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)


def judge(first: np.ndarray, second: np.ndarray, **options: float) -> tuple[float, bool, int]:
    found = agreement(
        cells(first, second), NeighbourOptions(), EvidenceOptions(**options), 480, ChanceOptions()
    )
    return found.significance, found.tight, int(found.together.sum())


@pytest.mark.parametrize(("held", "total", "chance"), [(9, 9, 0.05), (3, 30, 0.02), (40, 100, 0.2)])
def test_surprise_bounds_the_binomial_tail(held: int, total: int, chance: float) -> None:
    """It never claims more than the exact probability, and not much less."""
    draws = np.random.default_rng(0).binomial(total, chance, 4_000_000)
    observed = np.mean(draws >= held)
    claimed = 10 ** -surprise(held, total, chance)
    assert claimed >= observed
    if observed > 1e-5:
        assert claimed < 20 * observed


def test_no_surprise_in_what_chance_does() -> None:
    assert surprise(5, 100, 0.05) == 0
    assert surprise(0, 0, 0.05) == 0
    assert surprise(9, 9, 0.05) == pytest.approx(9 * np.log10(20))


def test_significance_is_that_of_the_image_where_it_is_less() -> None:
    spread, corner = grid(20, 20) * 32.0, grid(20, 20) * 1.0
    all_of_them = np.ones(400, dtype=bool)
    wide = significance((spread, spread), all_of_them, block=32, chance=0.05)
    narrow = significance((spread, corner), all_of_them, block=32, chance=0.05)
    assert wide > 500
    assert narrow < 2
    assert significance((corner[:0], corner[:0]), all_of_them[:0], block=32, chance=0.05) == 0


def test_a_motion_is_significant_and_chance_is_not() -> None:
    places = grid(50, 40)
    moved, _, together = judge(places, places + np.array([3, 1]))
    assert moved > 100
    assert together > 1900
    shuffled = np.random.default_rng(1).permutation(places)
    assert judge(places, shuffled)[0] < 1


def test_what_mirrors_or_turns_too_far_proves_nothing() -> None:
    places = grid(50, 40)
    assert judge(places, places * np.array([-1, 1]) + np.array([49, 0]))[0] < 1
    quarter = np.stack([39 - places[:, 1], places[:, 0]], axis=1)
    assert judge(places, quarter)[0] < 1


def test_a_narrow_strip_is_found_among_accidents() -> None:
    """An eighth of the image agrees exactly; elsewhere matches lie anywhere."""
    rng = np.random.default_rng(2)
    first = grid(80, 60)
    second = rng.integers(0, (80, 60), (len(first), 2))
    strip = first[:, 0] >= 70
    second[strip] = first[strip] - np.array([69, 0])
    found, tight, together = judge(first, second)
    assert tight
    assert found > 5
    assert together == pytest.approx(strip.sum(), rel=0.1)


def test_confidence_grows_with_the_evidence() -> None:
    def view(number: int, share: float, kept: float, significance: float) -> WorkingMatches:
        points = np.zeros((number, 2))
        return WorkingMatches(
            None, points, points, points, np.ones(number), Precision(share, significance, kept)
        )

    options = VerdictOptions()
    assert confidence_of(evidence_of([], 50.0), options) == 0
    weak = confidence_of(evidence_of([view(300, 0.1, 0.5, 0.0)], 4.0), options)
    strong = confidence_of(evidence_of([view(3000, 0.6, 0.9, 40.0)], 100.0), options)
    assert 0 < weak < 0.5
    assert 0.95 < strong < 1
    for better in (
        confidence_of(evidence_of([view(300, 0.3, 0.5, 0.0)], 4.0), options),
        confidence_of(evidence_of([view(300, 0.1, 0.8, 0.0)], 4.0), options),
        confidence_of(evidence_of([view(300, 0.1, 0.5, 0.0)], 40.0), options),
    ):
        assert better > weak


def test_enlarged_images_prove_no_more() -> None:
    points = np.zeros((4000, 2))
    view = WorkingMatches(None, points, points, points, np.ones(4000), Precision(0.5, 3.0, 0.8))
    assert evidence_of([view], 9.0, zoom=2.0)["number"] == pytest.approx(np.log10(1001), abs=1e-3)
