"""Guided matching with the embedded weights: what each key changes, on photos whose motion is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gcm.config import load_config
from gcm.errors import ConfigError
from gcm.geometry import apply_homography
from gcm.images.files import load_image
from gcm.matcher import Matcher
from gcm.matches import Matches
from gcm.options import GuidedOptions

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PERSPECTIVE = np.array([[1.02, 0.05, 5], [-0.04, 0.98, 7], [1e-4, -5e-5, 1]])

Make = Callable[..., Matcher]


@pytest.fixture(scope="module")
def make() -> Make:
    @cache
    def matcher(**changes: Any) -> Matcher:
        return Matcher(device="cpu", **changes)

    return matcher


@pytest.fixture(scope="module")
def left() -> np.ndarray:
    """A real photo, 512 x 512."""
    return load_image(EXAMPLES / "left.jpg")


@pytest.fixture(scope="module")
def right() -> np.ndarray:
    """The same under a homography, on another background."""
    return load_image(EXAMPLES / "right.jpg")


@pytest.fixture(scope="module")
def left_to_right() -> np.ndarray:
    return np.loadtxt(EXAMPLES / "h_left_to_right.txt")


def errors(result: Matches, h_0_to_1: np.ndarray) -> np.ndarray:
    return np.linalg.norm(apply_homography(h_0_to_1, result.points0) - result.points1, axis=1)


def warp(image: np.ndarray, h: np.ndarray) -> np.ndarray:
    return cv2.warpPerspective(image, h, image.shape[1::-1])


def noisy(image: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, deviation, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def off_cells(points: np.ndarray) -> np.ndarray:
    """From the centres of the cells of the finest map, which has stride 2."""
    cells = (points - 0.5) / 2
    return np.abs(cells - np.rint(cells))


def trace(result: Matches) -> str:
    return "; ".join(result.info["trace"])


# -- positions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", ["auto", "homography", "multi", "none"])
def test_identity_is_exact(left: np.ndarray, make: Make, geometry: str) -> None:
    result = make(geometry=geometry).match(left, left)
    assert len(result) > 5000
    assert errors(result, np.eye(3)).max() < 1e-4


def test_identity_at_full_resolution(left: np.ndarray, make: Make) -> None:
    """Every match is at its peak at once, so that none is left to be looked up again."""
    result = make(finest_stride=1).match(left, left)
    assert len(result) > 5000
    assert errors(result, np.eye(3)).max() < 1e-6


def test_without_subpixel_points_are_whole_cells_of_the_warped_frame(photo: np.ndarray, make: Make) -> None:
    other = warp(photo, PERSPECTIVE)
    found = {on: make(subpixel=on, smooth=False).match(photo, other) for on in (True, False)}
    for subpixel, result in found.items():
        assert len(result) > 1000
        assert off_cells(result.points0).max() == 0
        assert result.h_1_to_0_initial is not None
        off = off_cells(apply_homography(result.h_1_to_0_initial, result.points1))
        assert off.mean() > 0.05 if subpixel else off.max() < 1e-6
    fine, whole = (np.median(errors(found[k], PERSPECTIVE)) for k in (True, False))
    assert fine < 0.25
    assert fine < 0.6 * whole


@pytest.mark.e2e
def test_fine_detail_is_matched_at_full_size(make: Make) -> None:
    """1600 x 1200 with detail of a few pixels: positions are far finer than any small copy allows."""
    rng = np.random.default_rng(3)
    image = np.zeros((1200, 1600, 3), np.float32)
    for scale in (3, 6, 30, 120):
        noise = rng.uniform(0, 1, (1200 // scale + 2, 1600 // scale + 2, 3)).astype(np.float32)
        image += cv2.resize(noise, (1600, 1200), interpolation=cv2.INTER_CUBIC)
    large = np.asarray(255 * (image - image.min()) / np.ptp(image), np.uint8)
    h = np.array([[0.97, 0.06, 30], [-0.05, 1.02, 40], [1e-5, -2e-5, 1]])
    result = make(max_side=None).match(large, warp(large, h))
    assert result.info["working_size0"] == [1600, 1200]
    assert len(result) > 20_000
    assert np.median(errors(result, h)) < 0.25
    assert np.mean(errors(result, h) < 1) > 0.99


@pytest.mark.parametrize("shrunk", [0, 1])
def test_half_the_size_is_matched_where_there_is_more_detail(
    left: np.ndarray, make: Make, shrunk: int
) -> None:
    pair = [left, left]
    pair[shrunk] = cv2.resize(left, (256, 256), interpolation=cv2.INTER_AREA)
    scale = 0.5 if shrunk else 2.0
    h = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5], [0, 0, 1]])
    result = make().match(*pair)
    assert len(result) > 5000
    assert np.mean(errors(result, h) < 1) > 0.98
    assert "seen from image 1" in trace(result)  # of the pair as it is matched, the smaller first


# -- geometry ----------------------------------------------------------------------------------


def test_geometry_none_undoes_nothing(left: np.ndarray, make: Make) -> None:
    """It matches what is nearly aligned, and nothing that is turned, which the others turn back."""
    small = np.array([[1.01, 0.03, 6], [-0.02, 0.99, 9], [0, 0, 1]])
    result = make(geometry="none", subpixel=False, smooth=False).match(left, warp(left, small))
    assert len(result) > 2000
    assert np.mean(errors(result, small) < 2) > 0.96  # whole cells are 2 px wide
    assert off_cells(result.points1).max() == 0  # not warped
    turned = np.ascontiguousarray(np.rot90(left))
    quarter = np.array([[0.0, 1, 0], [-1, 0, 511], [0, 0, 1]])
    assert len(make(geometry="none").match(left, turned)) < 20
    for geometry in ("auto", "homography", "multi"):
        other = make(geometry=geometry).match(left, turned)
        assert len(other) > 5000
        assert np.mean(errors(other, quarter) < 1) > 0.99


def test_geometry_none_is_a_value_and_not_the_lack_of_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    for text, expected in (("none", "none"), ("", None), ("auto", "auto")):
        path.write_text(f"model: GCM_COMPACT\nratio_th: [1, 1, 1, 1, 1]\ngeometry: {text}\n")
        method = load_config(path).method
        assert (method.geometry if isinstance(method, GuidedOptions) else None) == expected
    assert load_config(geometry="none").method.geometry == "none"
    with pytest.raises(ConfigError, match="geometry: must be '"):
        load_config(geometry="several")


FIRST = np.array([[1.0, 0.12, -8], [-0.1, 0.96, 14], [0, 0, 1]])
SECOND = {
    "a turn": np.array([[0.98, -0.17, 50], [0.17, 0.98, -50], [0, 0, 1]]),
    "a stretch": np.array([[0.75, 0, 125], [-0.1, 1.0, 30], [-2e-4, 0, 1]]),
    "a turn and a scale": np.array([[0.82, -0.2, 120], [0.22, 0.85, -40], [1e-4, 0, 1]]),
}


def two_planes(left: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, Callable[[Matches], np.ndarray]]:
    """A photo whose halves move differently, and how far matches are off."""
    halves = np.arange(512) < 256
    other = np.full_like(left, 127)
    for h, half in ((FIRST, halves), (second, ~halves)):
        shown = warp(np.tile(half, (512, 1)).astype(np.uint8), h) > 0
        other[shown] = warp(left, h)[shown]
    return other, lambda r: np.where(r.points0[:, 0] < 256, errors(r, FIRST), errors(r, second))


@pytest.mark.parametrize("second", SECOND)
def test_two_planes(left: np.ndarray, make: Make, second: str) -> None:
    """The halves of a photo move differently; a second round for one must not cost the other."""
    other, truth = two_planes(left, SECOND[second])

    def right_ones(geometry: str) -> tuple[int, int, float]:
        result = make(geometry=geometry).match(left, other)
        on_left, right = result.points0[:, 0] < 256, truth(result) < 2
        return int(np.sum(right & on_left)), int(np.sum(right & ~on_left)), float(right.mean())

    for geometry in ("multi", "auto"):
        *counts, precision = right_ones(geometry)
        assert min(counts) > 2000
        assert precision > 0.99
    *counts, _ = right_ones("homography")
    assert max(counts) > 2000
    assert min(counts) < 100


# -- rounds, verification, scores --------------------------------------------------------------


def test_second_round(left: np.ndarray, make: Make) -> None:
    """It adds matches and precision where the first warp was rough, as it is under a strong tilt."""
    tilt = np.array([[1.2406, -0.9465, 192.233], [0.9926, 0.5219, -119.785], [0.00149, -0.00132, 1.0]])
    other = warp(left, tilt)
    found = {}
    for second in (False, True):
        # The network whose coarse map bears less, and its own bound, so that the first warp is rough.
        compact: dict[str, Any] = {"model": "GCM_COMPACT", "method.views.sure": 30}
        result = make(second_round=second, geometry="homography", **compact).match(left, other)
        assert ("round 2" in trace(result)) == second
        found[second] = errors(result, tilt)
    assert np.sum(found[True] < 1) > 1.05 * np.sum(found[False] < 1) > 500
    assert np.median(found[True]) < 0.9 * np.median(found[False])


def test_smoothing_takes_noise_and_keeps_edges(left: np.ndarray, make: Make) -> None:
    """Two sides that move by different amounts: each becomes more precise, at a small loss near the edge."""
    other = left.copy()
    other[:, 256:] = np.roll(left, 6, axis=1)[:, 256:]  # the right half moves by 6 px, over the edge's strip
    errors_of = {}
    for smooth in (False, True):
        alone: dict[str, Any] = {"method.lines.fewest": 10**6}  # lines would take some of the noise as well
        result = make(smooth=smooth, geometry="none", **alone).match(left, noisy(other, 20))
        right_half = result.points0[:, 0] > 256
        moved = np.where(right_half, 6.0, 0.0)
        off = np.abs(result.points1[:, 0] - result.points0[:, 0] - moved)
        errors_of[smooth] = off, np.abs(result.points0[:, 0] - 256) < 30
    far, close = ([errors_of[k][0][errors_of[k][1] == near] for k in (False, True)] for near in (False, True))
    assert np.median(far[1]) < 0.75 * np.median(far[0])
    assert np.mean(far[1] < 0.5) > np.mean(far[0] < 0.5) + 0.02
    assert np.mean(close[1] < 0.5) > np.mean(close[0] < 0.5) - 0.08


def test_a_plane_in_shrunk_photos_is_as_dense_and_as_exact(left: np.ndarray, make: Make) -> None:
    image0 = cv2.resize(left, (800, 720), interpolation=cv2.INTER_CUBIC)
    image1 = warp(image0, PERSPECTIVE)
    shrunk, whole = (make(**{"method.planes.zoom": zoom}).match(image0, image1) for zoom in (0.7, 1.0))
    assert 0.75 * len(whole) < len(shrunk) < 1.25 * len(whole)
    for result in (shrunk, whole):
        assert np.median(errors(result, PERSPECTIVE)) < 0.25


def test_shrunk_photos_have_a_whole_number_of_pixels(left: np.ndarray, make: Make) -> None:
    """901 and 896 pixels become 631 and 627, not 630.7 and 627.2: or the far edge would be 0.7 px off."""
    image0 = cv2.resize(left, (901, 667), interpolation=cv2.INTER_CUBIC)
    result = make(**{"method.planes.zoom": 0.7}).match(image0, image0[:, :896])
    far = result.points0[:, 0] > 700
    assert far.sum() > 500
    assert np.abs(np.median((result.points1 - result.points0)[far], axis=0)).max() < 0.2


def test_small_photos_are_not_shrunk_for_a_plane(left: np.ndarray, make: Make) -> None:
    small = cv2.resize(left, (320, 320), interpolation=cv2.INTER_AREA)
    shrunk, whole = (make(**{"method.planes.zoom": zoom}).match(small, small) for zoom in (0.5, 1.0))
    assert np.array_equal(shrunk.points0, whole.points0)
    assert np.array_equal(shrunk.points1, whole.points1)


def test_fewer_matches_at_a_coarser_stride(left: np.ndarray, right: np.ndarray, make: Make) -> None:
    truth = np.loadtxt(EXAMPLES / "h_left_to_right.txt")
    whole: dict[str, Any] = {"method.planes.zoom": 1.0}
    many, few, coarse = (
        make(**whole, **changes).match(left, right)
        for changes in ({}, {"matches_per_cell": 1}, {"matches_per_cell": 1, "finest_stride": 2})
    )
    assert len(few) < 0.6 * len(many)
    assert len(coarse) > 1500
    for result in (many, few, coarse):
        assert np.median(errors(result, truth)) < 0.3
    # Of the image that was matched first, points are centres of stride-2 cells.
    assert any(np.all(points % 2 == 0.5) for points in (coarse.points0, coarse.points1))
    for changes, message in (
        (
            {"method": "published", "finest_stride": 2, "fine_model": "gcm_patch"},
            "leaves out the patch descriptor",
        ),
        ({"finest_stride": 3}, "finest_stride"),
    ):
        with pytest.raises(ConfigError, match=message):
            Matcher(**changes)


def test_verification_on_a_noisy_pair(
    left: np.ndarray, right: np.ndarray, left_to_right: np.ndarray, make: Make
) -> None:
    whole: dict[str, Any] = {"method.planes.zoom": 1.0}  # only one of the two would be seen shrunk
    verified, everything = (
        make(verify=verify, geometry="multi", **whole).match(left, noisy(right, 60))
        for verify in (True, False)
    )
    assert 2000 < len(verified) < len(everything)
    precisions = [np.mean(errors(result, left_to_right) < 3) for result in (verified, everything)]
    assert precisions[0] > 0.98
    assert precisions[0] > precisions[1] + 0.05


def test_on_a_plane_what_is_off_by_itself_is_dropped(
    left: np.ndarray, right: np.ndarray, left_to_right: np.ndarray, make: Make
) -> None:
    # A share of 1 keeps it: a match is one of those around it.
    checked, unchecked = (
        make(**{"method.lines.share": share}).match(left, noisy(right, 60)) for share in (0.5, 1.0)
    )
    assert 0.8 * len(unchecked) < len(checked) < len(unchecked)
    within = [np.mean(errors(result, left_to_right) < 1) for result in (checked, unchecked)]
    assert within[0] > within[1] + 0.005


def test_low_relief_on_a_plane_is_kept(left: np.ndarray, make: Make) -> None:
    """What lies two pixels off a plane as a whole is right, though the plane is nearly all of the scene."""
    right = np.roll(left, 6, axis=1)
    right[200:280, 206:286] = left[200:280, 202:282]
    numbers = []
    for share in (0.5, 1.0):  # 1 drops nothing of it
        result = make(**{"method.lines.share": share}).match(left, right)
        x, y = result.points0.T
        raised = (x > 212) & (x < 272) & (y > 210) & (y < 270)
        off = np.linalg.norm(result.points1 - result.points0 - [4, 0], axis=1)
        numbers.append(np.sum(off[raised] < 0.5))
    assert numbers[1] > 50
    assert numbers[0] > 0.9 * numbers[1]


@pytest.mark.parametrize("verify", [True, False])
def test_scores_rank_right_above_wrong(
    left: np.ndarray, right: np.ndarray, left_to_right: np.ndarray, make: Make, verify: bool
) -> None:
    result = make(verify=verify, geometry="multi").match(left, noisy(right, 90))
    assert result.scores.shape == (len(result),)
    assert result.scores.min() >= 0
    assert result.scores.max() <= 1
    off = errors(result, left_to_right)
    right_ones, wrong = result.scores[off < 1], result.scores[off > 2]
    assert len(wrong) > 25
    # The chance that a right match has a higher score than a wrong one.
    assert np.mean(right_ones[:, None] > wrong) > 0.7


def test_unrelated_photos_have_nothing_in_common(left: np.ndarray, photo: np.ndarray, make: Make) -> None:
    for pair in ((left, photo), (photo, left[::-1])):
        assert len(make().match(*pair)) < 15


def test_swapped_images_agree(
    left: np.ndarray, right: np.ndarray, left_to_right: np.ndarray, make: Make
) -> None:
    forward, backward = make().match(left, right), make().match(right, left)
    assert min(len(forward), len(backward)) > 3000
    precise = [
        np.mean(errors(forward, left_to_right) < 2),
        np.mean(errors(backward, np.linalg.inv(left_to_right)) < 2),
    ]
    assert min(precise) > 0.98
    assert abs(precise[0] - precise[1]) < 0.01
