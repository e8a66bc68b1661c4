"""Training crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gcm.distillation.data import CropDataset, degrade, random_crop, read_rgb, split_photos
from gcm.distillation.recipe import AugmentationRecipe, DistillRecipe
from gcm.distillation.steps import Steps
from gcm.errors import DatasetError
from gcm.images.folders import find_photos

EVERYTHING = AugmentationRecipe.model_validate(
    {
        "crop": 64,
        "scale": (64, 300),
        "variants": 2,
        "homography_share": 1,
        "noise_share": 1,
        "blur_share": 1,
        "jpeg_share": 1,
        "gamma_share": 1,
        "exposure": 0.5,
        "shift": 0.3,
    }
)
NOTHING = AugmentationRecipe.model_validate(
    {"crop": 64, "homography_share": 0, "noise_share": 0, "colour_share": 0, "scale": (320, 320)}
)


def dataset(photos: Path, *, seed: int = 5, first: int = 0, steps: int = 10) -> CropDataset:
    recipe = DistillRecipe(augmentation=EVERYTHING, batch_size=2)
    return CropDataset(Steps(find_photos(photos), seed, steps, first), recipe)


def tensors(batch: object) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}


def equal(a: object, b: object) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a).values(), tensors(b).values(), strict=True))


def test_crops_are_a_function_of_seed_and_index(photos: Path) -> None:
    reference = dataset(photos)
    batches = [reference[k] for k in range(4)]
    assert len(tensors(batches[0])) >= 2
    again = dataset(photos)
    for k in (3, 0, 2, 1):  # in any order, in any process
        assert equal(again[k], batches[k])
    later = dataset(photos, first=2)
    assert len(later) == len(reference) - 2
    assert equal(later[0], batches[2])
    assert equal(later[1], batches[3])
    assert not equal(batches[0], batches[1])
    assert not equal(dataset(photos, seed=6)[0], batches[0])


def test_shapes(photos: Path) -> None:
    batch = dataset(photos)[0]
    assert batch.clean.shape == (2, 3, 64, 64)
    assert batch.degraded.shape == (2, 2, 3, 64, 64)
    assert batch.clean.dtype == batch.degraded.dtype == torch.uint8
    assert len(dataset(photos, steps=3, first=7)) == 0


def test_variants_are_degraded_each_in_its_own_way(photos: Path) -> None:
    batch = dataset(photos)[0]
    assert not torch.equal(batch.degraded[0], batch.degraded[1])
    assert not torch.equal(batch.degraded[0], batch.clean)


def test_nothing_asked_for_nothing_done(photo: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    crop = random_crop(photo, NOTHING, rng)
    np.testing.assert_array_equal(degrade(crop, NOTHING, rng), crop)


def test_a_plain_crop_is_a_part_of_the_photo(photo: np.ndarray) -> None:
    """At the photo's own size, without homography, a crop shows 64 px of it, a pixel off at most."""
    crop = random_crop(photo, NOTHING, np.random.default_rng(1)).astype(float)
    errors = [
        np.abs(photo[y : y + 64, x : x + 64] - crop).mean() for y in range(240 - 63) for x in range(320 - 63)
    ]
    assert min(errors) < 6
    assert np.median(errors) > 25


@pytest.mark.parametrize("shape", [(240, 320, 3), (30, 40, 3), (900, 61, 3), (1, 1, 3)])
def test_photos_of_any_size_give_crops(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    for _ in range(5):
        crop = random_crop(image, EVERYTHING, rng)
        assert crop.shape == (64, 64, 3)
        assert crop.dtype == np.uint8
        assert degrade(crop, EVERYTHING, rng).shape == (64, 64, 3)


def test_finding_photos(photos: Path, tmp_path: Path) -> None:
    names = [str(path.relative_to(photos)) for path in find_photos(photos)]
    assert names == ["0.png", "1.png", "2.png", "3.png", "4.png", "more/5.png"]
    for folder, told in ((tmp_path, "holds no photos"), (tmp_path / "none", "no such folder of photos")):
        with pytest.raises(DatasetError, match=told):
            find_photos(folder)


@pytest.mark.parametrize(("share", "held"), [(0, 0), (0.05, 5), (0.1, 10), (0.25, 25)])
def test_splitting(share: float, held: int) -> None:
    photos = [Path(f"{k}.jpg") for k in range(100)]
    training, held_out = split_photos(photos, share)
    assert len(held_out) == held
    assert sorted(training + held_out) == sorted(photos)


def test_a_damaged_photo_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"rubbish")
    with pytest.raises(DatasetError, match=r"a\.jpg: not a readable image"):
        read_rgb(tmp_path / "a.jpg")


def test_photos_are_read_as_rgb(photos: Path, photo: np.ndarray) -> None:
    np.testing.assert_array_equal(read_rgb(photos / "0.png"), photo)
