"""Hierarchical refinement against a literal, match-by-match reading of docs/method.md, "Refinement"."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcm.refinement import hierarchical
from gcm.refinement.dense import CellMatches
from gcm.refinement.maps import DenseMap

Row = tuple[int, int, int, int]


def refine(
    matches: CellMatches, map0: torch.Tensor, map1: torch.Tensor, *, stride_ratio: int = 2, **options: Any
) -> CellMatches:
    """To maps of stride 1."""
    matches = replace(matches, stride=stride_ratio)
    refined = hierarchical.refine(matches, DenseMap(map0, 1), DenseMap(map1, 1), **options)
    assert refined.stride == 1
    return refined


def coarse_matches(count: int, height: int, width: int, seed: int) -> CellMatches:
    rng = np.random.default_rng(seed)

    def cells() -> torch.Tensor:
        return torch.from_numpy(np.stack([rng.integers(0, width, count), rng.integers(0, height, count)], 1))

    return CellMatches(cells(), cells(), torch.rand(count), torch.rand(count), 2)


def fine_maps(height: int, width: int, seed: int, channels: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(channels, height, width, generator=generator),
        torch.randn(channels, height, width, generator=generator),
    )


def reference(
    matches: CellMatches,
    map0: torch.Tensor,
    map1: torch.Tensor,
    r: int,
    t: float,
    bidirectional: bool,
    compat: bool,
) -> list[tuple[Row, float, float]]:
    """Section 5 with plain loops and doubles: ((x0, y0, x1, y1), distance, ratio)."""

    def unit(feature_map: torch.Tensor) -> np.ndarray:
        v = feature_map.double().numpy().transpose(2, 1, 0)  # x, y, channel
        return v / np.linalg.norm(v, axis=2, keepdims=True)

    def two_best(values: list[float]) -> tuple[int, float]:
        order = sorted(range(len(values)), key=lambda k: values[k])
        return order[0], values[order[0]] / (values[order[1]] + 1e-8)

    unit0, unit1 = unit(map0), unit(map1)
    steps = [(dx, dy) for dx in range(r) for dy in range(r)]
    result: list[tuple[Row, float, float]] = []
    for (x0, y0), (x1, y1) in zip(matches.cells0.tolist(), matches.cells1.tolist(), strict=True):
        of_a = [(x0 * r + dx, y0 * r + dy) for dx, dy in steps]
        of_c = [(x1 * r + dx, y1 * r + dy) for dx, dy in steps]
        d = [[2 - 2 * float(unit0[a] @ unit1[c]) for c in of_c] for a in of_a]
        best_of_a = [two_best(d[a]) for a in range(r * r)]
        best_of_c = [two_best([d[a][c] for a in range(r * r)]) for c in range(r * r)]
        survivors = []
        for a in range(r * r):
            c, ratio_a = best_of_a[a]
            ratio_c = best_of_c[a if compat else c][1]
            worst = max(ratio_a, ratio_c) if bidirectional else ratio_a
            mutual = best_of_c[c][0] == a
            if t == -1 or (mutual and worst < t):
                survivors.append((d[a][c], a, c, worst))
        for distance, a, c, worst in sorted(sorted(survivors)[:2], key=lambda s: s[1]):
            result.append(((*of_a[a], *of_c[c]), distance, worst))
    if compat and len(result) < 4 <= len(matches):
        return [
            ((x0 * r, y0 * r, x1 * r, y1 * r), float(distance), float(ratio))
            for (x0, y0), (x1, y1), distance, ratio in zip(
                matches.cells0.tolist(), matches.cells1.tolist(), matches.distance, matches.ratio, strict=True
            )
        ]
    return result


def rows(matches: CellMatches) -> list[Row]:
    return [(a, b, c, d) for a, b, c, d in torch.cat([matches.cells0, matches.cells1], 1).tolist()]


@pytest.mark.parametrize("compat", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("r", [2, 3, 4])
@pytest.mark.parametrize("t", [0.6, 0.9, 1.0, -1])
def test_agrees_with_the_specification(r: int, t: float, bidirectional: bool, compat: bool) -> None:
    matches = coarse_matches(40, 6, 5, seed=r)
    map0, map1 = fine_maps(6 * r, 5 * r, seed=10 + r)
    map1 = 0.6 * map1 + map0.flip(2)
    found = refine(
        matches, map0, map1, stride_ratio=r, threshold=t, bidirectional=bidirectional, compat=compat
    )
    expected = reference(matches, map0, map1, r, t, bidirectional, compat)
    assert len(expected) > 4
    assert rows(found) == [row for row, _, _ in expected]
    np.testing.assert_allclose(found.distance, [d for _, d, _ in expected], atol=2e-6)
    np.testing.assert_allclose(found.ratio, [ratio for _, _, ratio in expected], atol=2e-5)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    r=st.integers(2, 4),
    t=st.sampled_from([0.5, 0.8, 1.0, -1.0]),
    bidirectional=st.booleans(),
    compat=st.booleans(),
    count=st.integers(0, 7),
)
def test_agrees_with_the_specification_everywhere(
    seed: int, r: int, t: float, bidirectional: bool, compat: bool, count: int
) -> None:
    matches = coarse_matches(count, 3, 4, seed)
    map0, map1 = fine_maps(3 * r, 4 * r, seed)
    found = refine(
        matches, map0, map1, stride_ratio=r, threshold=t, bidirectional=bidirectional, compat=compat
    )
    assert rows(found) == [row for row, _, _ in reference(matches, map0, map1, r, t, bidirectional, compat)]


def test_the_two_settings_read_different_ratios() -> None:
    matches = coarse_matches(60, 6, 6, seed=3)
    map0, map1 = fine_maps(12, 12, seed=4)
    exact = refine(matches, map0, map1, threshold=0.7, compat=True)
    proper = refine(matches, map0, map1, threshold=0.7, compat=False)
    assert rows(exact) != rows(proper)


def test_children_come_column_by_column() -> None:
    """(dx, dy) = (0,0), (0,1), (1,0), (1,1), which the published code's slot quirk depends on."""
    cells = hierarchical._children(torch.tensor([[3, 5]]), 2)
    assert cells.tolist() == [[[6, 10], [6, 11], [7, 10], [7, 11]]]


def test_identical_maps_keep_cells_in_place() -> None:
    map0, _ = fine_maps(8, 8, seed=5)
    cells = torch.tensor([[1, 2], [3, 0]])
    matches = CellMatches(cells, cells, torch.zeros(2), torch.zeros(2), 2)
    found = refine(matches, map0, map0, threshold=0.9)
    assert len(found) == 4  # at most two a match, though all four children agree
    assert torch.equal(found.cells0, found.cells1)


@pytest.mark.parametrize(("count", "fallback"), [(3, False), (4, True), (9, True)])
def test_fewer_than_four_survivors(count: int, fallback: bool) -> None:
    matches = coarse_matches(count, 4, 4, seed=6)
    map0, map1 = fine_maps(8, 8, seed=7)
    strict = 1e-6  # nothing passes
    assert len(refine(matches, map0, map1, threshold=strict, compat=False)) == 0
    exact = refine(matches, map0, map1, threshold=strict, compat=True)
    if fallback:
        assert rows(exact) == [tuple(2 * v for v in row) for row in rows(matches)]
        assert torch.equal(exact.ratio, matches.ratio)
    else:
        assert len(exact) == 0


@pytest.mark.parametrize("chunk", [1, 7, 64])
@pytest.mark.parametrize("compat", [True, False])
def test_chunks_equal_no_chunks(monkeypatch: pytest.MonkeyPatch, chunk: int, compat: bool) -> None:
    matches = coarse_matches(50, 6, 6, seed=8)
    map0, map1 = fine_maps(12, 12, seed=9)
    whole = refine(matches, map0, map1, threshold=0.9, compat=compat)
    monkeypatch.setattr(hierarchical, "_CHUNK", chunk)
    parts = refine(matches, map0, map1, threshold=0.9, compat=compat)
    assert rows(parts) == rows(whole)
    torch.testing.assert_close(parts.ratio, whole.ratio, rtol=1e-4, atol=1e-5)


def test_the_fall_back_counts_all_chunks_together(monkeypatch: pytest.MonkeyPatch) -> None:
    matches = coarse_matches(50, 6, 6, seed=8)
    map0, map1 = fine_maps(12, 12, seed=9)
    monkeypatch.setattr(hierarchical, "_CHUNK", 2)  # every chunk alone has fewer than 4 survivors
    found = refine(matches, map0, map1, threshold=0.5, compat=True)
    assert 4 <= len(found) < 50


def test_swapping_the_maps_swaps_the_matches() -> None:
    matches = coarse_matches(60, 5, 5, seed=11)
    swapped = CellMatches(matches.cells1, matches.cells0, matches.distance, matches.ratio, 2)
    map0, map1 = fine_maps(10, 10, seed=12)
    there = refine(matches, map0, map1, threshold=0.95, compat=False)
    back = refine(swapped, map1, map0, threshold=0.95, compat=False)
    assert len(there) > 10
    assert sorted((c, d, a, b) for a, b, c, d in rows(back)) == sorted(rows(there))


def test_the_threshold_is_exclusive() -> None:
    # One pixel of A against four of C at known distances: best 1, second 2, ratio 0.5.
    map0 = torch.zeros(3, 2, 2)
    map0[0] = 1
    map1 = torch.zeros(3, 2, 2)
    map1[1] = 1  # squared distance 2
    map1[:, 0, 0] = torch.tensor([0.5, 0.0, math.sqrt(0.75)])  # squared distance 1
    zero = torch.zeros((1, 2), dtype=torch.int64)
    matches = CellMatches(zero, zero, torch.zeros(1), torch.zeros(1), 2)
    # All of A's pixels are equal here, which `compat` puts up with.
    just = refine(matches, map0, map1, threshold=0.5 + 1e-4, bidirectional=False, compat=True)
    assert len(just) == 1
    value = float(just.ratio[0])
    assert value == pytest.approx(0.5, abs=1e-6)
    assert len(refine(matches, map0, map1, threshold=value, bidirectional=False, compat=True)) == 0
    assert len(refine(matches, map0, map1, threshold=0.9, bidirectional=False, compat=False)) == 0


def test_nothing_in_nothing_out() -> None:
    map0, map1 = fine_maps(8, 8, seed=0)
    assert len(refine(CellMatches.empty(2), map0, map1, threshold=0.9, compat=True)) == 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_memory_layout_does_not_matter(layout: torch.memory_format) -> None:
    matches = coarse_matches(30, 6, 6, seed=1)
    map0, map1 = fine_maps(12, 12, seed=2)
    expected = refine(matches, map0, map1, threshold=0.95)
    laid_out = [m[None].contiguous(memory_format=layout)[0] for m in (map0, map1)]
    assert rows(refine(matches, *laid_out, threshold=0.95)) == rows(expected)
