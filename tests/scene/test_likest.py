"""Photos are paired with those that show the same, not with those that look alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from textures import texture
from typer.testing import CliRunner

from gcm.benchmark.pairs import read_pairs
from gcm.errors import UsageError
from gcm.images.files import write_image
from gcm.scene.pair_lists import exhaustive, similar
from gcm.scene.reranking import cells_in_common
from gcm.scene.similarity import likest_pairs
from gcm_cli.app import app

PHOTOS = 12


@pytest.fixture(scope="module")
def objects() -> list[NDArray[np.uint8]]:
    """Photos 2 k and 2 k + 1 show one object, at two places, before one of three backgrounds."""
    photos = []
    for k in range(PHOTOS):
        photo = np.roll(texture(100 + k % 3), 7 * k, axis=1).copy()
        y, x = (50, 85) if k % 2 else (10, 15)
        photo[y : y + 120, x : x + 160] = texture(k // 2)[:120, :160]
        photos.append(photo)
    return photos


def listed(photos: Path, output: Path, *options: str) -> tuple[set[tuple[str, ...]], str]:
    """The pairs that `gcm pairs` lists, by the photos' names, and what it says."""
    arguments = ["pairs", str(photos), "-o", str(output), "--method", "similar", *options]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.stderr
    return {tuple(sorted((p.image0.stem, p.image1.stem))) for p in read_pairs(output)}, done.stderr


def test_photos_of_one_object_are_paired_whatever_is_behind_it(
    objects: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    for number, photo in enumerate(objects):
        write_image(tmp_path / "photos" / f"{number:02}.png", photo)
        write_image(tmp_path / "renamed" / f"{PHOTOS - 1 - number:02}.png", photo)
    pairs, said = listed(tmp_path / "photos", tmp_path / "pairs.txt", "-k", "2")
    assert {(f"{k:02}", f"{k + 1:02}") for k in range(0, PHOTOS, 2)} <= pairs
    assert len(pairs) <= 2 * PHOTOS
    assert f"{len(pairs)} pairs of {PHOTOS} photos (similar)" in said
    assert listed(tmp_path / "photos", tmp_path / "again.txt", "-k", "2")[0] == pairs
    # Called otherwise, and so in another order, the same photos make the same pairs.
    renamed, _ = listed(tmp_path / "renamed", tmp_path / "renamed.txt", "-k", "2")
    back = {tuple(sorted(f"{PHOTOS - 1 - int(name):02}" for name in pair)) for pair in renamed}
    assert back == pairs


def test_extract_matches_the_same_pairs(objects: list[NDArray[np.uint8]], tmp_path: Path) -> None:
    for number, photo in enumerate(objects[:6]):
        write_image(tmp_path / "photos" / f"{number:02}.png", photo)
    pairs, _ = listed(tmp_path / "photos", tmp_path / "pairs.txt", "-k", "1")
    arguments = ["extract", "--images", str(tmp_path / "photos"), "--method", "similar", "-k", "1"]
    arguments += ["--output-dir", str(tmp_path / "matches"), "--json", "--set", "finest_stride=4"]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["done"] == len(pairs)
    matched = read_pairs(tmp_path / "matches/pairs.txt")
    assert {tuple(sorted((pair.image0.stem, pair.image1.stem))) for pair in matched} == pairs


def unit(values: NDArray[np.float64]) -> NDArray[np.float16]:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture
def cells() -> list[NDArray[np.float16]]:
    """Of 40 photos: 30 cells of sky that all share, and 10 that only photos 2 k and 2 k + 1 share."""
    rng = np.random.default_rng(0)
    sky, own = rng.normal(size=(30, 16)), rng.normal(size=(20, 10, 16))
    photos = [np.concatenate([sky, own[k // 2]]) for k in range(40)]
    return [unit(photo + rng.normal(0, 0.2, photo.shape))[: 40 - k % 3] for k, photo in enumerate(photos)]


def test_what_every_photo_shows_counts_for_nothing(cells: list[NDArray[np.float16]]) -> None:
    pairs = np.array(exhaustive(40))
    worth = cells_in_common(cells, pairs)
    together = pairs[:, 0] // 2 == pairs[:, 1] // 2
    assert worth[together].min() > 2 * worth[~together].max()
    assert worth.min() >= 0
    # Photos are compared, not put in order.
    np.testing.assert_allclose(cells_in_common(cells, pairs[:, ::-1].copy()), worth, rtol=1e-4)


def test_the_order_of_photos_does_not_matter(cells: list[NDArray[np.float16]]) -> None:
    order = np.random.default_rng(3).permutation(40).tolist()
    pairs = likest_pairs(cells, 3, [4, 7, 20])
    assert {(4, 5), (6, 7), (20, 21)} <= set(pairs)
    assert all({4, 7, 20} & set(pair) for pair in pairs)
    shuffled = likest_pairs([cells[k] for k in order], 3, [order.index(k) for k in (4, 7, 20)])
    assert sorted((min(order[i], order[j]), max(order[i], order[j])) for i, j in shuffled) == pairs


def test_comparisons_are_counted_and_grow_with_the_photos(cells: list[NDArray[np.float16]]) -> None:
    told: list[tuple[int, int]] = []
    likest_pairs(cells, 1, on_compared=lambda done, total: told.append((done, total)))
    done, total = zip(*told, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == total[0] == total[-1]
    assert total[0] <= 40 + 30 * 40  # each photo, and the 30 likest of each


def test_few_photos(cells: list[NDArray[np.float16]]) -> None:
    assert likest_pairs(cells[:2], 10) == [(0, 1)]
    assert likest_pairs(cells[:1], 10) == []
    assert likest_pairs([cells[0]] * 3, 5) == exhaustive(3)  # copies of one photo
    assert likest_pairs(cells[:4], 2, asking=[]) == []
    with pytest.raises(UsageError, match="at least 1"):
        likest_pairs(cells, 0)


def test_pairs_are_chosen_by_the_closer_look() -> None:
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(9, 5)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    wanted = {(0, 8), (1, 7), (2, 6)}

    def compare(pairs: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([2.0 if tuple(pair) in wanted else 1.0 for pair in pairs.tolist()])

    assert wanted <= set(similar(descriptors, 1, compare=compare))
