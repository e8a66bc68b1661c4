"""No match where a mask is black: through the matcher, the command, and extraction."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from gcm.errors import ImageError
from gcm.images import read_file_header, read_image
from gcm.matcher import Matcher
from gcm.matches import Matches
from gcm_cli.app import app


def gcm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "80", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return Matcher("fast", device="cpu")


@pytest.mark.parametrize("seed", range(5))
def test_no_match_starts_or_ends_in_a_masked_place(photo: np.ndarray, matcher: Matcher, seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = [cv2.resize(rng.integers(0, 2, (6, 8)).astype(np.uint8), (320, 240)) for _ in range(2)]
    whole = matcher.match(photo, np.roll(photo, 5, axis=1))
    part = matcher.match(photo, np.roll(photo, 5, axis=1), mask0=masks[0], mask1=masks[1] > 0)
    assert 0 < len(part) < len(whole)
    for mask, points in zip(masks, (part.points0, part.points1), strict=True):
        x, y = np.rint(points).astype(int).T
        assert (mask[y, x] > 0).all()
    inside = [
        mask[tuple(np.rint(points).astype(int).T[::-1])] > 0
        for mask, points in zip(masks, (whole.points0, whole.points1), strict=True)
    ]
    assert len(part) == (inside[0] & inside[1]).sum()


def test_a_mask_of_another_size_is_told(photo: np.ndarray, matcher: Matcher) -> None:
    with pytest.raises(ImageError, match="image 1: is 320 x 240, its mask 10 x 20; a mask must be"):
        matcher.match(photo, photo, mask1=np.ones((20, 10)))
    with pytest.raises(ImageError, match="image 0: its mask contains nan; give 0 where"):
        matcher.match(photo, photo, mask0=np.full(photo.shape[:2], np.nan))


@pytest.fixture
def files(tmp_path: Path, photo: np.ndarray) -> Path:
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    for k, name in enumerate("ab"):
        cv2.imwrite(str(tmp_path / f"photos/{name}.png"), np.roll(photo, 5 * k, axis=1))
    mask = np.zeros((240, 320), np.uint8)
    mask[:, :160] = 255
    cv2.imwrite(str(tmp_path / "masks/a.png.png"), mask)
    return tmp_path


def test_the_command_takes_masks(files: Path) -> None:
    photos = files / "photos/a.png", files / "photos/b.png"
    arguments = ["match", *photos, "-c", "fast", "--json", "--mask0"]
    done = gcm(*arguments, files / "masks/a.png.png")
    assert done.exit_code == 0, done.stderr
    points = np.array(json.loads(done.stdout)["keypoints0"])
    assert len(points) > 20
    assert points[:, 0].max() < 160
    cv2.imwrite(str(files / "small.png"), np.ones((4, 4), np.uint8))
    done = gcm(*arguments, files / "small.png")
    assert done.exit_code == 1
    assert "a mask must be as large as its image" in done.stderr
    done = gcm(
        *arguments, files / "masks/a.png.png", "-o", files / "masks/a.png.png.npz", "--draw", photos[0]
    )
    assert done.exit_code == 2


def test_what_is_hidden_has_no_say_in_the_homography(files: Path, photo: np.ndarray) -> None:
    """Two motions, the larger of them masked: a list tells the other, as `gcm match` does."""
    moved = np.concatenate([np.roll(photo, 6, axis=0)[:, :110], np.roll(photo, 10, axis=1)[:, 110:]], axis=1)
    cv2.imwrite(str(files / "photos/b.png"), moved)
    mask = np.zeros((240, 320), np.uint8)
    mask[:, :100] = 255
    cv2.imwrite(str(files / "masks/a.png.png"), mask)
    how = ["-c", "default", "--set", "precision=float32"]
    done = gcm(
        "extract",
        "--images",
        files / "photos",
        *how,
        "--output-dir",
        files / "out",
        "--masks",
        files / "masks",
    )
    assert done.exit_code == 0, done.stderr
    matches = Matches.load(files / "out/original_outputs/a_b_matches.npz")
    photos = [files / "photos/a.png", files / "photos/b.png"]
    done = gcm("match", *photos, *how, "--mask0", files / "masks/a.png.png", "-o", files / "alone.npz")
    assert done.exit_code == 0, done.stderr
    alone = Matches.load(files / "alone.npz")
    assert matches.h_0_to_1 is not None
    assert alone.h_0_to_1 is not None
    x, y, w = matches.h_0_to_1 @ [50, 120, 1]
    assert (x / w, y / w) == pytest.approx((50, 126), abs=1)
    np.testing.assert_allclose(matches.h_0_to_1, alone.h_0_to_1, atol=1e-6)
    assert matches.inlier_count == alone.inlier_count > 0.8 * len(matches)


def test_a_folder_is_matched_with_a_folder_of_masks(files: Path) -> None:
    arguments = ["extract", "--images", files / "photos", "-c", "fast", "--output-dir", files / "out"]
    done = gcm(*arguments, "--masks", files / "masks")
    assert done.exit_code == 0, done.stderr
    assert "no mask of a photo of 1 pair" in done.stderr
    matches = Matches.load(files / "out/original_outputs/a_b_matches.npz")
    assert matches.points0[:, 0].max() < 160
    done = gcm(*arguments)  # the same names, now without masks
    assert done.exit_code == 1
    assert "was matched with other masks, or without; use another folder" in done.stderr
    shutil.copytree(files / "masks", files / "edited")
    cv2.imwrite(str(files / "edited/a.png.png"), np.ones((240, 320), np.uint8))
    done = gcm(*arguments, "--masks", files / "edited")  # named as the others, and showing other places
    assert done.exit_code == 1
    assert "was matched with other masks, or without; use another folder" in done.stderr
    cv2.imwrite(str(files / "masks/b.png.png"), np.ones((4, 5), np.uint8))
    done = gcm(*arguments[:-1], files / "fresh", "--masks", files / "masks")
    assert done.exit_code == 1
    assert "b.png.png: is 5 x 4, its image" in done.stderr
    assert "a mask must be as large as its image\n" in done.stderr
    assert not (files / "fresh/original_outputs").exists()
    (files / "empty").mkdir()
    done = gcm(*arguments[:-1], files / "other", "--masks", files / "empty")
    assert done.exit_code == 1
    assert "holds no mask of any image" in done.stderr


# -- alpha channels --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def holed(photo: np.ndarray) -> np.ndarray:
    """H x W x 4: the photo with a fifth of its pixels wholly transparent, here and there, some half so."""
    alpha = np.random.default_rng(3).choice(np.array([0, 128, 255], np.uint8), (240, 320), p=[0.2, 0.1, 0.7])
    return np.dstack([photo, alpha])


def seen_through(pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    x, y = np.rint(points).astype(int).T
    return pixels[y, x, 3] == 0


def test_no_match_starts_or_ends_where_an_image_is_transparent(holed: np.ndarray, matcher: Matcher) -> None:
    moved = np.roll(holed, 5, axis=1)
    whole, part = matcher.match(holed, moved), matcher.match(holed, moved, alpha=True)
    lost = seen_through(holed, whole.points0) | seen_through(moved, whole.points1)
    assert lost.sum() > 20
    assert len(part) == len(whole) - lost.sum() > 20
    assert not (seen_through(holed, part.points0) | seen_through(moved, part.points1)).any()
    mask = np.zeros((240, 320))
    mask[:, :160] = 1
    both = matcher.match(holed, moved, mask0=mask, alpha=True)
    assert len(both) == (part.points0[:, 0] < 159.5).sum()
    assert not part.info["notes"]
    half = matcher.match(holed[..., :3], moved, alpha=True)
    assert half.info["notes"] == ["image 0: has no alpha channel; all of it counts"]
    assert not seen_through(moved, half.points1).any()


FILES: dict[str, Callable[[Path, np.ndarray], object]] = {
    "a.png": lambda path, pixels: Image.fromarray(pixels).save(path),
    "a.webp": lambda path, pixels: Image.fromarray(pixels).save(path, lossless=True, exact=True),
    "a.tif": lambda path, pixels: Image.fromarray(pixels).save(path),
    "grey.png": lambda path, pixels: Image.fromarray(pixels[..., [0, 3]], "LA").save(path),
    "deep.png": lambda path, pixels: cv2.imwrite(str(path), pixels.astype(np.uint16) * 257),
    "deep.tif": lambda path, pixels: tifffile.imwrite(
        path, pixels.astype(np.uint16) * 257, photometric="rgb", extrasamples=["unassalpha"]
    ),
    "multiplied.tif": lambda path, pixels: tifffile.imwrite(
        path, pixels.astype(np.uint16) * 257, photometric="rgb", extrasamples=["assocalpha"]
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_alpha_channels_of_files(tmp_path: Path, holed: np.ndarray, name: str) -> None:
    FILES[name](tmp_path / name, holed)
    visible = read_image(tmp_path / name).visible
    assert visible is not None
    np.testing.assert_array_equal(visible, holed[..., 3] > 0)
    assert read_file_header(tmp_path / name).has_alpha


def test_a_turned_photo_s_alpha_is_turned_with_it(tmp_path: Path, holed: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(holed))).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").visible, holed[..., 3] > 0)


def test_an_image_without_alpha_says_so(tmp_path: Path, photo: np.ndarray) -> None:
    for name in ("a.png", "a.jpg", "a.tif", "a.webp"):
        Image.fromarray(photo).save(tmp_path / name)
        assert read_image(tmp_path / name).visible is None
        assert not read_file_header(tmp_path / name).has_alpha
    assert read_image(torch.zeros(4, 8, 8)).visible is not None
    assert read_image(np.zeros((8, 8, 4))).visible is not None
    assert read_image(torch.zeros(3, 8, 8)).visible is None


def test_the_commands_take_alpha(tmp_path: Path, photo: np.ndarray, holed: np.ndarray) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    moved = np.roll(holed, 5, axis=1)
    for name, pixels in (("a", holed), ("b", moved), ("c", photo)):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    done = gcm("match", folder / "a.png", folder / "b.png", "-c", "fast", "--json", "--alpha")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["keypoints0"]) > 20
    assert not seen_through(holed, np.array(found["keypoints0"])).any()
    done = gcm("match", folder / "a.png", folder / "c.png", "-c", "fast", "--alpha")
    assert "note: image 1: has no alpha channel; all of it counts" in done.stderr
    arguments = ["extract", "--images", folder, "--output-dir", tmp_path / "out", "--algorithm", "orb"]
    done = gcm(*arguments, "--alpha")
    assert done.exit_code == 0, done.stderr
    assert "1 of 3 photos without an alpha channel; all of it counts" in done.stderr
    matches = Matches.load(tmp_path / "out/original_outputs/a_b_matches.npz")
    assert len(matches) > 20
    assert not (seen_through(holed, matches.points0) | seen_through(moved, matches.points1)).any()
    done = gcm(*arguments)
    assert done.exit_code == 1
    assert "was matched with other masks, or without" in done.stderr
    done = gcm(*arguments, "--overwrite")
    assert done.exit_code == 0
    matches = Matches.load(tmp_path / "out/original_outputs/a_b_matches.npz")
    assert seen_through(holed, matches.points0).any()
