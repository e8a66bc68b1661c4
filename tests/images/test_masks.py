"""No match where a mask is black: through the matcher, the command, and extraction."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from gcm.errors import ImageError
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


def test_a_folder_is_matched_with_a_folder_of_masks(files: Path) -> None:
    arguments = ["extract", "--images", files / "photos", "-c", "fast", "--output-dir", files / "out"]
    done = gcm(*arguments, "--masks", files / "masks")
    assert done.exit_code == 0, done.stderr
    assert "no mask of a photo of 1 pair" in done.stderr
    matches = Matches.load(files / "out/original_outputs/a_b_matches.npz")
    assert matches.points0[:, 0].max() < 160
    done = gcm(*arguments)  # the same names, now without masks
    assert done.exit_code == 1
    assert "already stands for" in done.stderr
    (files / "empty").mkdir()
    done = gcm(*arguments[:-1], files / "other", "--masks", files / "empty")
    assert done.exit_code == 1
    assert "holds no mask of any image" in done.stderr
