"""Cutting lists: every pair once, alike everywhere, and few images in two parts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scale.__main__ import places
from gcm.benchmark.pairs import Pair
from gcm.errors import UsageError
from gcm.scale.cut import computed_features, cut_pairs, image_numbers
from gcm.scene.pair_lists import sequential, similar

ROOT = Path(__file__).resolve().parents[2]


def listed(indices: list[tuple[int, int]], root: str = "photos") -> list[Pair]:
    images = [Path(root, f"{k:05}.jpg") for k in range(1 + max(map(max, indices)))]
    return [Pair(images[i], images[j], None, f"{i}_{j}") for i, j in indices]


def shuffled(indices: list[tuple[int, int]], seed: int = 0) -> list[tuple[int, int]]:
    """The same list with the photos in another order, so that the order tells nothing."""
    order = np.random.default_rng(seed).permutation(1 + max(map(max, indices))).tolist()
    return sorted((min(order[i], order[j]), max(order[i], order[j])) for i, j in indices)


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_every_pair_is_in_one_part(count: int) -> None:
    pairs = listed(shuffled(sequential(120, 8)))
    cut = cut_pairs(pairs, count)
    assert sorted(k for part in cut.parts for k in part) == list(range(len(pairs)))
    sizes = [len(part) for part in cut.parts]
    assert len(sizes) == count
    mean = len(pairs) / count
    assert max(sizes) - min(sizes) <= (1 if mean < 200 else 0.2 * mean)
    ends = image_numbers(pairs)
    assert list(cut.part_images) == [len({i for k in part for i in ends[k]}) for part in cut.parts]
    assert cut.images == 120
    assert cut.factor == pytest.approx(sum(cut.part_images) / 120)


def test_more_parts_than_pairs_leave_some_empty() -> None:
    cut = cut_pairs(listed([(0, 1), (1, 2)]), 5)
    assert sorted(map(len, cut.parts)) == [0, 0, 0, 1, 1]
    assert cut_pairs([], 3).parts == ((), (), ())
    with pytest.raises(UsageError, match="1 or more"):
        cut_pairs(listed([(0, 1)]), 0)


def test_the_cut_is_the_same_wherever_the_photos_lie() -> None:
    indices = shuffled(sequential(60, 5))
    assert cut_pairs(listed(indices), 4) == cut_pairs(listed(indices, "/mnt/nfs/other place"), 4)
    code = (
        "from pathlib import Path\n"
        "from gcm.benchmark.pairs import Pair\n"
        "from gcm.scale.cut import cut_pairs\n"
        f"pairs = [Pair(Path(f'{{i}}'), Path(f'{{j}}')) for i, j in {indices}]\n"
        "print(cut_pairs(pairs, 4).parts)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)},
    )
    assert run.stdout.strip() == str(cut_pairs(listed(indices), 4).parts)


def test_a_photo_paired_with_itself_and_a_pair_in_both_orders() -> None:
    cut = cut_pairs(listed([(0, 0), (0, 1), (1, 0), (2, 2)]), 2)
    assert sorted(k for part in cut.parts for k in part) == [0, 1, 2, 3]


def test_what_hangs_together_stays_together() -> None:
    """Four groups of photos, every pair of a group: no photo is in two parts."""
    group = [(i, j) for i in range(12) for j in range(i + 1, 12)]
    indices = [(12 * g + i, 12 * g + j) for g in range(4) for i, j in group]
    assert cut_pairs(listed(shuffled(indices)), 4).factor == 1


def test_an_image_s_pairs_lie_close_in_a_part() -> None:
    pairs = listed(shuffled(sequential(400, 10)))
    ends = image_numbers(pairs)
    (part,) = cut_pairs(pairs, 1).parts
    assert computed_features(ends, 32) > 2000
    assert computed_features((ends[k] for k in part), 32) < 440


@pytest.mark.parametrize(("kept", "computed"), [(2, 5), (3, 3), (10, 3)])
def test_features_are_counted_as_a_cache_computes_them(kept: int, computed: int) -> None:
    assert computed_features([(0, 1), (1, 2), (2, 0), (0, 1)], kept) == computed


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("make", "most"),
    [(lambda: sequential(5000, 20), 1.3), (lambda: similar(places(50), 20), 1.5)],
    ids=["sequence", "places"],
)
def test_a_city_s_list_is_cut_well(make: Callable[[], list[tuple[int, int]]], most: float) -> None:
    """5000 photos, 100 000 pairs, 64 shards; a sequence, and the likest of 50 places."""
    indices = make()
    assert 99_000 < len(indices) <= 100_000
    cut = cut_pairs(listed(shuffled(indices)), 64)
    mean = len(indices) / 64
    assert all(0.9 * mean <= len(part) <= 1.1 * mean for part in cut.parts)
    assert 1 <= cut.factor <= most
