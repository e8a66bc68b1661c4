"""Stage 0 with hypotheses, on the example photo and the embedded weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gcm.geometry import apply_homography
from gcm.images.files import load_image
from gcm.matcher import Matcher
from gcm.method.coarse import Views, consensus_score, turn_image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return Matcher("default", device="cpu", max_side=320)


@pytest.fixture(scope="module")
def left() -> NDArray[np.uint8]:
    image = load_image(EXAMPLES / "left.jpg")
    return np.asarray(cv2.resize(image, (320, 320), interpolation=cv2.INTER_AREA), np.uint8)


Photo = NDArray[np.uint8]


def _moved(image: Photo, angle: float, scale: float) -> tuple[Photo, NDArray[np.float64]]:
    turned, h = turn_image(image, angle)
    size = (round(turned.shape[1] * scale), round(turned.shape[0] * scale))
    small = np.asarray(cv2.resize(turned, size, interpolation=cv2.INTER_AREA), np.uint8)
    scaling = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5], [0, 0, 1]])
    return small, scaling @ h


@pytest.mark.parametrize(("angle", "scale"), [(0, 1), (90, 1), (135, 1), (200, 0.8), (0, 0.45), (300, 0.5)])
def test_undoes_rotation_and_scale(matcher: Matcher, left: Photo, angle: float, scale: float) -> None:
    right, h_0_to_1 = _moved(left, angle, scale)
    found = matcher.match(left, right)
    error = np.linalg.norm(apply_homography(h_0_to_1, found.points0) - found.points1, axis=1)
    assert len(found) > 300
    assert np.mean(error <= 3) > 0.9


def test_upright_alone_fails_where_auto_does_not(left: NDArray[np.uint8]) -> None:
    right, h_0_to_1 = _moved(left, 180, 1)
    found = Matcher("default", device="cpu", hypotheses="upright").match(left, right)
    error = np.linalg.norm(apply_homography(h_0_to_1, found.points0) - found.points1, axis=1)
    assert np.sum(error <= 3) < 300


def test_unrelated_photos_have_no_gross_homography(matcher: Matcher, left: NDArray[np.uint8]) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (40, 40, 3), np.uint8)
    other = np.asarray(cv2.resize(noise, (320, 320), interpolation=cv2.INTER_CUBIC), np.uint8)
    found = matcher.match(left, other)
    np.testing.assert_array_equal(found.h_1_to_0_initial, np.eye(3))


def test_eight_angles_need_two_maps_of_one_image_and_four_of_the_other(left: Photo) -> None:
    views = Views(left, left[:, :200])
    seen: tuple[set[int], set[int]] = set(), set()
    for angle in range(0, 360, 45):
        view = views.of(angle, None)
        # What is upright in both images lies so far apart in their views.
        turns = [np.arctan2(to[1, 0], to[0, 0]) for to in (view.to0, view.to1)]
        assert np.degrees(turns[0] - turns[1]) % 360 == pytest.approx(angle, abs=1e-6)
        for maps, request in zip(seen, (view.request0, view.request1), strict=True):
            maps.add(id(request))
    assert [len(maps) for maps in seen] == [2, 4]


def test_spread_counts() -> None:
    corner = np.random.default_rng(0).uniform(0, 10, (100, 2))
    spread = np.random.default_rng(1).uniform(0, 319, (30, 2)) * [1, 0.75]
    assert consensus_score(corner, (320, 240), 8) == 10.0
    assert consensus_score(spread, (320, 240), 8) > 20
    assert consensus_score(corner[:0], (320, 240), 8) == 0
