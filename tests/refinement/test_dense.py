"""The dense match against a plain reading of docs/method.md, "Dense match"."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gcm.refinement import dense
from gcm.refinement.dense import CellMatches, ratio, top_two
from gcm.refinement.maps import DenseMap


def dense_match(map0: torch.Tensor, map1: torch.Tensor, **options: Any) -> CellMatches:
    return dense.dense_match(DenseMap(map0, 8), DenseMap(map1, 8), **options)


def mutual_match(map0: torch.Tensor, map1: torch.Tensor, **options: Any) -> CellMatches:
    return dense.mutual_match(DenseMap(map0, 8), DenseMap(map1, 8), **options)


def random_map(seed: int, height: int, width: int, channels: int = 8) -> torch.Tensor:
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed))


def reference(
    map0: torch.Tensor, map1: torch.Tensor, threshold: float, bidirectional: bool
) -> list[tuple[int, int, int, int]]:
    """Section 3, cell by cell, in double precision."""

    def unit(feature_map: torch.Tensor) -> NDArray[np.float64]:
        flat = feature_map.double().numpy().reshape(feature_map.shape[0], -1).T
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    (_, h0, w0), (_, h1, w1) = map0.shape, map1.shape
    distance = 2 - 2 * unit(map0) @ unit(map1).T
    matches = []
    for i in range(h0 * w0):
        j = int(np.argmin(distance[i]))
        if int(np.argmin(distance[:, j])) != i:
            continue
        first, second = np.sort(distance[i])[:2]
        if first / (second + 1e-8) > threshold:
            continue
        first, second = np.sort(distance[:, j])[:2]
        if bidirectional and first / (second + 1e-8) > threshold:
            continue
        (y0, x0), (y1, x1) = divmod(i, w0), divmod(j, w1)
        if x0 in (0, w0 - 1) or y0 in (0, h0 - 1) or x1 in (0, w1 - 1) or y1 in (0, h1 - 1):
            continue
        matches.append((x0, y0, x1, y1))
    return matches


def rows(matches: CellMatches) -> list[tuple[int, ...]]:
    return [tuple(row) for row in torch.cat([matches.cells0, matches.cells1], 1).tolist()]


@pytest.mark.parametrize("threshold", [0.6, 0.9, 1.0])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_agrees_with_the_specification(threshold: float, bidirectional: bool) -> None:
    map0, map1 = random_map(0, 9, 11), random_map(1, 13, 8)
    # A part of map 1 resembles map 0, so that ratios of all kinds occur.
    map1[:, 2:8, 1:7] = map0[:, 1:7, 3:9] + 0.6 * map1[:, 2:8, 1:7]
    found = dense_match(map0, map1, threshold=threshold, bidirectional=bidirectional)
    expected = reference(map0, map1, threshold, bidirectional)
    assert len(expected) >= 5
    assert rows(found) == expected


def test_the_ratio_test_of_the_second_direction_matters() -> None:
    map0, map1 = random_map(0, 9, 11), random_map(1, 13, 8)
    both = dense_match(map0, map1, threshold=0.9)
    one = dense_match(map0, map1, threshold=0.9, bidirectional=False)
    assert set(rows(both)) < set(rows(one))


def test_one_keeps_every_mutual_pair() -> None:
    map0, map1 = random_map(2, 12, 12), random_map(3, 12, 12)
    forward, backward = top_two(*(torch.nn.functional.normalize(m.flatten(1).T, dim=1) for m in (map0, map1)))
    mutual = [i for i, j in enumerate(forward.index.tolist()) if backward.index[j] == i]

    def inner(cell: int) -> bool:
        return 0 < cell % 12 < 11 and 0 < cell // 12 < 11

    expected = [i for i in mutual if inner(i) and inner(int(forward.index[i]))]
    found = dense_match(map0, map1, threshold=1.0)
    assert (found.cells0[:, 1] * 12 + found.cells0[:, 0]).tolist() == expected
    assert len(expected) > 10


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    sides=st.tuples(*[st.integers(3, 9)] * 4),
    rows_at_once=st.integers(0, 80),
)
def test_blocks_equal_no_blocks(seed: int, sides: tuple[int, int, int, int], rows_at_once: int) -> None:
    h0, w0, h1, w1 = sides
    map0, map1 = random_map(seed, h0, w0), random_map(seed + 1, h1, w1)
    whole = dense_match(map0, map1, threshold=1.0)
    blocks = dense_match(map0, map1, threshold=1.0, budget=rows_at_once * h1 * w1 * 4)
    assert rows(blocks) == rows(whole)
    torch.testing.assert_close(blocks.ratio, whole.ratio, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(blocks.distance, whole.distance, rtol=1e-4, atol=1e-5)


def test_blocks_keep_the_first_of_equal_ones() -> None:
    # Rows that repeat after the first block must not take over, nor lose their place as runner-up.
    a = torch.eye(4).repeat(3, 1)
    b = torch.eye(4)
    for budget in (16, 5 * 16, 10**6):
        forward, backward = top_two(a, b, budget=budget)
        assert forward.index.tolist() == [0, 1, 2, 3] * 3
        assert backward.index.tolist() == [0, 1, 2, 3]
        assert backward.second.tolist() == [1.0] * 4
        assert forward.second.tolist() == [0.0] * 12


def test_memory_stays_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.nn.functional.normalize(torch.randn(100, 4), dim=1), torch.eye(4).repeat(25, 1)
    largest = 0
    original = torch.Tensor.__matmul__

    def watched(self: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        product = original(self, other)
        largest = max(largest, product.numel() * product.element_size())
        return product

    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    top_two(a, b, budget=4000)
    assert 0 < largest <= 4000


@pytest.mark.parametrize("bidirectional", [True])
@pytest.mark.parametrize("threshold", [0.8, 1.0])
def test_swapping_the_maps_swaps_the_matches(bidirectional: bool, threshold: float) -> None:
    map0, map1 = random_map(4, 10, 7), random_map(5, 8, 12)
    there = dense_match(map0, map1, threshold=threshold, bidirectional=bidirectional)
    back = dense_match(map1, map0, threshold=threshold, bidirectional=bidirectional)
    assert len(there) > 2
    swapped = [(*row[2:], *row[:2]) for row in rows(back)]
    assert sorted(swapped) == sorted(rows(there))


def test_no_match_touches_a_border_of_either_map() -> None:
    feature_map = random_map(6, 6, 5)
    found = dense_match(feature_map, feature_map, threshold=1.0)
    inner = [(x, y, x, y) for y in range(1, 5) for x in range(1, 4)]
    assert rows(found) == inner
    # The same content moved by one cell: what was inside is now on the border of map 1.
    moved = torch.roll(feature_map, shifts=(-1, -1), dims=(1, 2))
    found = dense_match(feature_map, moved, threshold=1.0)
    assert rows(found) == [(x, y, x - 1, y - 1) for y in range(2, 5) for x in range(2, 4)]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (2, 30)])
def test_maps_that_are_all_border_have_no_matches(shape: tuple[int, int]) -> None:
    tiny, big = random_map(7, *shape), random_map(8, 9, 9)
    for a, b in ((tiny, big), (big, tiny), (tiny, tiny)):
        found = dense_match(a, b, threshold=1.0)
        assert len(found) == 0
        assert found.cells0.shape == (0, 2)
        assert found.cells0.dtype == torch.int64


def test_smallest_map_with_an_inside() -> None:
    feature_map = random_map(9, 3, 3)
    assert rows(dense_match(feature_map, feature_map, threshold=0.5)) == [(1, 1, 1, 1)]


def test_descriptors_are_normalised_first() -> None:
    map0, map1 = random_map(10, 8, 8), random_map(11, 8, 8)
    scale = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    assert rows(dense_match(map0 * scale, 7 * map1, threshold=0.95)) == rows(
        dense_match(map0, map1, threshold=0.95)
    )


def test_distance_and_ratio_are_those_of_the_specification() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    b = torch.tensor([[0.8, 0.6], [0.6, 0.8]])
    forward, backward = top_two(a, b)
    np.testing.assert_allclose(ratio(forward.best, forward.second), [0.4 / 0.8] * 2, rtol=1e-5)
    np.testing.assert_allclose(ratio(backward.best, backward.second), [0.4 / 0.8] * 2, rtol=1e-5)


def test_minus_one_turns_the_ratio_test_off() -> None:
    map0, map1 = random_map(12, 9, 9), random_map(13, 9, 9)
    assert rows(dense_match(map0, map1, threshold=-1)) == rows(dense_match(map0, map1, threshold=1))


def test_equally_good_cells_are_no_match_unless_compat() -> None:
    """A cell that occurs twice in map 1 has two equally good matches: neither is right."""
    map0 = random_map(14, 5, 9)
    map1 = map0.clone()
    map1[:, 2, 6] = map0[:, 2, 2]
    unique = [(x, y, x, y) for y in range(1, 4) for x in range(1, 8) if (x, y) not in {(2, 2), (6, 2)}]
    assert rows(dense_match(map0, map1, threshold=1.0)) == unique
    assert (2, 2, 2, 2) in rows(dense_match(map0, map1, threshold=1.0, compat=True))


def test_maps_without_any_difference_have_no_matches() -> None:
    flat = torch.ones(8, 9, 9)
    noisy = flat + 1e-7 * random_map(15, 9, 9)
    for a, b in ((flat, flat), (flat, noisy), (noisy, noisy)):
        assert len(dense_match(a, b, threshold=1.0)) == 0


@pytest.mark.parametrize("columns", [1, 30, 2**11])
@pytest.mark.parametrize("budget", [1, 5000, 10**7])
def test_without_a_ratio_test_the_same_pairs_faster(
    budget: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "_BLOCK_COLUMNS", columns)
    generator = torch.Generator().manual_seed(5)
    map0 = torch.randn(16, 12, 15, generator=generator)
    map1 = map0[:, 1:, :-2] + 0.7 * torch.randn(16, 11, 13, generator=generator)
    map1[:, 4, 5] = map1[:, 6, 6]  # equally good for whatever they match
    expected = dense_match(map0, map1, threshold=1.0)
    found = mutual_match(map0, map1, budget=budget)
    assert len(found) > 50
    for field in ("cells0", "cells1", "distance"):
        torch.testing.assert_close(getattr(found, field), getattr(expected, field))
    flat = torch.ones(4, 6, 6)
    assert len(mutual_match(flat, flat)) == 0
    assert len(mutual_match(map0[:, :2], map1)) == 0


def test_matches_know_their_stride_and_their_points() -> None:
    feature_map = DenseMap(random_map(5, 6, 7), 8)
    matches = dense.dense_match(feature_map, feature_map, threshold=1.0)
    assert matches.stride == 8
    points0, points1 = matches.points()
    np.testing.assert_array_equal(points0, (matches.cells0.numpy() + 0.5) * 8 - 0.5)
    np.testing.assert_array_equal(points0, points1)
    assert matches.take(torch.arange(3)).stride == 8
    with pytest.raises(ValueError, match="strides 8 and 4"):
        dense.dense_match(feature_map, DenseMap(random_map(5, 6, 7), 4), threshold=1.0)


@pytest.mark.parametrize("slack", [1, 2])
@pytest.mark.parametrize(("budget", "columns"), [(64, 2**11), (2**22, 2**11), (2**11, 40), (100, 7)])
def test_slack_keeps_cells_beside_mutual_ones(
    slack: int, budget: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the definition, cell by cell, the same when the maps are swapped, in blocks of any shape."""
    monkeypatch.setattr(dense, "_BLOCK_COLUMNS", columns)
    map0, map1 = random_map(5, 9, 11), random_map(6, 8, 12)
    strict = {tuple(row) for row in rows(mutual_match(map0, map1))}
    found = mutual_match(map0, map1, slack=slack, budget=budget)
    got = {tuple(row) for row in rows(found)}
    similarity = DenseMap(map0, 8).flat() @ DenseMap(map1, 8).flat().T
    nearest0, nearest1 = similarity.argmax(dim=1), similarity.argmax(dim=0)

    def cell(number: int, width: int) -> tuple[int, int]:
        return number % width, number // width

    def close(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return abs(a[0] - b[0]) <= slack and abs(a[1] - b[1]) <= slack

    expected = set()
    for i, j in enumerate(nearest0.tolist()):
        own, other = cell(i, 11), cell(int(nearest1[j]), 11)
        if int(nearest0[nearest1[j]]) == j and close(own, other):
            expected.add((*own, *cell(j, 12)))
    for j, i in enumerate(nearest1.tolist()):
        own, other = cell(j, 12), cell(int(nearest0[i]), 12)
        if int(nearest1[nearest0[i]]) == i and close(own, other):
            expected.add((*cell(i, 11), *own))
    inner = {
        row for row in expected if 0 < row[0] < 10 and 0 < row[1] < 8 and 0 < row[2] < 11 and 0 < row[3] < 7
    }
    assert strict <= got
    assert got == inner
    swapped = {(*row[2:], *row[:2]) for row in rows(mutual_match(map1, map0, slack=slack))}
    assert swapped == got
    order = [row[1] * 11 + row[0] for row in rows(found)]
    assert order == sorted(order)


def test_swapped_matches_change_places() -> None:
    found = mutual_match(random_map(1, 9, 9), random_map(2, 9, 9))
    assert [(*row[2:], *row[:2]) for row in rows(found)] == rows(found.swapped())
