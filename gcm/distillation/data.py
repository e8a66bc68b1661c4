"""Training crops from single photos: random scale, homography, and what cameras do to pixels.

Every crop is a function of (seed, index) alone, so that a resumed training sees exactly what an
undisturbed one would have.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gcm.distillation.recipe import AugmentationRecipe
from gcm.distillation.steps import StepDataset
from gcm.errors import DatasetError

__all__ = ["Batch", "CropDataset", "held_out_every", "read_photo", "split_photos"]

Image = NDArray[np.uint8]

_CACHED_PHOTOS = 2000
_LONGEST_SIDE = 1280
"""Photos are kept in memory at this size at most."""


def split_photos(photos: list[Path], held_out: float) -> tuple[list[Path], list[Path]]:
    """Split into training and held-out photos; every k-th is held out, so both cover all folders."""
    every = held_out_every(held_out)
    if every is None:
        return photos, []
    return [p for i, p in enumerate(photos) if i % every], photos[::every]


def held_out_every(share: float) -> int | None:
    """Of how many photos one is held out, the first of them; None for no one."""
    return max(2, round(1 / share)) if share > 0 else None


@dataclass(frozen=True)
class Batch:
    """Crops for one training step."""

    clean: Tensor
    """N x 3 x S x S uint8 RGB, for the teacher."""
    degraded: Tensor
    """V x N x 3 x S x S uint8 RGB, for the student."""
    gain: Tensor
    """V x N x 1 x 1 x 1, what the student's normalised input is multiplied by."""
    offset: Tensor
    """V x N x 3 x 1 x 1, what is then added to it."""


class CropDataset(StepDataset[Batch]):
    """Batches of crops.

    The teacher gets the clean crop, the student `variants` differently degraded copies of it: the student
    learns to describe what the teacher would have seen in a good photo.
    """

    def __getitem__(self, index: int) -> Batch:
        rng = self.generator(index)
        clean: list[Image] = []
        degraded: list[list[Image]] = [[] for _ in range(self.augmentation.variants)]
        for _ in range(self.recipe.batch_size):
            crop = random_crop(read_rgb(self.photo(rng)), self.augmentation, rng)
            clean.append(crop)
            for copies in degraded:
                copies.append(degrade(crop, self.augmentation, rng))
        shape = (self.augmentation.variants, self.recipe.batch_size)
        gain = np.exp(rng.uniform(-self.augmentation.exposure, self.augmentation.exposure, (*shape, 1, 1, 1)))
        offset = self.augmentation.shift * (
            rng.standard_normal((*shape, 1, 1, 1)) + 0.3 * rng.standard_normal((*shape, 3, 1, 1))
        )
        return Batch(
            stack_images(clean),
            torch.stack([stack_images(copies) for copies in degraded]),
            torch.from_numpy(gain).float(),
            torch.from_numpy(offset).float(),
        )


def stack_images(images: list[Image]) -> Tensor:
    """N x 3 x H x W uint8 of N images of one size, each H x W x 3 uint8."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def read_rgb(path: Path) -> Image:
    """Read a training photo as H x W x 3 uint8 RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"{path}: not a readable image; remove it from the training folder")
    return np.ascontiguousarray(image[..., ::-1], dtype=np.uint8)


@lru_cache(maxsize=_CACHED_PHOTOS)
def read_photo(path: Path) -> Image:
    """A training photo, shrunk to 1280 pixels where it is larger; the last ones read are remembered."""
    image = read_rgb(path)
    factor = _LONGEST_SIDE / max(image.shape[:2])
    if factor < 1:
        image = np.asarray(
            cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8
        )
    return image


def random_crop(image: Image, recipe: AugmentationRecipe, rng: np.random.Generator) -> Image:
    """A `crop` x `crop` view of the photo under a random scale, rotation, tilt and position.

    The longer side is first brought to a random size in `scale` (pixels), as the published recipe does;
    the homography then moves the corners of the crop by up to ``tilt`` of half its side and turns it by
    up to `rotation` degrees. Outside the photo, it is mirrored.
    """
    low, high = recipe.scale
    size = np.exp(rng.uniform(np.log(low), np.log(high)))
    factor = max(size / max(image.shape[:2]), recipe.crop / min(image.shape[:2]))
    if factor < 1:
        # Area averaging keeps aliasing, which no camera would show, out of the training data.
        image = np.asarray(
            cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8
        )
        factor = 1.0
    height, width = image.shape[:2]
    side = recipe.crop / factor
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64) * side / 2
    if rng.random() < recipe.homography_share:
        corners += rng.uniform(-recipe.tilt, recipe.tilt, size=(4, 2)) * side / 4
        angle = np.deg2rad(rng.uniform(-recipe.rotation, recipe.rotation))
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        corners = corners @ turn
    margin = side / 2
    centre = [
        rng.uniform(margin, width - margin) if width > side else width / 2,
        rng.uniform(margin, height - margin) if height > side else height / 2,
    ]
    target = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32) * (recipe.crop - 1)
    h = cv2.getPerspectiveTransform(target, (corners + centre).astype(np.float32))
    crop = cv2.warpPerspective(
        image,
        h,
        (recipe.crop, recipe.crop),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.ascontiguousarray(crop, dtype=np.uint8)


def degrade(image: Image, recipe: AugmentationRecipe, rng: np.random.Generator) -> Image:
    """What light, lens, sensor and compression do to a crop, each with its own probability."""
    out: NDArray[Any] = image
    if rng.random() < recipe.blur_share:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, recipe.blur))
    out = out.astype(np.float32)
    if rng.random() < recipe.gamma_share:
        gamma = np.exp(rng.uniform(-recipe.gamma, recipe.gamma))
        out = 255.0 * (out / 255.0) ** gamma
    if rng.random() < recipe.colour_share:
        out = _colour(out, recipe, rng)
    if rng.random() < recipe.noise_share:
        out = out + rng.uniform(0, recipe.noise) * rng.standard_normal(out.shape, dtype=np.float32)
    result: Image = np.clip(np.rint(out), 0, 255).astype(np.uint8)
    if rng.random() < recipe.jpeg_share:
        quality = int(rng.integers(recipe.jpeg, 96))
        done, coded = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done:
            result = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return result


def _colour(out: NDArray[Any], recipe: AugmentationRecipe, rng: np.random.Generator) -> NDArray[Any]:
    """Brightness, contrast, saturation and a per-channel tint (the day's colour), in a fixed order."""
    out = out * rng.uniform(1 - recipe.brightness, 1 + recipe.brightness)
    mean = out.mean()
    out = mean + (out - mean) * rng.uniform(1 - recipe.contrast, 1 + recipe.contrast)
    grey = out.mean(axis=2, keepdims=True)
    out = grey + (out - grey) * rng.uniform(1 - recipe.saturation, 1 + recipe.saturation)
    tint: NDArray[Any] = rng.uniform(1 - recipe.tint, 1 + recipe.tint, size=3)
    tinted: NDArray[Any] = (out * tint).astype(np.float32)
    return tinted
