"""Points that many photos show, from matches of pairs that share none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scene.made_scene import MadeScene, make_scene

from gcm.errors import DatasetError
from gcm.matches import Matches
from gcm.scene.collection import read_collection, verify_pairs
from gcm.scene.photos import list_photos
from gcm.scene.tracks import Tracks, tracks_of


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> MadeScene:
    return make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def tracks(scene: MadeScene) -> Tracks:
    photos = list_photos(scene.images)
    return tracks_of(verify_pairs(read_collection(scene.results, photos)))


def observations(tracks: Tracks) -> dict[int, list[tuple[int, np.ndarray]]]:
    seen: dict[int, list[tuple[int, np.ndarray]]] = {}
    for photo, (positions, numbers) in enumerate(zip(tracks.positions, tracks.numbers, strict=True)):
        for position, number in zip(positions, numbers, strict=True):
            seen.setdefault(int(number), []).append((photo, position))
    return seen


def test_points_are_joined_over_all_photos(tracks: Tracks) -> None:
    assert tracks.count > 300
    assert tracks.mean_length > 4


def test_a_photo_shows_a_point_once(tracks: Tracks) -> None:
    for numbers in tracks.numbers:
        assert len(np.unique(numbers)) == len(numbers)
    lengths = [len(seen) for seen in observations(tracks).values()]
    assert min(lengths) >= 2
    assert sorted(lengths) == sorted(tracks.lengths.tolist())


def test_positions_are_more_precise_than_single_matches(scene: MadeScene, tracks: Tracks) -> None:
    residuals = np.concatenate(
        [scene.residuals(seen) for seen in observations(tracks).values() if len(seen) >= 3]
    )
    assert np.median(residuals) < 0.1  # of matches 0.1 in x and in y of both photos
    assert np.mean(residuals < 0.5) > 0.98


def test_a_pair_that_lies_is_outvoted(tmp_path: Path) -> None:
    """Two photos whose matches are all 6 px off along their epipolar lines, which no single pair can see."""
    scene = make_scene(tmp_path)
    (file,) = (scene.results / "original_outputs").glob("photo 0_photo 1*")
    honest = Matches.load(file)
    moved = honest.points1 + np.array([6.0, 0.0])
    Matches(honest.points0, moved, honest.scores, honest.size0, honest.size1, confidence=0.99).save(file)
    tracks = tracks_of(verify_pairs(read_collection(scene.results, list_photos(scene.images))))
    seen = [s for s in observations(tracks).values() if len(s) >= 3]
    residuals = np.concatenate([scene.residuals(s) for s in seen])
    assert len(seen) > 200
    assert np.mean(residuals < 1) > 0.95


def test_doubtful_and_missing_pairs_are_counted(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, photos=3)
    first, second, _ = sorted((scene.results / "original_outputs").iterdir())
    first.unlink()
    unsure = Matches.load(second)
    Matches(unsure.points0, unsure.points1, unsure.scores, unsure.size0, unsure.size1, confidence=0.2).save(
        second
    )
    collection = read_collection(scene.results, list_photos(scene.images))
    assert (len(collection.pairs), collection.doubtful, collection.unmatched) == (1, 1, 1)


def test_photos_that_were_not_matched_are_refused(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, photos=3)
    with pytest.raises(DatasetError, match="give the folder that gcm extract wrote into"):
        read_collection(tmp_path / "photos", list_photos(scene.images))
    (scene.images / "photo 1.png").rename(scene.images / "other.png")
    with pytest.raises(DatasetError, match=r"photo 1\.png, but in the folder of photos given it is not"):
        read_collection(scene.results, list_photos(scene.images))
