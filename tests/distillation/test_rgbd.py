"""RGB-D sequences: depth and poses say what a scene of known truth shows, and what is wrong is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from rgbd_scene import SIZE, draw_sequence, write_sequence

from gcm.distillation import scenes
from gcm.distillation.real_pairs import cell_centres
from gcm.distillation.recipe import AugmentationRecipe, RgbdRecipe
from gcm.distillation.reprojection import brightness_correlation, depth_at, misalignment, reproject
from gcm.distillation.rgbd import RgbdPairs, find_frame_pairs
from gcm.distillation.rgbd_folders import find_sequences
from gcm.errors import DatasetError

CROP = AugmentationRecipe(crop=128, scale=(160, 220), rotation=15, view_scale=1.2, tilt=0.3)


@pytest.fixture(scope="module")
def textures(photo: np.ndarray) -> list[np.ndarray]:
    return [np.roll(photo, 57 * k, axis=k % 2) for k in range(6)]


@pytest.fixture
def copied(sequence: Path, tmp_path: Path) -> Path:
    """A sequence that may be spoilt."""
    return Path(shutil.copytree(sequence, tmp_path / "copy"))


@pytest.mark.parametrize("seed", [0, 1])
def test_places_lie_where_the_scene_has_them(textures: list[np.ndarray], tmp_path: Path, seed: int) -> None:
    (found,) = find_sequences(write_sequence(tmp_path / "one", textures, seed=seed))
    cameras, inverses, _, _ = draw_sequence(textures, 6, seed)
    points = cell_centres(SIZE, 4)
    moved = reproject(found.frame(1), found.frame(4), points, tolerance=0.03, way_back=2.0)
    truth = scenes._seen_from(cameras[1], cameras[4], [inverses[1], inverses[4]], points, SIZE)
    seen, shown = (np.isfinite(p).all(axis=1) for p in (moved.places, truth))
    assert (seen & shown).sum() > 0.7 * shown.sum() > 100
    off = np.linalg.norm(moved.places - truth, axis=1)[seen & shown]
    assert np.median(off) < 0.05
    assert off.max() < 1.5
    # Hardly anything is said that is not so, of what is seen and of what is hidden.
    assert (seen & ~shown).sum() <= 0.01 * seen.sum()
    assert (moved.hidden & shown).sum() <= 0.01 * moved.hidden.sum()
    assert moved.hidden.sum() > 0.7 * ((~shown) & np.isfinite(depth_at(found.frame(1), points))).sum()
    assert moved.contradicted.mean() < 0.02


def test_a_pair_shows_in_view_1_what_it_says(sequence: Path) -> None:
    recipe = RgbdRecipe.model_validate({"folders": [sequence.parents[1]]})
    pairs = find_frame_pairs(recipe)
    assert len(pairs) >= 8
    source, centres = RgbdPairs(pairs, recipe), cell_centres(CROP.crop, 4)
    for seed in range(6):
        pair = source.draw(CROP, centres, np.random.default_rng(seed))
        again = source.draw(CROP, centres, np.random.default_rng(seed))
        for one, other in zip(pair.positions, again.positions, strict=True):
            np.testing.assert_array_equal(one, other)
        assert pair.known is not None
        for k in (0, 1):
            to, known = pair.positions[k], pair.known[k]
            seen = np.isfinite(to).all(axis=1)
            assert seen.mean() > 0.1
            assert not (seen & ~known).any()
            here, there = sampled(pair.views[k], centres[seen]), sampled(pair.views[1 - k], to[seen])
            elsewhere = sampled(pair.views[1 - k], np.roll(to[seen], 7, axis=0))
            assert np.median(np.abs(here - there)) < 0.35 * np.median(np.abs(here - elsewhere))


def sampled(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    x, y = points.astype(np.float32).T
    smooth = cv2.GaussianBlur(image.astype(np.float32).mean(axis=2), (0, 0), 1.5)
    return cv2.remap(smooth, x[None], y[None], cv2.INTER_LINEAR)[0]


def test_depth_is_read_between_pixels_but_not_across_edges(sequence: Path) -> None:
    frame = find_sequences(sequence)[0].frame(0)
    depth = np.full((4, 4), 2.0, np.float32)
    depth[:, 2:] = 4.0
    depth[0, 0] = np.nan
    small = type(frame)(frame.image[:8, :8], depth, frame.intrinsics, frame.pose)
    found = depth_at(small, np.array([[2.0, 5.0], [3.5, 5.0], [6.0, 5.0], [1.0, 1.0], [9.0, 1.0]]))
    np.testing.assert_array_equal(found, [2, np.nan, 4, np.nan, np.nan])


def test_brightness_correlates_where_places_are_right(photo: np.ndarray) -> None:
    points = cell_centres(320, 4, 240)
    inside = points[:, 0] < 320 - 30
    darker = np.roll((0.6 * photo).astype(np.uint8), 12, axis=1)
    right = np.where(inside[:, None], points + np.array([12, 0]), np.nan)
    alike = brightness_correlation(photo, darker, right, 4)
    assert np.nanmedian(alike) > 0.95
    assert np.isnan(alike[:, -5:]).all()
    assert np.nanmedian(brightness_correlation(photo, darker, right + np.array([0, 25]), 4)) < 0.4
    assert np.isnan(brightness_correlation(photo, np.full_like(photo, 90), right, 4)).all()


@pytest.mark.parametrize(("off", "told"), [((0, 0), 0), ((1.5, 0), 1.5), ((-2, 3), 3.6), ((40, 9), np.inf)])
def test_what_lies_a_little_beside_is_noticed(
    photo: np.ndarray, off: tuple[float, float], told: float
) -> None:
    points = cell_centres(320, 2, 240)
    moved = np.roll(photo, 12, axis=1)
    places = np.where(points[:, :1] < 320 - 60, points + np.array([12, 0]), np.nan)
    found = misalignment(photo, moved, places + np.array(off), 2)
    assert abs(found - told) < 0.3 if np.isfinite(told) else not found < 8
    assert np.isnan(misalignment(photo, np.full_like(photo, 90), places, 2))


def spoil_poses(folder: Path) -> None:
    poses = np.loadtxt(folder / "poses.txt")
    np.savetxt(folder / "poses.txt", poses[::-1])


def lines(file: str, count: int | None = None, text: str = "") -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        kept = (folder / file).read_text().splitlines()[:count]
        (folder / file).write_text("\n".join([*kept, text]) + "\n")

    return spoil


def write(file: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_text(text)


def image(file: str, pixels: np.ndarray) -> Callable[[Path], object]:
    return lambda folder: cv2.imwrite(str(folder / file), pixels)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: (f / "K.txt").unlink(), "copy: lacks K.txt; an RGB-D sequence is a folder with"),
        (lambda f: shutil.rmtree(f / "depth"), "copy: lacks depth; "),
        (lambda f: (f / "depth" / "0003.png").unlink(), "0003.png: missing, the depth of images/0003.png"),
        (lines("poses.txt", 4), "poses.txt: 4 lines for 6 photos; give a line for each"),
        (
            lines("poses.txt", 5, "1 0 0 0 0 1 0 0 0 0 1 0"),
            "poses.txt: line 6 has 12 numbers; a pose is 4 x 4",
        ),
        (lines("poses.txt", 5, " ".join(["2"] * 16)), "poses.txt: line 6 is no pose"),
        (lines("poses.txt", 5, " ".join(["-inf"] * 16)), "poses.txt: line 6 is no pose"),
        (lines("poses.txt", 5, "one two"), "poses.txt: cannot be read as lines of numbers"),
        (write("K.txt", "100 0 80\n0 100 80\n"), "K.txt: not three lines of three numbers; write the camera"),
        (write("K.txt", "0 0 80\n0 0 80\n0 0 1\n"), "K.txt: no camera matrix; write"),
        (
            write("K.txt", "500 0 320\n0 500 240\n0 0 1\n"),
            "K.txt: its centre (320, 240) lies outside the photos",
        ),
        (image("depth/0000.png", np.ones((SIZE, SIZE), np.uint8)), "0000.png: no depth image of 16 bits"),
        (
            image("depth/0000.png", np.ones((90, 160), np.uint16)),
            "0000.png: 160 x 90 pixels is another shape",
        ),
        (
            image("images/0001.png", np.ones((90, 90, 3), np.uint8)),
            "0001.png: 90 x 90 pixels, where the first",
        ),
        (spoil_poses, "copy: depths and poses do not fit the photos"),
    ],
)
def test_what_is_wrong_with_a_sequence_is_told(
    copied: Path, spoil: Callable[[Path], object], told: str
) -> None:
    spoil(copied)
    with pytest.raises(DatasetError) as error:
        find_frame_pairs(RgbdRecipe.model_validate({"folders": [copied]}))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_without_sequences(tmp_path: Path, copied: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        find_sequences(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no RGB-D sequence"):
        find_sequences(tmp_path / "empty")
    recipe = RgbdRecipe.model_validate({"folders": str(copied), "overlap": 1.0})
    with pytest.raises(DatasetError, match="no two frames show the same 100 % of their places"):
        find_frame_pairs(recipe)


def test_photos_and_depths_may_have_other_sizes(copied: Path) -> None:
    """Depths of half the size, and photos so large that they are shrunk in memory."""
    before = find_sequences(copied)[0]
    points = cell_centres(SIZE, 8)
    expected = reproject(before.frame(0), before.frame(2), points, tolerance=0.03, way_back=2.0)
    other = copied.with_name("large")
    shutil.copytree(copied, other)
    for file in (other / "images").iterdir():
        cv2.imwrite(str(file), cv2.resize(cv2.imread(str(file)), (1920, 1920)))
    for file in (other / "depth").iterdir():
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[::2, ::2])
    matrix = np.array([[12, 0, 5.5], [0, 12, 5.5], [0, 0, 1]]) @ np.loadtxt(other / "K.txt")
    np.savetxt(other / "K.txt", matrix)
    large = find_sequences(other)[0]
    assert large.size == (1280, 1280)
    moved = reproject(large.frame(0), large.frame(2), (points + 0.5) * 8 - 0.5, tolerance=0.03, way_back=16.0)
    off = np.linalg.norm((moved.places + 0.5) / 8 - 0.5 - expected.places, axis=1)
    assert np.isfinite(off).mean() > 0.3
    assert np.nanmedian(off) < 0.1


def test_the_pairs_of_a_long_sequence(copied: Path) -> None:
    asked = {"folders": copied, "pairs": 3}
    seen: list[tuple[int, int]] = []
    pairs = find_frame_pairs(
        RgbdRecipe.model_validate(asked), on_progress=lambda done, total: seen.append((done, total))
    )
    assert len(pairs) == 3
    assert all(pair.first < pair.second for pair in pairs)
    assert seen[-1][0] == seen[-1][1] == len(seen)
    again = find_frame_pairs(RgbdRecipe.model_validate(asked))
    assert [(p.first, p.second) for p in pairs] == [(p.first, p.second) for p in again]


@pytest.mark.slow
def test_frames_of_a_headset(shared: Path) -> None:
    recipe = RgbdRecipe.model_validate({"folders": [shared / "data" / "rgbd-hololens-dvmvs"]})
    pairs = find_frame_pairs(recipe)
    assert len(pairs) > 150
    # The pose of its first frame is off by some 1.5 px, which ALIKED and DISK see as well.
    assert (0, 4) not in {(pair.first, pair.second) for pair in pairs}
    source, centres = RgbdPairs(pairs, recipe), cell_centres(CROP.crop, 4)
    pair = source.draw(CROP, centres, np.random.default_rng(0))
    assert np.isfinite(pair.positions[0]).all(axis=1).mean() > 0.1
