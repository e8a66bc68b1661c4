"""One picture of several photos, through the command."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from gcm.images.files import load_image
from gcm.matches import Matches
from gcm.viz.panorama import PanoramaError, join_photos
from gcm_cli.app import app

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
K = np.array([[500.0, 0, 150], [0, 500, 120], [0, 0, 1]])


def gcm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["stitch", *map(str, arguments)], env={"COLUMNS": "80", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three photos by a camera that turns, each exposed otherwise, and one of something else."""
    folder = tmp_path_factory.mktemp("photos")
    whole = cv2.imread(str(EXAMPLES / "left.jpg"))
    to_whole = np.array([[500.0, 0, 256], [0, 500, 256], [0, 0, 1]])
    files = []
    for k, (angle, exposure) in enumerate(((-0.15, 1.0), (0.0, 0.8), (0.15, 1.1))):
        turn = cv2.Rodrigues(np.array([0.02 * k, angle, 0.0]))[0]
        image = cv2.warpPerspective(whole, K @ turn @ np.linalg.inv(to_whole), (300, 240))
        files.append(folder / f"{k}.png")
        cv2.imwrite(str(files[-1]), np.clip(image * exposure, 0, 255).astype(np.uint8))
    files.append(folder / "other.png")
    cv2.imwrite(str(files[-1]), np.random.default_rng(0).integers(0, 255, (200, 200, 3)))
    return files


def test_photos_of_a_turning_camera_make_a_picture(photos: list[Path], tmp_path: Path) -> None:
    done = gcm(*photos[:3], "-o", tmp_path / "p.png", "-c", "fast", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    picture = load_image(tmp_path / "p.png")
    assert list(picture.shape[1::-1]) == told["size"]
    assert told["size"][0] > 400  # wider than any of them
    # What a photo shows is where it says, apart from its exposure.
    for name, h in told["photos"].items():
        photo = cv2.cvtColor(load_image(name), cv2.COLOR_RGB2GRAY)
        seen = cv2.warpPerspective(
            cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.array(h), (300, 240), flags=cv2.WARP_INVERSE_MAP
        )
        inner = np.s_[30:-30, 30:-30]
        assert np.corrcoef(photo[inner].ravel(), seen[inner].ravel())[0, 1] > 0.97


@pytest.mark.parametrize("name", ["stitch", "pose"])
def test_what_was_done_to_a_photo_is_told(photos: list[Path], tmp_path: Path, name: str) -> None:
    """As ``gcm match`` tells it."""
    dark = tmp_path / "dark.png"
    cv2.imwrite(str(dark), cv2.imread(str(photos[0])).astype(np.uint16) * 8 + 100)
    output = ["-o", str(tmp_path / "p.png")] if name == "stitch" else []
    arguments = [name, str(dark), str(photos[1]), *output, "-c", "fast"]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.stderr
    assert "16-bit values of a small range" in done.stderr
    assert "note: " + ("image 0: 16-bit" if name == "pose" else f"{dark}: 16-bit") in done.stderr


def test_what_does_not_belong_is_left_out(photos: list[Path], tmp_path: Path) -> None:
    done = gcm(*photos[1:], "-o", tmp_path / "p.png", "-c", "fast", "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["left_out"] == [str(photos[3])]
    assert "shares too little with the others" in done.stderr
    done = gcm(photos[0], photos[3], "-o", tmp_path / "no.png", "-c", "fast")
    assert done.exit_code == 1
    assert "nothing to stitch" in done.stderr
    assert not (tmp_path / "no.png").exists()


def test_names_are_checked_first(photos: list[Path], tmp_path: Path) -> None:
    assert gcm(photos[0], "-o", tmp_path / "p.png").exit_code == 2
    assert gcm(photos[0], photos[1], "-o", tmp_path / "p.txt").exit_code == 2
    assert "would be overwritten" in gcm(photos[0], photos[1], "-o", photos[1]).stderr


def test_too_wide_an_angle_is_refused() -> None:
    points = np.zeros((40, 2))
    matches = Matches(
        points, points, np.ones(40), (300, 240), (300, 240),
        h_0_to_1=np.array([[1.0, 0, 0], [0, 1, 0], [0.01, 0, 1]]), inliers=np.ones(40, bool),
    )  # fmt: skip
    with pytest.raises(PanoramaError, match="too wide an angle"):
        join_photos([(300, 240), (300, 240)], {(0, 1): matches})
