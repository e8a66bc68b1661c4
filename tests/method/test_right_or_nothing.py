"""Pairs that show next to nothing in common, or nothing: the true matches, or an honest none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.accuracy.sets.unmatchable import facade, facade_shift
from gcm.geometry import apply_homography
from gcm.matcher import Matcher
from gcm.matches import Matches


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return Matcher("default", device="cpu")


def shift(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def right_share(result: Matches, h_0_to_1: np.ndarray) -> float:
    off = np.linalg.norm(apply_homography(h_0_to_1, result.points0) - result.points1, axis=1)
    return float(np.mean(off < 3)) if len(off) else 0.0


def test_a_match_says_how_sure_it_is(photo: np.ndarray, matcher: Matcher) -> None:
    same = matcher.match(photo, np.roll(photo, 6, axis=1))
    assert same.confidence is not None
    assert same.confidence > 0.9
    other = matcher.match(photo, photo[::-1, ::-1].transpose(1, 0, 2))
    assert 0 <= (other.confidence or 0) <= 1
    assert set(same.info["evidence"]) >= {"significance", "share", "number"}


def test_mirrored_photos_have_no_match(photo: np.ndarray, matcher: Matcher) -> None:
    result = matcher.match(photo, np.ascontiguousarray(photo[:, ::-1]))
    assert len(result) == 0
    assert result.confidence is not None
    assert result.confidence < 0.5


@pytest.mark.parametrize("preset", ["default", "fast"])
def test_where_nothing_speaks_for_a_pair_it_is_not_looked_at_larger(photo: np.ndarray, preset: str) -> None:
    """Larger looks cost most, and most pairs of a collection have nothing in common."""
    matcher = Matcher(preset, device="cpu", precision="float32")
    result = matcher.match(photo, facade(3, (0, 0)))  # old OpenCV draws 2 so that something does speak
    assert len(result) == 0
    assert not any("in full size" in line for line in result.info["trace"])


@pytest.mark.parametrize("seed", range(3))
def test_skies_have_no_match(matcher: Matcher, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gradient = np.linspace((90, 140, 210), (200, 220, 240), 300)[:, None]
    first, second = (
        np.clip(gradient + rng.normal(0, 3, (300, 400, 3)), 0, 255).astype(np.uint8) for _ in range(2)
    )
    result = matcher.match(first, second)
    assert len(result) == 0
    assert (result.confidence or 0) < 0.5


def test_what_was_not_believed_can_be_asked_for(photo: np.ndarray) -> None:
    mirrored = np.ascontiguousarray(photo[:, ::-1])
    results = [
        Matcher("default", device="cpu", min_confidence=least).match(photo, mirrored) for least in (0.0, 1.0)
    ]
    assert results[0].confidence == results[1].confidence
    assert len(results[1]) == 0
    same = Matcher("default", device="cpu", min_confidence=1.0).match(photo, photo)
    assert len(same) == 0
    assert same.confidence is not None
    assert 0.9 < same.confidence < 1


@pytest.mark.parametrize("number", [1, 2, 4, 5])
def test_a_sign_tells_equal_windows_apart(matcher: Matcher, number: int) -> None:
    """Moved by a window more or less, windows fall on windows; only the sign does not."""
    moved = facade_shift(number)
    result = matcher.match(facade(number, (0, 0)), facade(number, moved))
    assert len(result) > 500
    assert right_share(result, shift(-moved[0], -moved[1])) > 0.95


def test_equal_windows_alone_are_ambiguous(matcher: Matcher) -> None:
    sign_out_of_view = (400, 0)
    result = matcher.match(facade(2, sign_out_of_view)[:, :400], facade(2, sign_out_of_view)[:, 100:])
    assert result.confidence is not None
    assert result.confidence <= 0.5
    assert len(result) == 0


@pytest.mark.parametrize("swapped", [False, True])
def test_a_small_part_is_found_in_the_whole(photo: np.ndarray, matcher: Matcher, swapped: bool) -> None:
    whole = cv2.resize(photo, (640, 480), interpolation=cv2.INTER_CUBIC)
    part = whole[200:296, 300:396]
    images, h = ((part, whole), shift(300, 200)) if swapped else ((whole, part), shift(-300, -200))
    result = matcher.match(*images)
    assert len(result) > 50
    assert right_share(result, h) > 0.95


@pytest.mark.parametrize("geometry", ["auto", "multi", "none"])
def test_either_order_gives_the_same(photo: np.ndarray, geometry: str) -> None:
    matcher = Matcher("default", device="cpu", geometry=geometry)
    h = np.array([[0.96, 0.05, 7], [-0.04, 1.03, 4], [1e-4, 0, 1]])
    other = cv2.warpPerspective(photo, h, photo.shape[1::-1])
    forward, backward = matcher.match(photo, other), matcher.match(other, photo)
    assert len(forward) > 300
    assert forward.confidence == backward.confidence
    np.testing.assert_array_equal(forward.points0, backward.points1)
    np.testing.assert_array_equal(forward.points1, backward.points0)
    np.testing.assert_array_equal(forward.scores, backward.scores)


def test_depth_is_matched_on_both_sides_of_an_edge(photo: np.ndarray, matcher: Matcher) -> None:
    """A board before a wall moves by 40 px where the wall moves by 4: nothing is silently a plane."""
    wall = cv2.resize(photo, (640, 480), interpolation=cv2.INTER_CUBIC)
    board = wall[60:300, 40:240].copy()[:, ::-1]
    first, second = np.roll(wall, 0, axis=1).copy(), np.roll(wall, 4, axis=1).copy()
    first[120:360, 200:400] = board
    second[120:360, 240:440] = board
    result = matcher.match(first, second)
    x, y = result.points0.T
    on_board = (x >= 200) & (x < 400) & (y >= 120) & (y < 360)
    moved = result.points1 - result.points0
    right_board = np.linalg.norm(moved[on_board] - (40, 0), axis=1) < 1
    right_wall = np.linalg.norm(moved[~on_board] - (4, 0), axis=1) < 1
    assert right_board.sum() > 300
    assert right_wall.sum() > 1000
    assert right_board.mean() > 0.9
    assert right_wall.mean() > 0.9
