"""Windowed nearest neighbours against a plain search, cell by cell."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gcm.refinement import windowed
from gcm.refinement.dense import CellMatches, dense_match
from gcm.refinement.maps import DenseMap
from gcm.refinement.windowed import windowed_match


def local_match(map0: torch.Tensor, map1: torch.Tensor, **options: Any) -> CellMatches:
    return windowed_match(DenseMap(map0, 8), DenseMap(map1, 8), **options)


def maps(height: int, width: int, *, seed: int = 0, noise: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    map0 = torch.randn(16, height, width, generator=generator)
    return map0, map0 + noise * torch.randn(16, height, width, generator=generator)


def pairs(matches: object) -> set[tuple[int, ...]]:
    return set(map(tuple, torch.cat([matches.cells0, matches.cells1], 1).tolist()))  # type: ignore[attr-defined]


def test_a_window_over_everything_is_the_dense_match() -> None:
    map0, map1 = maps(7, 9)
    assert pairs(local_match(map0, map1, radius=9)) == pairs(
        dense_match(DenseMap(map0, 8), DenseMap(map1, 8), threshold=1.0)
    )


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_against_loops(radius: int) -> None:
    map0, map1 = maps(8, 10, noise=2.0)
    a, b = (torch.nn.functional.normalize(m, dim=0) for m in (map0, map1))
    best: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {}
    best1: dict[tuple[int, int], float] = {}
    for y in range(8):
        for x in range(10):
            for v in range(max(0, y - radius), min(8, y + radius + 1)):
                for u in range(max(0, x - radius), min(10, x + radius + 1)):
                    score = float(a[:, y, x] @ b[:, v, u])
                    if score > best.get((x, y), (-9.0, (0, 0)))[0]:
                        best[x, y] = (score, (u, v))
                    best1[u, v] = max(score, best1.get((u, v), -9.0))
    expected = {
        (x, y, *at)
        for (x, y), (score, at) in best.items()
        if score >= best1[at] - 1e-6 and 0 < x < 9 and 0 < y < 7 and 0 < at[0] < 9 and 0 < at[1] < 7
    }
    assert pairs(local_match(map0, map1, radius=radius)) == expected


@pytest.mark.parametrize("chunk", [1, 7, 10**6])
def test_in_parts_the_same_is_found(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    map0, map1 = maps(8, 10, noise=2.0)
    whole = local_match(map0, map1, radius=2)
    monkeypatch.setattr(windowed, "_CHUNK", chunk)
    parts = local_match(map0, map1, radius=2)
    assert pairs(parts) == pairs(whole)
    torch.testing.assert_close(parts.distance, whole.distance)


def test_centres_move_the_window() -> None:
    map0, _ = maps(12, 14)
    map1 = torch.roll(map0, (3, -4), dims=(1, 2))
    ys, xs = torch.meshgrid(torch.arange(12), torch.arange(14), indexing="ij")
    centres = torch.stack([xs - 4, ys + 3], dim=-1)
    centres[xs < 4] = -1  # these left the map
    found = local_match(map0, map1, radius=1, centres=centres)
    assert len(found) > 30
    assert (found.cells1 - found.cells0 == torch.tensor([-4, 3])).all()
    assert len(local_match(map0, map1, radius=1, centres=torch.full_like(centres, -1))) == 0


def test_maps_of_other_sizes_and_too_small() -> None:
    map0, _ = maps(12, 14)
    found = local_match(map0, map0[:, :9, :10], radius=1)
    assert (found.cells0 == found.cells1).all()
    assert found.cells1.max(dim=0).values.tolist() == [8, 7]
    assert len(local_match(map0[:, :2], map0, radius=1)) == 0


def test_flat_maps_match_nothing() -> None:
    flat = torch.ones(4, 6, 6)
    assert len(local_match(flat, flat, radius=2)) == 0
