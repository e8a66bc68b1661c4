"""Pairs of photos that do, and pairs that do not, show the same; all from data that is for training."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from gcm.images.files import RGBImage, load_image
from gcm.images.sizes import fit_within, image_size

__all__ = ["Item", "draw", "items"]

COUNTS = {"unrelated": 100, "mirrored": 60, "sky": 70, "homography": 50, "crop": 60}
COLLECTIONS = ("monstree", "buddha", "sceaux")
"""Photos of one place each, in the order they were taken."""

LONGEST = 640


@dataclass(frozen=True)
class Item:
    """One pair, made when it is asked for."""

    kind: str
    number: int
    gap: int = 0
    """Of a collection: how many photos later the second one is."""

    @property
    def same(self) -> bool:
        """Whether both show the same."""
        return self.kind not in ("unrelated", "mirrored", "sky")

    @property
    def certain(self) -> bool:
        """Whether that is known: neighbours in a collection need not overlap."""
        return self.kind not in COLLECTIONS


def items(data: Path) -> list[Item]:
    """All pairs."""
    listed = [Item(kind, number) for kind, count in COUNTS.items() for number in range(count)]
    for place in COLLECTIONS:
        count = len(_collection(data, place))
        listed += [Item(place, k, 1) for k in range(count - 1)]
        listed += [Item(place, k, 2) for k in range(0, count - 2, 2)]
    return listed


def draw(item: Item, data: Path) -> tuple[RGBImage, RGBImage]:
    """The two images of a pair; a function of its kind and number alone."""
    if item.kind in COLLECTIONS:
        files = _collection(data, item.kind)
        return _photo(files[item.number]), _photo(files[item.number + item.gap])
    rng = np.random.default_rng([*item.kind.encode(), item.number])
    files = _photos(data)
    if item.kind == "unrelated":
        first, second = rng.choice(len(files), 2, replace=False)
        return _photo(files[first]), _photo(files[second])
    if item.kind == "sky":
        return _skies(rng, item.number)
    image = _photo(files[rng.integers(len(files))])
    if item.kind == "mirrored":
        return image, np.ascontiguousarray(image[:, ::-1])
    other = _seen_otherwise(image, rng, much=item.kind == "homography")
    return (image, other) if item.kind == "homography" else _parts(image, other, rng, item.number)


@cache
def _photos(data: Path) -> list[Path]:
    folders = (data / "train" / name for name in ("bsds500", "imagenet-samples"))
    found = itertools.chain.from_iterable(folder.rglob("*") for folder in folders)
    return sorted(path for path in found if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


@cache
def _collection(data: Path, place: str) -> list[Path]:
    return sorted(p for p in (data / "multiview" / place).iterdir() if p.suffix.lower() == ".jpg")


def _photo(path: Path) -> RGBImage:
    return fit_within(load_image(path), LONGEST)


def _skies(rng: np.random.Generator, number: int) -> tuple[RGBImage, RGBImage]:
    """A gradient under noise, twice: alike at a glance, and nothing is the same."""
    height, width = int(rng.integers(240, 480)), int(rng.integers(320, 640))
    down = np.linspace(0, 1, height)[:, None, None]
    gradient = rng.uniform(60, 200, 3) * (1 - down) + rng.uniform(120, 255, 3) * down
    amount = float(np.exp(rng.uniform(np.log(0.2), np.log(6))))

    def views() -> Iterator[RGBImage]:
        for _ in range(2):
            noise = rng.normal(0, amount, (height, width, 3))
            if number % 2:
                noise = 3 * cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.6, 2.0))
            if number % 3 == 0:  # clouds
                rough = rng.normal(0, 1, (int(rng.integers(3, 9)), int(rng.integers(3, 9))))
                clouds = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
                noise = noise + clouds[..., None] * rng.uniform(3, 20)
            yield np.clip(gradient + noise, 0, 255).astype(np.uint8)

    first, second = views()
    return first, second


def _seen_otherwise(image: RGBImage, rng: np.random.Generator, *, much: bool) -> RGBImage:
    """Turned, scaled, tilted, in another exposure, noisy, perhaps blurred."""
    width, height = image_size(image)
    turn = np.deg2rad(rng.uniform(-40, 40) if much else rng.uniform(-5, 5))
    scale = np.exp(rng.uniform(-0.6, 0.6) if much else rng.uniform(-0.1, 0.1))
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    motion = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [*rng.uniform(-6e-4, 6e-4, 2), 1.0]])
    centre = np.array([[1.0, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    h = centre @ motion @ np.linalg.inv(centre)
    seen = cv2.warpPerspective(image, h, (width, height), flags=cv2.INTER_CUBIC) / 255.0
    seen = 255 * seen ** rng.uniform(0.6, 1.6) * rng.uniform(0.7, 1.2)
    seen += rng.normal(0, rng.uniform(0, 8), seen.shape)
    result = np.clip(seen, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        result = np.asarray(cv2.GaussianBlur(result, (0, 0), rng.uniform(0.6, 2)), dtype=np.uint8)
    return result


def _parts(
    image: RGBImage, other: RGBImage, rng: np.random.Generator, number: int
) -> tuple[RGBImage, RGBImage]:
    """Left and right of two views of a photo, which overlap by 18 to 82 %; of every third, a small part."""
    width, height = image_size(image)
    cut = int(width * rng.uniform(0.55, 0.85))
    left = image[:, :cut].copy()
    if number % 3:
        return left, other[:, width - cut :].copy()
    x, y = rng.integers(0, left.shape[1] - 128), rng.integers(0, max(1, height - 128))
    return left, other[y : y + 128, max(0, x - 20) : x + 108].copy()
