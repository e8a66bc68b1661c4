"""The whole matcher, on images whose answer is known. Weights are random: structure, not accuracy."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import gcm
from gcm.config import load_config
from gcm.errors import ConfigError, ImageError, UsageError, WrongTypeError
from gcm.geometry import apply_homography, resize_points
from gcm.images.sizes import working_size
from gcm.matcher import Matcher
from gcm.matches import Matches
from gcm.method import published
from gcm.options import PublishedOptions

Make = Callable[..., Matcher]


@pytest.fixture(scope="module")
def scene(photo: np.ndarray) -> np.ndarray:
    """A part of the photo, 256 x 192, to save time."""
    return photo[:192, :256]


@pytest.fixture(scope="module")
def small_scene(photo: np.ndarray) -> np.ndarray:
    """160 x 112, where size does not matter."""
    return photo[:112, :160]


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
def test_identity(name: str, scene: np.ndarray, request: pytest.FixtureRequest) -> None:
    result = request.getfixturevalue(name).match(scene, scene)
    assert len(result) > 500
    np.testing.assert_allclose(result.points0, result.points1, atol=1e-9)
    assert result.homography is not None
    np.testing.assert_allclose(result.homography, np.eye(3), atol=1e-6)
    assert result.inliers is not None
    assert result.inliers.all()
    assert result.size0 == result.size1 == (256, 192)


@pytest.mark.parametrize("shift", [(16, 0), (16, -16), (-16, 32)])
@pytest.mark.parametrize("name", ["matcher", "exact", "one_stage"])
def test_integer_shift(
    name: str, shift: tuple[int, int], scene: np.ndarray, request: pytest.FixtureRequest
) -> None:
    y, x = shift
    whole = slice(48, 48 + 128), slice(48, 48 + 160)
    moved = scene[48 - y : 48 - y + 128, 48 - x : 48 - x + 160]
    h_0_to_1 = np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])
    result = request.getfixturevalue(name).match(scene[whole], moved)
    assert len(result) > 100
    assert np.mean(errors(result, h_0_to_1) < 0.01) > 0.9
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
    name: str, compat: bool, scene: np.ndarray, matcher: Matcher, exact: Matcher
) -> None:
    h_0_to_1 = np.array(HOMOGRAPHIES[name])
    warped = cv2.warpPerspective(scene, h_0_to_1, (256, 192))
    result = (exact if compat else matcher).match(scene, warped)
    assert len(result) > 300
    assert np.mean(errors(result, h_0_to_1) < 1.5) > 0.9
    assert result.homography is not None
    corners = np.array([[0.0, 0], [255, 0], [255, 191], [0, 191]])
    off = apply_homography(result.homography, corners) - apply_homography(h_0_to_1, corners)
    assert np.linalg.norm(off, axis=1).max() < 2
    assert result.h_1_to_0_initial is not None
    # Stage 0 may be off by a coarse cell or two; it was asked for the gross motion only.
    rough = apply_homography(result.h_1_to_0_initial, apply_homography(h_0_to_1, corners)) - corners
    assert np.linalg.norm(rough, axis=1).max() < 40


@pytest.mark.parametrize("size", [(203, 131), (97, 150), (64, 64), (49, 48), (33, 47)])
def test_sides_that_are_no_multiples_of_16(
    size: tuple[int, int], scene: np.ndarray, matcher: Matcher
) -> None:
    width, height = size
    part = scene[:height, :width]
    result = matcher.match(part, part)
    # A match needs a cell that is not on the border of the padded map.
    cells = max(0, -(-width // 16) - 2) * max(0, -(-height // 16) - 2)
    assert (len(result) > 0) == (cells > 0)
    np.testing.assert_allclose(result.points0, result.points1, atol=1e-9)
    assert (result.points0 <= np.array(size) - 1).all()


@pytest.mark.parametrize("size", [(1, 1), (10, 12), (15, 300), (300, 7), (10, 2000)])
@pytest.mark.parametrize("name", ["matcher", "exact", "one_stage"])
def test_sides_smaller_than_a_cell(
    name: str, size: tuple[int, int], scene: np.ndarray, request: pytest.FixtureRequest
) -> None:
    scene = scene[:96, :128]
    tiny = cv2.resize(scene, size)
    for pair in ((tiny, scene), (scene, tiny), (tiny, tiny)):
        result = request.getfixturevalue(name).match(*pair)
        assert len(result) == 0
        assert result.homography is None
        assert result.inliers is None


FLAT = {
    "black": np.zeros((96, 128, 3), np.uint8),
    "black, odd size": np.zeros((106, 119, 3), np.uint8),
    "grey": np.full((96, 128, 3), 128, np.uint8),
    "white": np.full((80, 128, 3), 255, np.uint8),
}


@pytest.mark.parametrize("two_stages", [True, False])
@pytest.mark.parametrize("first", FLAT)
@pytest.mark.parametrize("second", [*FLAT, "scene"])
def test_nothing_is_invented_where_there_is_nothing(
    first: str, second: str, two_stages: bool, scene: np.ndarray, matcher: Matcher, one_stage: Matcher
) -> None:
    images = {**FLAT, "scene": scene[:96, :128]}
    for pair in ((first, second), (second, first)):
        result = (matcher if two_stages else one_stage).match(*(images[name] for name in pair))
        assert len(result) == 0
        assert result.homography is None


def test_flat_parts_of_a_photo_stay_empty(scene: np.ndarray, matcher: Matcher) -> None:
    image = scene.copy()
    image[:, 120:] = 90
    result = matcher.match(image, image)
    assert len(result) > 100
    assert result.points0[:, 0].max() <= 120 + 16
    assert result.points1[:, 0].max() <= 120 + 16


def test_a_repeated_pattern_is_not_unmistakable(matcher: Matcher) -> None:
    """Every tile looks like every other: no cell has a single best match, so there is none."""
    tile = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    tiled = np.tile(tile, (6, 8, 1))
    result = matcher.match(tiled, tiled)
    inner = np.all((result.points0 > 48) & (result.points0 < np.array([255 - 48, 191 - 48])), axis=1)
    assert not inner.any()


def test_level_that_loses_everything_invents_nothing(make_matcher: Make, scene: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 20, scene.shape)
    other = np.clip(scene + noise, 0, 255).astype(np.uint8)
    strict = (0.02, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert len(make_matcher(ratio_th=strict, enable_two_stage=False).match(scene, other)) == 0
    # The published code then continues with the doubled coordinates of the level before.
    invented = make_matcher(ratio_th=strict, compat=True, enable_two_stage=False).match(scene, other)
    assert len(invented) >= 4
    assert not (invented.points0 % 2).any()


@pytest.mark.parametrize("name", ["matcher", "exact", "one_stage"])
def test_wildly_different_sizes(name: str, scene: np.ndarray, request: pytest.FixtureRequest) -> None:
    part = scene[48:144, 80:192]
    result = request.getfixturevalue(name).match(scene, part)
    h_0_to_1 = np.array([[1.0, 0, -80], [0, 1, -48], [0, 0, 1]])
    assert len(result) > 100
    assert np.mean(errors(result, h_0_to_1) < 0.5) > 0.9
    assert result.size0 == (256, 192)
    assert result.size1 == (112, 96)
    back = request.getfixturevalue(name).match(part, scene)
    assert np.mean(errors(back, np.linalg.inv(h_0_to_1)) < 0.5) > 0.9


def test_points_lie_inside_their_images(matcher: Matcher, scene: np.ndarray) -> None:
    warped = cv2.warpPerspective(scene, np.array(HOMOGRAPHIES["turned"]), (217, 159))
    result = matcher.match(scene, warped)
    assert len(result)
    for points, (width, height) in ((result.points0, result.size0), (result.points1, result.size1)):
        assert (points >= 0).all()
        assert (points <= np.array([width - 1, height - 1])).all()
        assert points.dtype == np.float64


def test_published_bounds_are_only_published_ones(exact: Matcher, matcher: Matcher) -> None:
    """y is tested against the width, so a match beyond image 1's lower edge survives in exact mode only."""
    cells = np.array([[5, 5], [6, 6]])
    found: dict[bool, int] = {}
    from gcm.refinement.dense import CellMatches

    for one in (exact, matcher):
        options = one.config.method
        assert isinstance(options, PublishedOptions)
        matches = CellMatches(
            torch.from_numpy(cells), torch.from_numpy(cells), torch.zeros(2), torch.zeros(2), 1
        )
        shift = np.array([[1.0, 0, 0], [0, 1, -60], [0, 0, 1]])  # image 1 lies 60 px lower
        image = np.random.default_rng(0).integers(0, 256, (50, 100, 3), dtype=np.uint8)
        kept = published._map_back(matches, np.ones(2), shift, image, image, options)
        found[options.compat] = len(kept)
    assert found == {True: 2, False: 0}


def test_every_kind_of_input_gives_the_same(
    tmp_path: Path, small_scene: np.ndarray, matcher: Matcher
) -> None:
    grey = np.repeat(small_scene[..., :1], 3, axis=2)
    scene = np.roll(grey, 16, axis=1)
    scene[..., 1] ^= 1  # colour, if only just
    expected = matcher.match(grey, scene)
    assert len(expected) > 100
    opaque = np.dstack([scene, np.full(scene.shape[:2], 255, np.uint8)])
    Image.fromarray(scene).save(tmp_path / "rgb.png")
    Image.fromarray(grey[..., 0]).save(tmp_path / "grey.png")
    kinds0: list[Any] = [
        grey[..., 0],
        grey[..., :1],
        tmp_path / "grey.png",
        Image.fromarray(grey[..., 0]),
        grey[..., 0].astype(np.uint16) * 257,
    ]
    kinds1: list[Any] = [opaque, str(tmp_path / "rgb.png"), Image.fromarray(opaque), scene / 255.0, scene]
    for image0, image1 in zip(kinds0, kinds1, strict=True):
        assert_equal(matcher.match(image0, image1), expected)


def test_images_are_not_changed(scene: np.ndarray, matcher: Matcher) -> None:
    before = scene.copy()
    frozen = scene.copy()
    frozen.flags.writeable = False
    matcher.match(scene, frozen)
    np.testing.assert_array_equal(scene, before)


# -- other working sizes ---------------------------------------------------------------------------

SHIFT = (32, -32)


@pytest.fixture(scope="module")
def large(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A 256 x 192 part of the photo and the part SHIFT (x, y) before it."""
    return photo[:192, 32:288], photo[32:224, :256]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resize": 128}, (128, 96)),
        ({"resize": (128, 96)}, (128, 96)),
        ({"resize": (128, 192)}, (128, 192)),
        ({"resize": (150, 100)}, (150, 100)),
        ({"down_sample": 2}, (128, 96)),
        ({"down_sample": (2, 1)}, (128, 192)),
        ({"max_side": 128}, (128, 96)),
        ({"max_side": 240}, (240, 180)),
    ],
    ids=str,
)
def test_answers_are_in_original_pixels(
    changes: dict[str, Any],
    expected: tuple[int, int],
    large: tuple[np.ndarray, np.ndarray],
    make_matcher: Make,
) -> None:
    result = make_matcher(**changes).match(*large)
    assert result.size0 == result.size1 == (256, 192)
    assert result.info["working_size0"] == list(expected)
    h_0_to_1 = np.array([[1.0, 0, SHIFT[0]], [0, 1, SHIFT[1]], [0, 0, 1]])
    working_pixel = max(256 / expected[0], 192 / expected[1])
    assert len(result) > 200
    assert np.mean(errors(result, h_0_to_1) <= working_pixel + 1e-6) > 0.95
    assert result.homography is not None
    assert np.abs(result.homography - h_0_to_1)[:2, 2].max() < working_pixel
    assert result.h_1_to_0_initial is not None
    initial = apply_homography(result.h_1_to_0_initial, np.array([[128.0, 96.0]]))
    assert np.linalg.norm(initial - [128 - SHIFT[0], 96 - SHIFT[1]]) < 16 * working_pixel
    notes = " ".join(result.info["notes"])
    assert ("original pixels" in notes) == (expected != (256, 192))


def test_points_of_a_resized_pair_are_the_small_pair_s(
    large: tuple[np.ndarray, np.ndarray], make_matcher: Make, matcher: Matcher
) -> None:
    small = [cv2.resize(image, (128, 96), interpolation=cv2.INTER_AREA) for image in large]
    direct = matcher.match(*small)
    result = make_matcher(resize=(128, 96)).match(*large)
    assert len(result) > 100
    np.testing.assert_allclose(result.points0, resize_points(direct.points0, (128, 96), (256, 192)))
    np.testing.assert_allclose(result.points1, resize_points(direct.points1, (128, 96), (256, 192)))


@pytest.mark.parametrize(
    ("changes", "size", "expected"),
    [
        ({}, (512, 384), (512, 384)),
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
    assert working_size(size, **changes) == expected


# -- symmetry, memory, determinism -----------------------------------------------------------------


def test_swapping_the_images_swaps_the_matches(scene: np.ndarray, one_stage: Matcher) -> None:
    warped = cv2.warpPerspective(scene, np.array(HOMOGRAPHIES["perspective"]), (230, 170))
    there, back = one_stage.match(scene, warped), one_stage.match(warped, scene)
    assert len(there) > 300
    swapped = Matches(back.points1, back.points0, back.scores, back.size1, back.size0)
    assert rows(swapped) == rows(there)
    np.testing.assert_allclose(np.sort(back.scores), np.sort(there.scores), atol=1e-5)


def test_remembered_features_give_the_same_answer(small_scene: np.ndarray, make_matcher: Make) -> None:
    scene = small_scene[:96, :128]
    other = cv2.warpPerspective(scene, np.array(HOMOGRAPHIES["smaller"]), (120, 96))
    third = np.roll(scene, 20, axis=0)
    for changes in ({}, {"enable_two_stage": False}):
        used = make_matcher(**changes)
        used.match(other, third)
        for pair in ((scene, third), (other, scene), (scene, third)):
            assert_equal(used.match(*pair), make_matcher(**changes).match(*pair))


def test_an_image_just_seen_is_not_computed_again(
    small_scene: np.ndarray, make_matcher: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_matcher(enable_two_stage=False)
    runs = []
    original = one.features.backbone.forward
    monkeypatch.setattr(one.features.backbone, "forward", lambda x: runs.append(x.shape) or original(x))
    second, third = small_scene[:, ::-1].copy(), small_scene[::-1].copy()
    one.match(small_scene, second)
    assert len(runs) == 2
    one.match(small_scene, third)
    assert len(runs) == 3
    one.match(small_scene.copy(), third.copy())  # content counts, not identity
    assert len(runs) == 3


def test_memory_for_remembered_features_is_bounded(small_scene: np.ndarray, make_matcher: Make) -> None:
    scene = small_scene
    one = make_matcher(enable_two_stage=False)
    one.match(scene, scene)
    size = one.features.cache.nbytes
    assert size >= 128 * 112 * 160 * 4
    megabytes = int(2.5 * size) // 2**20
    bounded = make_matcher(enable_two_stage=False, feature_cache=megabytes)
    for k in range(5):
        bounded.match(scene, np.roll(scene, k, axis=0))
        assert 0 < bounded.features.cache.nbytes <= megabytes * 2**20
    without = make_matcher(enable_two_stage=False, feature_cache=0)
    assert_equal(without.match(scene, scene), one.match(scene, scene))
    assert len(without.features.cache) == 0


def test_the_same_pair_again_gives_the_same(scene: np.ndarray, make_matcher: Make) -> None:
    scene = scene[:128, :160]
    warped = cv2.warpPerspective(scene, np.array(HOMOGRAPHIES["perspective"]), (160, 128))
    first, second = (make_matcher(compat=True).match(scene, warped) for _ in range(2))
    assert_equal(first, second)
    assert len(first) > 50
    np.testing.assert_array_equal(first.homography, second.homography)


@pytest.mark.parametrize("fine_ratio", [0.95, 0.7, -1])
def test_scores_lie_in_zero_to_one_and_rank(
    scene: np.ndarray, make_matcher: Make, student_weights: str, fine_ratio: float
) -> None:
    h_0_to_1 = np.array(HOMOGRAPHIES["perspective"])
    rng = np.random.default_rng(0)
    warped = cv2.warpPerspective(scene, h_0_to_1, (256, 192)).astype(float)
    warped = np.clip(warped + rng.normal(0, 4, warped.shape), 0, 255).astype(np.uint8)
    one = make_matcher(
        ratio_th=(1.0,) * 6, fine_model="R2D2_STU", fine_ratio=fine_ratio, fine_weights_path=student_weights
    )
    result = one.match(scene, warped)
    assert len(result) > 10
    assert ((result.scores >= 0) & (result.scores <= 1)).all()
    if fine_ratio == 0.95:  # strict enough, none is wrong
        good = errors(result, h_0_to_1) < 1
        assert result.scores[good].mean() > result.scores[~good].mean()


def test_a_fine_model_replaces_the_stride_one_map(
    scene: np.ndarray, make_matcher: Make, student_weights: str
) -> None:
    """The same network as backbone and as fine model: the last step is the same either way."""
    alone = make_matcher(ratio_th=(0.8, 1, 1, 1, 1, 1))
    both = make_matcher(
        ratio_th=(0.5, 1, 1, 1, 1, 1),
        fine_model="R2D2_STU",
        fine_ratio=0.8,
        fine_weights_path=student_weights,
    )
    warped = cv2.warpPerspective(scene, np.array(HOMOGRAPHIES["perspective"]), (256, 192))
    found, expected = both.match(scene, warped), alone.match(scene, warped)
    assert len(expected) > 10
    np.testing.assert_array_equal(found.points0, expected.points0)
    np.testing.assert_array_equal(found.points1, expected.points1)
    # As a fine model its last layers are summed in another order.
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def test_information(small_scene: np.ndarray, make_matcher: Make) -> None:
    info = make_matcher().match(small_scene, small_scene).info
    assert info["model"] == "R2D2_STU"
    assert info["device"] == "cpu"
    assert info["notes"] == []
    assert all(seconds >= 0 for seconds in info["seconds"].values())
    json.dumps(dict(info))


def test_a_device_that_is_not_there(make_matcher: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    one = make_matcher(device=0)
    assert str(one.device) == "cpu"
    assert "cuda:0 is not available" in one._notes[0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="device cuda:7 does not exist; there are 2"):
        make_matcher(device="cuda:7")


def test_bad_images_raise_and_leave_the_matcher_usable(scene: np.ndarray, make_matcher: Make) -> None:
    one = make_matcher()
    for bad in ("none.png", np.zeros((2, 3, 4, 5)), None):
        with pytest.raises(ImageError):
            one.match(scene, bad)  # type: ignore[arg-type]
    assert len(one.match(scene, scene)) > 500


def test_the_function(small_scene: np.ndarray, make_matcher: Make, student_weights: str) -> None:
    scene = small_scene
    one = make_matcher()
    assert_equal(gcm.match(scene, scene, one.config), one.match(scene, scene))
    result = gcm.match(
        scene, scene, "Avg_R2D2_6", weights_path=student_weights, device="cpu", enable_two_stage=False
    )
    assert result.info["preset"] == "Avg_R2D2_6"
    assert_equal(one(scene, scene), one.match(scene, scene))


# -- as an object ----------------------------------------------------------------------------------


def test_a_matcher_can_be_copied_and_pickled(
    scene: np.ndarray, small_scene: np.ndarray, make_matcher: Make
) -> None:
    one = make_matcher()
    expected = one.match(small_scene, small_scene)
    assert len(expected) > 100
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert len(other.features.cache) == 0
        assert_equal(other.match(small_scene, small_scene), expected)
    deepcopied = copy.deepcopy(Matcher("default", device="cpu"))
    assert len(deepcopied.match(scene, scene)) > 500


def test_several_threads_may_use_one_matcher(small_scene: np.ndarray) -> None:
    one = Matcher("default", device="cpu")
    pairs = [(small_scene, np.roll(small_scene, 3 * k, axis=1)) for k in range(6)]
    expected = [one.match(*pair) for pair in pairs]
    one.features.cache.clear()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda pair: one.match(*pair), pairs))
    for result, other in zip(results, expected, strict=True):
        assert_equal(result, other)


@pytest.mark.parametrize("preset", ["default", "fast"])
def test_another_default_type_changes_nothing(
    preset: str, small_scene: np.ndarray, make_matcher: Make
) -> None:
    scene, shifted = small_scene, np.roll(small_scene, 5, axis=1)
    for make in (lambda: Matcher(preset, device="cpu", precision="float32"), make_matcher):
        expected = make().match(scene, shifted)
        assert len(expected) > 50
        torch.set_default_dtype(torch.float64)
        try:
            result = make().match(scene, shifted)
        finally:
            torch.set_default_dtype(torch.float32)
        assert_equal(result, expected)


def test_bfloat16_is_chosen_only_where_pytorch_may_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    for capability, precision in (("AVX512", "bfloat16"), ("AVX2", "float32"), ("DEFAULT", "float32")):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
        assert Matcher("fast", device="cpu").precision == precision


@pytest.mark.parametrize("config", [3, {"model": "GCM_COMPACT"}, ["default"], 1.5])
def test_what_is_no_configuration(config: Any) -> None:
    with pytest.raises(ConfigError, match="a configuration is the name of a preset, the path of a YAML file"):
        Matcher(config)


@pytest.mark.parametrize("pairs", [["a.png", "b.png"], [("a.png",)], [("a.png", "b.png", "c.png")], [3]])
def test_what_are_no_pairs(pairs: Any, matcher: Matcher) -> None:
    with pytest.raises(
        WrongTypeError, match=r"match_many takes pairs, \[\(a, b\), .*entry 0 is none"
    ) as error:
        matcher.match_many(pairs)
    assert isinstance(error.value, UsageError)
    assert isinstance(error.value, TypeError)
    with pytest.raises(WrongTypeError, match=r"match_many takes pairs, .*, not NoneType$"):
        matcher.match_many(None)  # type: ignore[arg-type]


def test_pairs_may_come_from_a_generator(matcher: Matcher, scene: np.ndarray) -> None:
    results = matcher.match_many((scene, scene) for _ in range(2))
    assert [type(result) for result in results] == [Matches, Matches]


# -- batches ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fast() -> Matcher:
    return Matcher("fast", device="cpu")


@pytest.fixture(scope="module")
def batches(photo: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Two of 3 x 3 x 240 x W, each with the photo moved a little, uint8."""
    first = np.stack([np.roll(photo, 3 * k, axis=1) for k in range(3)])
    second = np.stack([np.roll(photo, 7 * k, axis=0)[:, :280] for k in range(3)])
    return torch.from_numpy(first).permute(0, 3, 1, 2), torch.from_numpy(second).permute(0, 3, 1, 2)


def same(found: list[Matches], wanted: list[Matches]) -> bool:
    return all(
        np.array_equal(a.points0, b.points0) and np.array_equal(a.points1, b.points1) and len(a) > 20
        for a, b in zip(found, wanted, strict=True)
    )


def test_a_batch_of_tensors_is_matched_as_each_pair(
    fast: Matcher, batches: tuple[torch.Tensor, torch.Tensor]
) -> None:
    alone = [fast.match(a, b) for a, b in zip(*batches, strict=True)]
    assert same(fast.match_batch(*batches), alone)
    assert same(fast.match_batch(*(batch.float() / 255 for batch in batches)), alone)
    last = [batch.permute(0, 2, 3, 1) for batch in batches]
    assert same(fast.match_batch(*last), alone)
    assert same(fast.match_batch(*(batch.numpy() for batch in last)), alone)
    assert same(fast.match_batch(list(batches[0]), batches[1]), alone)
    assert same(fast.match_batch(batches[0][:1], batches[1][:1]), alone[:1])
    assert fast.match_batch([], batches[0][:0]) == []
    assert {matches.size1 for matches in alone} == {(280, 240)}


def test_what_is_no_batch(fast: Matcher, batches: tuple[torch.Tensor, torch.Tensor]) -> None:
    first, second = batches
    with pytest.raises(UsageError, match="as many images in both batches, not 3 and 2"):
        fast.match_batch(first, second[:2])
    with pytest.raises(WrongTypeError, match=r"images0: shape \(3, 240, 320\) is no batch; give B x C"):
        fast.match_batch(first[0], second[0])
    with pytest.raises(WrongTypeError, match="images1: str is no batch"):
        fast.match_batch(first, "second")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"pair 1 of the batch: none\.png: no such file"):
        fast.match_batch(["examples/left.jpg", "none.png"], ["examples/right.jpg"] * 2)
    with pytest.raises(ImageError, match="a batch of 3 images; give one at a time, or batches to"):
        fast.match(first, second)


def test_a_short_repr(matcher: Matcher) -> None:
    assert repr(matcher) == "Matcher('custom': R2D2_STU on cpu, float32)"
    assert len(repr(load_config("default"))) < 250
