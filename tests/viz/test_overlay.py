"""Two photos laid over each other, through the function and the command."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from gcm.errors import UsageError
from gcm.geometry import apply_homography, image_corners
from gcm.images.files import load_image
from gcm.viz.overlay import OverlayError, feather_weights, lay_over, overlay_photos
from gcm_cli.app import app

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

Photo = NDArray[np.uint8]

SHIFT = np.array([[1.0, 0, -100], [0, 1, -50], [0, 0, 1]])
"""Of a photo that shows what lies 100 px farther right and 50 px lower."""

VIEWS = ("blend", "checkerboard", "difference")


def gcm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["match", *map(str, arguments)], env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two parts of one photo, of 400 x 380 px; SHIFT takes the first to the second."""
    folder = tmp_path_factory.mktemp("parts")
    whole = cv2.imread(str(EXAMPLES / "left.jpg"))[:430, :500]
    cv2.imwrite(str(folder / "a.png"), whole[:380, :400])
    cv2.imwrite(str(folder / "b.png"), whole[50:, 100:])
    return folder / "a.png", folder / "b.png"


@pytest.mark.parametrize("view", VIEWS)
def test_the_command_draws_each_view(parts: tuple[Path, Path], tmp_path: Path, view: str) -> None:
    done = gcm(*parts, "--warp", tmp_path / "w.png", "--view", view, "-c", "fast", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["files"] == {"warp": str(tmp_path / "w.png")}
    corners = apply_homography(document["homography"], image_corners(400, 380))
    np.testing.assert_allclose(corners, image_corners(400, 380) - [100, 50], atol=1)
    drawn = load_image(tmp_path / "w.png")
    # Both photos, 100 px apart and 50; the corners are a pixel off at most.
    assert abs(drawn.shape[1] - 500) <= 2
    assert abs(drawn.shape[0] - 430) <= 2
    both = drawn[60:370, 110:390].astype(int)
    if view == "difference":
        assert np.quantile(both, 0.95) < 12
        assert both.mean() < 5
    else:
        second = load_image(parts[1])[10:320, 10:290]
        assert np.corrcoef(both.ravel(), second.ravel())[0, 1] > 0.9


def test_blend_is_the_default(parts: tuple[Path, Path], tmp_path: Path) -> None:
    for name, view in (("a.png", []), ("b.png", ["--view", "blend"])):
        assert gcm(*parts, "--warp", tmp_path / name, *view, "-c", "fast", "-q").exit_code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_canvas_holds_both_photos_where_they_are(photo: Photo) -> None:
    first, second = photo[:190, :220], photo[50:, 100:]
    laid = lay_over(first, second, SHIFT)
    assert laid.photo0.shape == (240, 320, 3)
    # Whole pixels: nothing is resampled.
    np.testing.assert_array_equal(laid.photo0[:190, :220], first)
    np.testing.assert_array_equal(laid.photo1[50:, 100:], second)
    assert laid.covers0.sum() == 190 * 220
    assert laid.covers1.sum() == 190 * 220
    blended = overlay_photos(first, second, SHIFT)
    np.testing.assert_allclose(blended[:190, :220], first, atol=1)
    np.testing.assert_allclose(blended[50:, 100:], second, atol=1)
    assert (blended[200:, :90] == 24).all()  # neither
    for matrix, corner in zip(laid.to_canvas, ((0, 0), (100, 50)), strict=True):
        np.testing.assert_allclose(apply_homography(matrix, np.zeros((1, 2))), [corner], atol=1e-9)


def test_weights_sum_to_one_and_fade_at_borders(photo: Photo) -> None:
    turned = cv2.getRotationMatrix2D((160.0, 120.0), 25, 0.9)
    laid = lay_over(photo, photo, np.vstack([turned, [0, 0, 1]]))
    first, second = feather_weights(laid.covers0, laid.covers1, 20.0)
    somewhere = laid.covers0 | laid.covers1
    np.testing.assert_allclose((first + second)[somewhere], 1, atol=1e-6)
    assert not (first + second)[~somewhere].any()
    assert (first[~laid.covers0] == 0).all()
    assert (second[laid.covers1 & ~laid.covers0] == 1).all()
    # No seam: from pixel to pixel a weight changes little, except where a photo is alone anyway.
    inner = laid.covers0 & laid.covers1
    inner = cv2.erode(inner.astype(np.uint8), np.ones((25, 25))).astype(bool)
    np.testing.assert_allclose(first[inner], 0.5, atol=0.45)
    assert np.abs(np.diff(first, axis=1))[inner[:, 1:]].max() < 0.1


def test_blend_is_half_of_each_in_the_middle() -> None:
    a, b = np.full((80, 120, 3), 200, np.uint8), np.full((80, 120, 3), 100, np.uint8)
    blended = overlay_photos(a, b, np.array([[1.0, 0, 30], [0, 1, 0], [0, 0, 1]]))
    assert blended.shape == (80, 150, 3)
    assert abs(int(blended[40, 75, 0]) - 150) <= 2
    assert blended[40, 5, 0] == 100
    assert blended[40, 145, 0] == 200


def test_a_checkerboard_shows_both_by_turns() -> None:
    a, b = np.full((80, 120, 3), 200, np.uint8), np.full((80, 120, 3), 100, np.uint8)
    drawn = overlay_photos(a, b, np.eye(3), view="checkerboard")[..., 0]
    assert set(np.unique(drawn)) == {160, 100}  # photo 0 a little darker
    assert abs((drawn == 100).mean() - 0.5) < 0.1
    side = 79 // 8
    assert (drawn[:side, :side] == 160).all()
    assert (drawn[:side, side : 2 * side] == 100).all()


def test_a_difference_tells_misalignment_but_not_exposure(photo: Photo) -> None:
    darker = (0.6 * photo.astype(np.float32) + 5).astype(np.uint8)
    fine = overlay_photos(darker, photo, np.eye(3), view="difference")
    off = overlay_photos(darker, photo, np.array([[1.0, 0, 4], [0, 1, 0], [0, 0, 1]]), view="difference")
    assert fine.mean() < 5
    assert off[10:-10, 10:-10].mean() > 4 * fine.mean()


def test_photos_that_no_picture_can_hold(photo: Photo) -> None:
    enlarged = np.diag([9.0, 9.0, 1.0])
    with pytest.raises(OverlayError, match="swap the photos, that way they fit"):
        overlay_photos(photo, photo, enlarged)
    folded = np.array([[1.0, 0, 0], [0, 1, 0], [-0.005, 0, 1]])
    with pytest.raises(OverlayError, match="stretches the first photo"):
        overlay_photos(photo, photo, folded)
    on_the_horizon = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 319, 0, 1]])
    with pytest.raises(OverlayError):
        overlay_photos(photo, photo, on_the_horizon)
    with pytest.raises(UsageError, match="no view named 'blnd'; known: blend, checkerboard, difference"):
        overlay_photos(photo, photo, np.eye(3), view="blnd")  # type: ignore[arg-type]


def test_the_command_says_why_there_is_no_picture(tmp_path: Path) -> None:
    """A whole photo onto an enlarged part of it is too large; the part onto the photo is not."""
    whole = cv2.imread(str(EXAMPLES / "left.jpg"))
    part = cv2.resize(whole[100:300, 100:300], (800, 800), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "whole.png"), whole)
    cv2.imwrite(str(tmp_path / "part.png"), part)
    done = gcm(tmp_path / "whole.png", tmp_path / "part.png", "--warp", tmp_path / "w.png", "-c", "fast")
    assert done.exit_code == 0, done.stderr
    assert "w.png is not written: the homography stretches the first photo" in done.stderr
    assert "swap the photos" in done.stderr
    assert not (tmp_path / "w.png").exists()
    done = gcm(tmp_path / "part.png", tmp_path / "whole.png", "--warp", tmp_path / "w.png", "-c", "fast")
    assert load_image(tmp_path / "w.png").shape[:2] == (512, 512)


def test_huge_pictures_are_drawn_smaller(photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gcm.viz.overlay._MOST_PIXELS", 20_000)
    first, second = photo[:190, :220], photo[50:, 100:]
    laid = lay_over(first, second, SHIFT)
    height, width = laid.covers0.shape
    assert height * width <= 20_500
    assert abs(width / height - 320 / 240) < 0.02
    # Both are still where they belong.
    assert overlay_photos(first, second, SHIFT, view="difference")[30:80, 60:100].mean() < 6


def test_photos_read_at_reduced_size_still_fit(tmp_path: Path) -> None:
    """Points are in pixels of the whole photo, pixels are of half of it."""
    whole = cv2.imread(str(EXAMPLES / "left.jpg"))
    cv2.imwrite(str(tmp_path / "large.jpg"), whole)
    cv2.imwrite(str(tmp_path / "part.png"), whole[60:360, 100:400])
    for pair in (("large.jpg", "part.png"), ("part.png", "large.jpg")):
        paths = [tmp_path / name for name in pair]
        done = gcm(
            *paths, "-c", "fast", "--warp", tmp_path / "w.png", "--view", "difference", "--json",
            "--set", "max_pixels=100000",
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        assert "decoded at" in done.stderr or "reduced" in done.stderr
        drawn = load_image(tmp_path / "w.png").astype(int)
        scale = 256 / 512 if pair[1] == "large.jpg" else 1
        assert abs(drawn.shape[0] - 512 * scale) <= 4
        y, x = (slice(round((low + 20) * scale), round((low + 280) * scale)) for low in (60, 100))
        # Blurred against sharp: edges differ, but much less than of photos that do not fit.
        assert drawn[y, x].mean() < 20


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--view", "blnd", "--warp", "w.png"), "'blnd' is not one of"),
        (("--view", "blend"), "--view says how --warp is drawn; give --warp FILE as well"),
        (("--colour", "residual"), "--colour says how --draw is drawn; give --draw FILE as well"),
        (("--colour", "score", "--draw", "d.png"), "'score' is not one of"),
        (("--lines", "3"), "--lines says how --draw is drawn"),
        (("--lines=-1", "--draw", "d.png"), "'--lines'"),
        (("--warp", "w.gif"), "unknown image suffix '.gif'"),
    ],
)
def test_options_that_cannot_be(
    parts: tuple[Path, Path], arguments: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    named = [str(tmp_path / word) if word.endswith((".png", ".gif")) else word for word in arguments]
    done = gcm(*parts, *named)
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())
