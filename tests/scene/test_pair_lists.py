"""Which pairs of many photos are matched."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from gcm.benchmark.pairs import read_pairs
from gcm.config import MatcherConfig
from gcm.errors import UsageError
from gcm.scene.pair_lists import exhaustive, nearest, sequential, similar, write_pair_list
from gcm.scene.photos import list_photos, read_place
from gcm.scene.similarity import pool_cells
from gcm_cli.app import app


def gcm(*arguments: str | Path) -> Result:
    environment = {"COLUMNS": "80", "NO_COLOR": "1"}
    return CliRunner().invoke(app, [*map(str, arguments)], env=environment)


def test_every_pair_once() -> None:
    assert exhaustive(4) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_neighbours_of_a_sequence() -> None:
    assert sequential(4, 1) == [(0, 1), (1, 2), (2, 3)]
    assert sequential(4, 2) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    assert (0, 3) in sequential(4, 1, loop=True)
    assert sequential(3, 9, loop=True) == exhaustive(3)
    with pytest.raises(UsageError, match="window is 0"):
        sequential(4, 0)


def test_the_likest_are_partners() -> None:
    rng = np.random.default_rng(0)
    scenes = rng.normal(size=(3, 40, 16))
    cells = []
    for photo in range(9):
        found = scenes[photo % 3] + rng.normal(0, 0.3, (40, 16))
        cells.append((found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32))
    descriptors = pool_cells(cells)
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1, atol=1e-5)
    assert similar(descriptors, 1) == [(i, j) for i, j in exhaustive(9) if i % 3 == j % 3]
    assert len(similar(descriptors, 2)) == 18
    assert similar(descriptors, 50) == exhaustive(9)


def test_photos_with_many_partners_get_more_and_none_is_left_alone() -> None:
    rng = np.random.default_rng(0)
    crowd = np.array([1.0, 0, 0, 0]) + rng.normal(0, 0.1, (8, 4))  # all alike
    few = np.array([0, 0, 1.0, 0]) + rng.normal(0, 0.6, (6, 4))
    descriptors = np.concatenate([crowd, few]).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    pairs = similar(descriptors, 4)
    assert len(pairs) == 14 * 4
    assert set(exhaustive(8)) <= set(pairs)
    for photo in range(8, 14):
        assert sum(photo in pair for pair in pairs) >= 2


def test_the_nearest_are_partners() -> None:
    places = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), None, (50.0, 0.0, 0.0), (51.0, 0.0, 0.0)]
    assert nearest(places, 1) == [(0, 1), (3, 4)]
    assert nearest([None, (0.0, 0.0, 0.0)], 3) == []


def test_a_photo_tells_where_it_was_taken(tmp_path: Path) -> None:
    for name, latitude, half in (("a", (48.0, 0.0, 0.0), "N"), ("b", (48.0, 0.0, 36.0), "N")):
        exif = Image.Exif()
        exif[0x8825] = {1: half, 2: latitude, 3: "W", 4: (11.0, 0.0, 0.0), 6: 500.0}
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.jpg", exif=exif)
    first, second = (read_place(tmp_path / f"{name}.jpg") for name in "ab")
    assert first is not None
    assert second is not None
    # 36 seconds of arc: far from Greenwich, where a step north must not count as one east as well
    assert math.dist(first, second) == pytest.approx(1112, abs=1)
    assert first[1] < 0
    assert math.hypot(*first) == pytest.approx(6_371_000 + 500, abs=1000)
    Image.new("RGB", (8, 8)).save(tmp_path / "c.jpg")
    assert read_place(tmp_path / "c.jpg") is None


def test_lists_are_read_as_they_were_written(tmp_path: Path) -> None:
    paths = [tmp_path / "photos" / name for name in ("a.png", "b c.png", "d.png")]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(b"")
    write_pair_list(tmp_path / "lists" / "pairs.txt", paths, [(0, 1), (1, 2)])
    read = read_pairs(tmp_path / "lists" / "pairs.txt")
    assert [(p.image0.resolve(), p.image1.resolve()) for p in read] == [
        (paths[0].resolve(), paths[1].resolve()),
        (paths[1].resolve(), paths[2].resolve()),
    ]
    for name in ('a"b.png', "a\udce9.png"):  # the second is in no UTF-8: bytes of another encoding
        with pytest.raises(UsageError, match="rename the photo"):
            write_pair_list(tmp_path / "x.txt", [Path(name), Path("c.png")], [(0, 1)])
    assert not (tmp_path / "x.txt").exists()


@pytest.fixture
def folder(tmp_path: Path, photo: np.ndarray) -> Path:
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for k, name in enumerate(("a.png", "b.png", "deep/c.png")):
        cv2.imwrite(str(tmp_path / "photos" / name), np.roll(photo, 4 * k, axis=1))
    return tmp_path / "photos"


def test_the_command_lists_pairs(folder: Path, tmp_path: Path) -> None:
    done = gcm("pairs", folder, "-o", tmp_path / "pairs.txt", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == 3
    assert len(read_pairs(tmp_path / "pairs.txt")) == 3
    done = gcm("pairs", folder, "-o", tmp_path / "k.txt", "--method", "similar", "-k", "1", "--json")
    assert json.loads(done.stdout)["method"] == "similar"


def test_broken_photos_are_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    done = gcm("pairs", folder, "-o", tmp_path / "pairs.txt")
    assert done.exit_code == 0
    assert "broken.png" in done.stderr
    assert "left out" in done.stderr
    assert "3 pairs of 3 photos" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["none"], 1, "no such folder of photos"),
        (["photos/deep"], 1, "two at least"),
        (["photos", "--method", "near"], 1, "do not say where they were taken"),
        (["photos", "--method", "likest"], 2, "exhaustive"),
    ],
)
def test_what_cannot_be_listed(
    folder: Path, tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    done = gcm("pairs", tmp_path / arguments[0], *arguments[1:], "-o", tmp_path / "pairs.txt")
    assert done.exit_code == code
    assert told in " ".join(done.stderr.split())
    assert not (tmp_path / "pairs.txt").exists()


def test_a_folder_is_matched_in_one_step(folder: Path, tmp_path: Path) -> None:
    done = gcm(
        "extract",
        "--images",
        folder,
        "--output-dir",
        tmp_path / "out",
        "--set",
        "model=GCM_COMPACT",
        "--json",
    )
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 3
    done = gcm("extract", "--images", folder, "--pairs", "x.txt", "--output-dir", tmp_path / "out")
    assert done.exit_code == 2
    assert "give one of them" in done.stderr


def test_the_likest_are_chosen_as_they_will_be_matched(
    tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the device and settings given; those of another matcher are not ours."""
    import gcm_cli.pairs

    seen: list[tuple[str | None, str]] = []
    load = gcm_cli.pairs.load_matcher

    def spy(config: MatcherConfig, *given: Any, **named: Any) -> Any:
        seen.append((config.device, config.precision))
        return load(config, *given, **named)

    monkeypatch.setattr(gcm_cli.pairs, "load_matcher", spy)
    (tmp_path / "photos").mkdir()
    for k in range(3):
        cv2.imwrite(str(tmp_path / f"photos/{k}.png"), np.roll(photo, 4 * k, axis=1))
    likest = ["extract", "--images", tmp_path / "photos", "--method", "similar", "-k", "1"]
    done = gcm(
        *likest,
        "-c",
        "fast",
        "--device",
        "cpu",
        "--set",
        "precision=bfloat16",
        "--output-dir",
        tmp_path / "ours",
    )
    assert done.exit_code == 0, done.stderr
    done = gcm(*likest, "--algorithm", "orb", "--set", "max_keypoints=300", "--output-dir", tmp_path / "orb")
    assert done.exit_code == 0, done.stderr
    assert seen == [("cpu", "bfloat16"), (None, "float32")]


def test_a_video_is_matched(tmp_path: Path, photo: np.ndarray) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    for k in range(9):
        writer.write(np.roll(photo, 2 * k, axis=1))
    writer.release()
    arguments = ["--every", "4", "--window", "1", "--output-dir", tmp_path / "out", "--json"]
    done = gcm("extract", "--video", tmp_path / "v.avi", *arguments)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == 2
    assert sorted(p.name for p in (tmp_path / "out/frames").iterdir()) == [
        "000000.png", "000004.png", "000008.png",
    ]  # fmt: skip
    # Other frames, of this video or of another, are not taken for those asked for.
    done = gcm("extract", "--video", tmp_path / "v.avi", "--every", "8", *arguments[2:])
    assert done.exit_code == 1
    assert "holds frames of another video, or of another --every; give another folder" in done.stderr
    shutil.copy(tmp_path / "v.avi", tmp_path / "w.avi")
    done = gcm("extract", "--video", tmp_path / "w.avi", *arguments)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["skipped"] == 2
    done = gcm("extract", "--video", tmp_path / "w.avi", "--every", "8", *arguments[2:], "--overwrite")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == 1
    (tmp_path / "no.avi").write_text("no video")
    done = gcm("extract", "--video", tmp_path / "no.avi", "--output-dir", tmp_path / "other")
    assert done.exit_code == 1
    assert "no video that can be decoded" in done.stderr


def test_listing_photos_opens_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (40, 30)).save(tmp_path / name, exif=exif)
    opened = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda *args: opened.append(args) or real(*args))
    photos = list_photos(tmp_path)
    assert [(photo.size, photo.stored_size) for photo in photos] == [((30, 40), (40, 30))] * 2
    assert len(opened) == 2
