"""The default preset: embedded weights, stage-0 hypotheses, and as many matches as can be had."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gcm.geometry import apply_homography
from gcm.matcher import Matcher
from gcm.matches import Matches


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return Matcher(device="cpu")


def errors(result: Matches, h_0_to_1: np.ndarray) -> np.ndarray:
    return np.linalg.norm(apply_homography(h_0_to_1, result.points0) - result.points1, axis=1)


def turned(photo: np.ndarray, degrees: float, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The photo turned and scaled about its centre on a 400 x 400 canvas, and the homography of that."""
    h = np.vstack([cv2.getRotationMatrix2D((159.5, 119.5), degrees, scale), [0, 0, 1]])
    h[:2, 2] += [40, 80]
    return cv2.warpPerspective(photo, h, (400, 400), borderMode=cv2.BORDER_REFLECT_101), h


def test_it_needs_nothing_fetched(photo: np.ndarray, matcher: Matcher) -> None:
    """GCM_OFFLINE is set, the cache is empty."""
    result = matcher.match(photo, photo)
    assert len(result) > 1000
    assert np.mean(errors(result, np.eye(3)) < 1e-6) > 0.99
    assert result.homography is not None
    np.testing.assert_allclose(result.homography, np.eye(3), atol=1e-4)


@pytest.mark.parametrize("degrees", [12, 90, 250])
def test_turned_photos(photo: np.ndarray, matcher: Matcher, degrees: float) -> None:
    other, h_0_to_1 = turned(photo, degrees)
    result = matcher.match(photo, other)
    assert len(result) > 300
    assert np.mean(errors(result, h_0_to_1) < 2) > 0.8
    assert result.homography is not None
    corners = np.array([[0.0, 0], [319, 0], [319, 239], [0, 239]])
    off = apply_homography(result.homography, corners) - apply_homography(h_0_to_1, corners)
    assert np.linalg.norm(off, axis=1).max() < 2


def test_upright_hypotheses_only(photo: np.ndarray) -> None:
    other, h_0_to_1 = turned(photo, 90)
    result = Matcher(device="cpu", hypotheses="upright").match(photo, other)
    assert len(result) < 20 or np.mean(errors(result, h_0_to_1) < 2) < 0.5


@pytest.mark.parametrize("value", [0, 90])
def test_nothing_is_invented_on_flat_ground(photo: np.ndarray, matcher: Matcher, value: int) -> None:
    photo = photo[:96, :128]
    flat = np.full((90, 125, 3), value, np.uint8)
    for pair in ((flat, flat), (flat, photo), (photo, flat)):
        result = matcher.match(*pair)
        assert len(result) == 0
        assert result.homography is None


@pytest.mark.parametrize("size", [(1, 1), (10, 1000), (31, 31)])
def test_tiny_and_thin_images(photo: np.ndarray, matcher: Matcher, size: tuple[int, int]) -> None:
    photo = photo[:96, :128]
    tiny = cv2.resize(photo, size)
    for pair in ((tiny, photo), (photo, tiny), (tiny, tiny)):
        result = matcher.match(*pair)
        for points, (width, height) in ((result.points0, result.size0), (result.points1, result.size1)):
            assert (points >= -0.5).all()
            assert (points <= np.array([width - 0.5, height - 0.5])).all()


def test_exposure_does_not_matter(photo: np.ndarray, matcher: Matcher) -> None:
    dark = np.clip(photo.astype(float) * 0.4 + 12, 0, 255).astype(np.uint8)
    result = matcher.match(photo, dark)
    assert len(result) > 1000
    assert np.mean(errors(result, np.eye(3)) < 1) > 0.95


def noisy(photo: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 70, photo.shape)
    return np.clip(photo + noise, 0, 255).astype(np.uint8)


def test_verification_drops_the_wrong_ones(photo: np.ndarray) -> None:
    """Half of the other photo shows something else, to which nothing can be matched rightly."""
    other = photo.copy()
    other[:, 160:] = photo[::-1, :160]
    verified, all_of_them = (
        Matcher(device="cpu", geometry="multi", verify=verify).match(photo, other) for verify in (True, False)
    )
    assert 200 < len(verified) < len(all_of_them)
    precise = np.mean(errors(verified, np.eye(3)) < 3)
    assert precise > 0.98
    assert precise > np.mean(errors(all_of_them, np.eye(3)) < 3) + 0.02


def test_scores_rank(photo: np.ndarray) -> None:
    """Among matches that were not verified, the right ones have the higher scores."""
    result = Matcher(device="cpu", verify=False).match(photo, noisy(photo))
    right = errors(result, np.eye(3)) < 2
    assert ((result.scores >= 0) & (result.scores <= 1)).all()
    assert np.sum(~right) > 20
    assert np.median(result.scores[right]) > np.median(result.scores[~right])


@pytest.mark.parametrize("geometry", ["homography", "multi", "none", "auto"])
def test_every_geometry_matches_an_upright_pair(photo: np.ndarray, geometry: str) -> None:
    other, h_0_to_1 = turned(photo, 6)
    result = Matcher(device="cpu", geometry=geometry).match(photo, other)
    assert len(result) > 500
    assert np.mean(errors(result, h_0_to_1) < 3) > 0.95


def test_a_second_plane_is_kept(photo: np.ndarray, matcher: Matcher) -> None:
    """Two halves that move differently: both are matched, unless the scene is said to be one plane."""
    left, right = np.eye(3), np.eye(3)
    left[0, 2], right[0, 2] = 12.0, -14.0
    other = cv2.warpPerspective(photo, left, (320, 240))
    moved = cv2.warpPerspective(photo, right, (320, 240))
    other[:, 160:] = moved[:, 160:]
    result = Matcher(device="cpu", geometry="multi").match(photo, other)
    counts = [np.sum(errors(result, h) < 2) for h in (left, right)]
    assert min(counts) > 150
    assert sum(counts) > 0.95 * len(result)
    one = Matcher(device="cpu", geometry="homography").match(photo, other)
    assert min(np.sum(errors(one, h) < 2) for h in (left, right)) < 50


@pytest.mark.parametrize("height", [4.0, 6.0])
def test_low_relief_is_not_taken_for_its_ground(photo: np.ndarray, matcher: Matcher, height: float) -> None:
    """A twelfth of the photo stands out by less than a coarse cell."""
    y, x = np.mgrid[:240, :320].astype(np.float32)
    raised = height * np.clip(1.4 - np.hypot((x - 170) / 55, (y - 120) / 50), 0, 0.4) / 0.4
    other = cv2.remap(photo, x + raised.astype(np.float32), y, cv2.INTER_CUBIC)
    matches = matcher.match(other, photo)
    moved = matches.points1 - matches.points0
    column, row = np.round(matches.points0).astype(int).T
    on_top = raised[row, column] > 0.99 * height
    assert np.mean(np.hypot(*(moved[on_top] - [height, 0]).T) < 1) > 0.9
    assert on_top.sum() > 0.6 * (raised > 0.99 * height).mean() * len(matches)


def test_what_strays_from_its_epipolar_line_is_dropped(shared: Path, matcher: Matcher) -> None:
    """Of rectified images, whose lines are their rows."""
    pair = [shared / "data" / "middlebury-stereo-opencv" / "teddy" / name for name in ("im2.png", "im6.png")]
    without = Matcher(device="cpu", lines={"fewest": 10**6}).match(*pair)
    matches = matcher.match(*pair)
    strayed, before = (np.abs(m.points1[:, 1] - m.points0[:, 1]) > 1.5 for m in (matches, without))
    assert before.mean() > 0.01
    assert strayed.mean() < 0.6 * before.mean()
    assert len(matches) > 0.94 * len(without)


def test_what_moves_off_its_epipolar_lines_as_a_whole_is_kept(photo: np.ndarray) -> None:
    """Ground that comes nearer to the bottom, and a thing before it that moves by itself."""
    y, x = np.mgrid[:240, :320].astype(np.float32)
    motion = np.stack([4 + y / 12, np.zeros_like(y)], axis=-1)
    motion[80:160, 120:210] = 14, 5
    other = cv2.remap(photo, x + motion[..., 0], y + motion[..., 1], cv2.INTER_CUBIC)
    kept = []
    for fewest in (100, 10**6):
        matches = Matcher(device="cpu", geometry="none", lines={"fewest": fewest}).match(other, photo)
        column, row = np.round(matches.points0).astype(int).T
        right = np.linalg.norm(matches.points1 - matches.points0 - motion[row, column], axis=1) < 1
        thing = (abs(row - 120) < 38) & (abs(column - 165) < 43)
        kept.append(int((right & thing).sum()))
        assert np.mean(right) > 0.99
    assert kept[1] > 100
    assert kept[0] > 0.85 * kept[1]


def test_the_sky_over_a_scene_holds_no_matches(shared: Path, matcher: Matcher) -> None:
    """Clouds agree by chance, a few matches at a time, and no cloud is on two photos of different days."""
    folder = shared / "data" / "sacre-coeur"
    pair = [folder / name for name in ("17295357_9106075285.jpg", "93341989_396310999.jpg")]
    found = [Matcher(device="cpu", lines={"group": 0}).match(*pair), matcher.match(*pair)]
    sky = [(m.points0[:, 0] > 720) & (m.points0[:, 1] < 270) for m in found]
    assert sky[0].sum() >= 10
    assert sky[1].sum() <= 0.3 * sky[0].sum()
    assert len(found[1]) > 0.9 * len(found[0])


@pytest.mark.parametrize("shrunk", [0, 1])
def test_half_the_size_either_way(photo: np.ndarray, matcher: Matcher, shrunk: int) -> None:
    big = cv2.resize(photo, (640, 480), interpolation=cv2.INTER_CUBIC)
    pair = [big, big]
    pair[shrunk] = photo
    scale = 0.5 if shrunk else 2.0
    h_0_to_1 = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5], [0, 0, 1]])
    result = matcher.match(*pair)
    assert len(result) > 500
    assert np.mean(errors(result, h_0_to_1) < 1.5) > 0.95


@pytest.mark.parametrize("precision", ["bfloat16", "auto"])
def test_precision_hardly_changes_the_answer(photo: np.ndarray, matcher: Matcher, precision: str) -> None:
    other, h_0_to_1 = turned(photo, 12)
    whole = matcher.match(photo, other)
    reduced = Matcher(device="cpu", precision=precision).match(photo, other)
    assert reduced.info["precision"] in {"float32", "bfloat16"}
    assert whole.info["precision"] == "float32"
    assert len(reduced) > 0.9 * len(whole)
    assert np.mean(errors(reduced, h_0_to_1) < 1) > np.mean(errors(whole, h_0_to_1) < 1) - 0.05
