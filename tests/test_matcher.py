"""The whole matcher, on images whose answer is known. Weights are random: structure, not accuracy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import gcm
from gcm import features
from gcm.config import MatcherConfig
from gcm.errors import ConfigError, ImageError
from gcm.geometry import apply_homography, resize_points
from gcm.matcher import Matcher, working_size
from gcm.matches import Matches

Make = Callable[..., Matcher]


@pytest.fixture(scope="module")
def matcher(make_matcher: Make) -> Matcher:
    return make_matcher()


@pytest.fixture(scope="module")
def exact(make_matcher: Make) -> Matcher:
    return make_matcher(compat=True)


@pytest.fixture(scope="module")
def one_stage(make_matcher: Make) -> Matcher:
    return make_matcher(enable_two_stage=False)


def errors(result: Matches, h_0_to_1: np.ndarray) -> np.ndarray:
    return np.linalg.norm(apply_homography(h_0_to_1, result.points0) - result.points1, axis=1)


def rows(result: Matches) -> list[tuple[float, ...]]:
    return sorted(map(tuple, np.column_stack([result.points0, result.points1]).round(6).tolist()))


def assert_equal(a: Matches, b: Matches) -> None:
    np.testing.assert_array_equal(a.points0, b.points0)
    np.testing.assert_array_equal(a.points1, b.points1)
    np.testing.assert_array_equal(a.scores, b.scores)


@pytest.mark.parametrize("name", ["matcher", "exact", "one_stage"])
def test_identity(name: str, photo: np.ndarray, request: pytest.FixtureRequest) -> None:
    result = request.getfixturevalue(name).match(photo, photo)
    # Two pixels of every stride-2 cell inside the border would be 8 x 8 x 2 per coarse cell.
    assert len(result) > 1000
    np.testing.assert_allclose(result.points0, result.points1, atol=1e-9)
    assert result.homography is not None
    np.testing.assert_allclose(result.homography, np.eye(3), atol=1e-6)
    assert result.inliers is not None
    assert result.inliers.all()
    assert result.size0 == result.size1 == (320, 240)


@pytest.mark.parametrize("shift", [(16, 0), (32, -16), (-48, 32)])
@pytest.mark.parametrize("name", ["matcher", "exact", "one_stage"])
def test_integer_shift(
    name: str, shift: tuple[int, int], photo: np.ndarray, request: pytest.FixtureRequest
) -> None:
    moved = np.roll(photo, shift, axis=(0, 1))[:, :]
    h_0_to_1 = np.array([[1.0, 0, shift[1]], [0, 1, shift[0]], [0, 0, 1]])
    result = request.getfixturevalue(name).match(photo, moved)
    assert len(result) > 300
    assert np.mean(errors(result, h_0_to_1) < 0.01) > 0.95
    assert result.homography is not None
    np.testing.assert_allclose(result.homography, h_0_to_1, atol=0.05)


HOMOGRAPHIES = {
    "perspective": [[1.02, 0.05, 5], [-0.04, 0.98, 7], [1e-4, -5e-5, 1]],
    "smaller": [[0.85, 0.0, 20], [0.0, 0.85, 10], [0, 0, 1]],
    "turned": [[0.99, -0.12, 18], [0.12, 0.99, -12], [0, 0, 1]],
}


@pytest.mark.parametrize("compat", [True, False])
@pytest.mark.parametrize("name", HOMOGRAPHIES)
def test_exact_homographies(
    name: str, compat: bool, photo: np.ndarray, matcher: Matcher, exact: Matcher
) -> None:
    h_0_to_1 = np.array(HOMOGRAPHIES[name])
    warped = cv2.warpPerspective(photo, h_0_to_1, (320, 240))
    result = (exact if compat else matcher).match(photo, warped)
    assert len(result) > 300
    assert np.mean(errors(result, h_0_to_1) < 1.5) > 0.9
    assert result.homography is not None
    corners = np.array([[0.0, 0], [319, 0], [319, 239], [0, 239]])
    off = apply_homography(result.homography, corners) - apply_homography(h_0_to_1, corners)
    assert np.linalg.norm(off, axis=1).max() < 2
    assert result.h_1_to_0_initial is not None
    # Stage 0 may be off by a coarse cell or two; it was asked for the gross motion only.
    rough = apply_homography(result.h_1_to_0_initial, apply_homography(h_0_to_1, corners)) - corners
    assert np.linalg.norm(rough, axis=1).max() < 40


@pytest.mark.parametrize("size", [(203, 131), (97, 150), (64, 64), (49, 48), (33, 47)])
def test_sides_that_are_no_multiples_of_16(
    size: tuple[int, int], photo: np.ndarray, matcher: Matcher
) -> None:
    width, height = size
    part = photo[:height, :width]
    result = matcher.match(part, part)
    # A match needs a cell that is not on the border of the padded map.
    cells = max(0, -(-width // 16) - 2) * max(0, -(-height // 16) - 2)
    assert (len(result) > 0) == (cells > 0)
    np.testing.assert_allclose(result.points0, result.points1, atol=1e-9)
    assert (result.points0 <= np.array(size) - 1).all()


@pytest.mark.parametrize("size", [(1, 1), (10, 12), (15, 300), (300, 7), (10, 2000)])
@pytest.mark.parametrize("name", ["matcher", "exact", "one_stage"])
def test_sides_smaller_than_a_cell(
    name: str, size: tuple[int, int], photo: np.ndarray, request: pytest.FixtureRequest
) -> None:
    tiny = cv2.resize(photo, size)
    for pair in ((tiny, photo), (photo, tiny), (tiny, tiny)):
        result = request.getfixturevalue(name).match(*pair)
        assert len(result) == 0
        assert result.homography is None
        assert result.inliers is None


FLAT = {
    "black": np.zeros((240, 320, 3), np.uint8),
    "black, odd size": np.zeros((250, 311, 3), np.uint8),
    "grey": np.full((240, 320, 3), 128, np.uint8),
    "white": np.full((200, 320, 3), 255, np.uint8),
}


@pytest.mark.parametrize("two_stages", [True, False])
@pytest.mark.parametrize("first", FLAT)
@pytest.mark.parametrize("second", [*FLAT, "photo"])
def test_nothing_is_invented_where_there_is_nothing(
    first: str, second: str, two_stages: bool, photo: np.ndarray, matcher: Matcher, one_stage: Matcher
) -> None:
    images = {**FLAT, "photo": photo}
    for pair in ((first, second), (second, first)):
        result = (matcher if two_stages else one_stage).match(*(images[name] for name in pair))
        assert len(result) == 0
        assert result.homography is None


def test_flat_parts_of_a_photo_stay_empty(photo: np.ndarray, matcher: Matcher) -> None:
    image = photo.copy()
    image[:, 120:] = 90
    result = matcher.match(image, image)
    assert len(result) > 100
    assert result.points0[:, 0].max() <= 120 + 16
    assert result.points1[:, 0].max() <= 120 + 16


def test_a_repeated_pattern_is_not_unmistakable(matcher: Matcher) -> None:
    """Every tile looks like every other: no cell has a single best match, so there is none."""
    tile = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    tiled = np.tile(tile, (8, 10, 1))
    result = matcher.match(tiled, tiled)
    inner = np.all((result.points0 > 48) & (result.points0 < np.array([319 - 48, 255 - 48])), axis=1)
    assert not inner.any()


def test_level_that_loses_everything_invents_nothing(make_matcher: Make, photo: np.ndarray) -> None:
    other = np.random.default_rng(1).permutation(photo.reshape(-1, 3)).reshape(photo.shape)
    strict = (0.05, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert len(make_matcher(ratio_th=strict).match(photo, other)) == 0
    # The published code then continues with the doubled coordinates of the level before.
    invented = make_matcher(ratio_th=strict, compat=True, enable_two_stage=False).match(photo, other)
    assert len(invented) >= 4
    assert not (invented.points0 % 2).any()


@pytest.mark.parametrize("name", ["matcher", "exact", "one_stage"])
def test_wildly_different_sizes(name: str, photo: np.ndarray, request: pytest.FixtureRequest) -> None:
    part = photo[80:208, 112:240]
    result = request.getfixturevalue(name).match(photo, part)
    h_0_to_1 = np.array([[1.0, 0, -112], [0, 1, -80], [0, 0, 1]])
    assert len(result) > 100
    assert np.mean(errors(result, h_0_to_1) < 0.5) > 0.9
    assert result.size0 == (320, 240)
    assert result.size1 == (128, 128)
    back = request.getfixturevalue(name).match(part, photo)
    assert np.mean(errors(back, np.linalg.inv(h_0_to_1)) < 0.5) > 0.9


def test_points_lie_inside_their_images(matcher: Matcher, photo: np.ndarray) -> None:
    warped = cv2.warpPerspective(photo, np.array(HOMOGRAPHIES["turned"]), (257, 199))
    result = matcher.match(photo, warped)
    assert len(result)
    for points, (width, height) in ((result.points0, result.size0), (result.points1, result.size1)):
        assert (points >= 0).all()
        assert (points <= np.array([width - 1, height - 1])).all()
        assert points.dtype == np.float64


def test_published_bounds_are_only_published_ones(exact: Matcher, matcher: Matcher) -> None:
    """y is tested against the width, so a match beyond image 1's lower edge survives in exact mode only."""
    cells = np.array([[5, 5], [6, 6]])
    found: dict[bool, int] = {}
    import torch

    from gcm.refinement.dense import CellMatches

    for one in (exact, matcher):
        matches = CellMatches(
            torch.from_numpy(cells), torch.from_numpy(cells), torch.zeros(2), torch.zeros(2)
        )
        shift = np.array([[1.0, 0, 0], [0, 1, -60], [0, 0, 1]])  # image 1 lies 60 px lower
        image = np.random.default_rng(0).integers(0, 256, (50, 100, 3), dtype=np.uint8)
        found[one.config.compat] = len(one._map_back(matches, shift, image, image)[0])
    assert found == {True: 2, False: 0}


def test_every_kind_of_input_gives_the_same(tmp_path: Path, photo: np.ndarray, matcher: Matcher) -> None:
    grey = np.repeat(photo[..., :1], 3, axis=2)
    expected = matcher.match(grey, photo)
    assert len(expected) > 100
    opaque = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    Image.fromarray(photo).save(tmp_path / "rgb.png")
    Image.fromarray(grey[..., 0]).save(tmp_path / "grey.png")
    kinds0: list[Any] = [
        grey[..., 0],
        grey[..., :1],
        tmp_path / "grey.png",
        Image.fromarray(grey[..., 0]),
        grey[..., 0].astype(np.uint16) * 257,
    ]
    kinds1: list[Any] = [opaque, str(tmp_path / "rgb.png"), Image.fromarray(opaque), photo / 255.0, photo]
    for image0, image1 in zip(kinds0, kinds1, strict=True):
        assert_equal(matcher.match(image0, image1), expected)


def test_images_are_not_changed(photo: np.ndarray, matcher: Matcher) -> None:
    before = photo.copy()
    frozen = photo.copy()
    frozen.flags.writeable = False
    matcher.match(photo, frozen)
    np.testing.assert_array_equal(photo, before)


# -- other working sizes ---------------------------------------------------------------------------

SHIFT = (32, -16)


@pytest.fixture(scope="module")
def large(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A 640 x 480 photo and the same moved by twice SHIFT (x, y)."""
    image = cv2.resize(photo, (640, 480), interpolation=cv2.INTER_CUBIC)
    return image, np.roll(image, (2 * SHIFT[1], 2 * SHIFT[0]), axis=(0, 1))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resize": 320}, (320, 240)),
        ({"resize": (320, 240)}, (320, 240)),
        ({"resize": (320, 480)}, (320, 480)),
        ({"resize": (300, 200)}, (300, 200)),
        ({"down_sample": 2}, (320, 240)),
        ({"down_sample": (2, 1)}, (320, 480)),
        ({"max_side": 320}, (320, 240)),
        ({"max_side": 400}, (400, 300)),
        ({"max_side": 4000}, (640, 480)),
    ],
    ids=str,
)
@pytest.mark.parametrize("compat", [True, False])
def test_answers_are_in_original_pixels(
    changes: dict[str, Any],
    expected: tuple[int, int],
    compat: bool,
    large: tuple[np.ndarray, np.ndarray],
    make_matcher: Make,
) -> None:
    result = make_matcher(compat=compat, **changes).match(*large)
    assert result.size0 == result.size1 == (640, 480)
    assert result.info["working_size0"] == list(expected)
    h_0_to_1 = np.array([[1.0, 0, 2 * SHIFT[0]], [0, 1, 2 * SHIFT[1]], [0, 0, 1]])
    working_pixel = max(640 / expected[0], 480 / expected[1])
    assert len(result) > 200
    # The image's wrapped-around edge is content that moved elsewhere.
    assert np.mean(errors(result, h_0_to_1) <= working_pixel + 1e-6) > 0.95
    assert result.homography is not None
    assert np.abs(result.homography - h_0_to_1)[:2, 2].max() < working_pixel
    assert result.h_1_to_0_initial is not None
    initial = apply_homography(result.h_1_to_0_initial, np.array([[320.0, 240.0]]))
    assert np.linalg.norm(initial - [320 - 2 * SHIFT[0], 240 - 2 * SHIFT[1]]) < 16 * working_pixel
    notes = " ".join(result.info["notes"])
    assert ("original pixels" in notes) == (expected != (640, 480))


def test_points_of_a_resized_pair_are_the_small_pair_s(
    large: tuple[np.ndarray, np.ndarray], make_matcher: Make, matcher: Matcher
) -> None:
    small = [cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA) for image in large]
    direct = matcher.match(*small)
    result = make_matcher(resize=(320, 240)).match(*large)
    np.testing.assert_allclose(result.points0, resize_points(direct.points0, (320, 240), (640, 480)))
    np.testing.assert_allclose(result.points1, resize_points(direct.points1, (320, 240), (640, 480)))


@pytest.mark.parametrize(
    ("changes", "size", "expected"),
    [
        ({}, (640, 480), (640, 480)),
        ({"resize": 1000}, (500, 250), (1000, 500)),
        ({"resize": (64, 32)}, (500, 250), (64, 32)),
        ({"down_sample": 3}, (500, 250), (167, 83)),
        ({"max_side": 100}, (10, 2000), (1, 100)),
        ({"max_side": 100}, (1, 100_000), (1, 100)),
        ({"resize": 200, "down_sample": 2, "max_side": 50}, (100, 50), (50, 25)),
        ({"down_sample": 1000}, (20, 10), (1, 1)),
    ],
    ids=str,
)
def test_working_size(changes: dict[str, Any], size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert working_size(size, MatcherConfig(model="R2D2", ratio_th=(1.0,), **changes)) == expected


# -- symmetry, memory, determinism -----------------------------------------------------------------


def test_swapping_the_images_swaps_the_matches(photo: np.ndarray, one_stage: Matcher) -> None:
    warped = cv2.warpPerspective(photo, np.array(HOMOGRAPHIES["perspective"]), (300, 210))
    there, back = one_stage.match(photo, warped), one_stage.match(warped, photo)
    assert len(there) > 300
    swapped = Matches(back.points1, back.points0, back.scores, back.size1, back.size0)
    assert rows(swapped) == rows(there)
    np.testing.assert_allclose(np.sort(back.scores), np.sort(there.scores), atol=1e-5)


def test_remembered_features_give_the_same_answer(photo: np.ndarray, make_matcher: Make) -> None:
    other = cv2.warpPerspective(photo, np.array(HOMOGRAPHIES["turned"]), (320, 240))
    third = np.ascontiguousarray(photo[:, ::-1])
    for changes in ({}, {"enable_two_stage": False}):
        used = make_matcher(**changes)
        for pair in ((photo, other), (photo, third), (other, photo), (photo, other)):
            assert_equal(used.match(*pair), make_matcher(**changes).match(*pair))


def test_an_image_just_seen_is_not_computed_again(
    photo: np.ndarray, make_matcher: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_matcher(enable_two_stage=False)
    runs = []
    original = one.features.backbone.forward
    monkeypatch.setattr(one.features.backbone, "forward", lambda x: runs.append(x.shape) or original(x))
    second, third = photo[:, ::-1].copy(), photo[::-1].copy()
    one.match(photo, second)
    assert len(runs) == 2
    one.match(photo, third)
    assert len(runs) == 3
    one.match(photo.copy(), third.copy())  # content counts, not identity
    assert len(runs) == 3


def test_memory_for_remembered_features_is_bounded(
    photo: np.ndarray, make_matcher: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_matcher(enable_two_stage=False)
    one.match(photo, photo)
    size = next(iter(one.features._cache.values())).nbytes
    assert size >= 128 * 240 * 320 * 4
    monkeypatch.setattr(features, "CACHE_BYTES", int(2.5 * size))
    for k in range(5):
        one.match(photo, np.roll(photo, k, axis=0))
        assert sum(entry.nbytes for entry in one.features._cache.values()) <= 2.5 * size


def test_the_same_pair_again_gives_the_same(photo: np.ndarray, make_matcher: Make) -> None:
    warped = cv2.warpPerspective(photo, np.array(HOMOGRAPHIES["perspective"]), (320, 240))
    first, second = (make_matcher(compat=True).match(photo, warped) for _ in range(2))
    assert_equal(first, second)
    np.testing.assert_array_equal(first.homography, second.homography)


@pytest.mark.parametrize("fine_ratio", [0.95, 0.5, -1])
def test_scores_lie_in_zero_to_one_and_rank(
    photo: np.ndarray, make_matcher: Make, student_weights: str, fine_ratio: float
) -> None:
    h_0_to_1 = np.array(HOMOGRAPHIES["perspective"])
    rng = np.random.default_rng(0)
    warped = cv2.warpPerspective(photo, h_0_to_1, (320, 240)).astype(float)
    warped = np.clip(warped + rng.normal(0, 12, warped.shape), 0, 255).astype(np.uint8)
    one = make_matcher(
        ratio_th=(1.0,) * 6, fine_model="R2D2_STU", fine_ratio=fine_ratio, fine_weights_path=student_weights
    )
    result = one.match(photo, warped)
    assert len(result) > 100
    assert ((result.scores >= 0) & (result.scores <= 1)).all()
    if fine_ratio != -1:
        good = errors(result, h_0_to_1) < 1
        assert result.scores[good].mean() > result.scores[~good].mean()


def test_a_fine_model_replaces_the_stride_one_map(
    photo: np.ndarray, make_matcher: Make, student_weights: str
) -> None:
    """The same network as backbone and as fine model: the last step is the same either way."""
    alone = make_matcher(ratio_th=(0.8, 1, 1, 1, 1, 1))
    both = make_matcher(
        ratio_th=(0.5, 1, 1, 1, 1, 1),
        fine_model="R2D2_STU",
        fine_ratio=0.8,
        fine_weights_path=student_weights,
    )
    warped = cv2.warpPerspective(photo, np.array(HOMOGRAPHIES["perspective"]), (320, 240))
    assert_equal(both.match(photo, warped), alone.match(photo, warped))


def test_information(photo: np.ndarray, make_matcher: Make) -> None:
    info = make_matcher().match(photo, photo).info
    assert info["model"] == "R2D2_STU"
    assert info["device"] == "cpu"
    assert info["notes"] == []
    assert all(seconds >= 0 for seconds in info["seconds"].values())
    json.dumps(dict(info))


def test_a_device_that_is_not_there(make_matcher: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    one = make_matcher(device=0)
    assert str(one.device) == "cpu"
    assert "cuda:0 is not available" in one._notes[0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="device cuda:7 does not exist; there are 2"):
        make_matcher(device="cuda:7")


def test_bad_images_raise_and_leave_the_matcher_usable(photo: np.ndarray, make_matcher: Make) -> None:
    one = make_matcher()
    for bad in ("none.png", np.zeros((2, 3, 4, 5)), None):
        with pytest.raises(ImageError):
            one.match(photo, bad)  # type: ignore[arg-type]
    assert len(one.match(photo, photo)) > 1000


def test_the_function(photo: np.ndarray, make_matcher: Make, student_weights: str) -> None:
    one = make_matcher()
    assert_equal(gcm.match(photo, photo, one.config), one.match(photo, photo))
    result = gcm.match(
        photo, photo, "Avg_R2D2_6", weights_path=student_weights, device="cpu", enable_two_stage=False
    )
    assert result.info["preset"] == "Avg_R2D2_6"
    assert_equal(one(photo, photo), one.match(photo, photo))
