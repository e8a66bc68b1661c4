"""Sizes of images, and images of other sizes."""

from __future__ import annotations

import cv2
import numpy as np

from gcm.images.loaded import RGBImage

__all__ = ["fit_within", "image_size", "resize_to", "working_size"]


def resize_to(image: RGBImage, size: tuple[int, int]) -> RGBImage:
    """Resize to a width and height; area averaging when shrinking, so that nothing aliases."""
    height, width = image.shape[:2]
    if size == (width, height):
        return image
    shrink = size[0] <= width and size[1] <= height
    method = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)


def fit_within(image: RGBImage, side: int) -> RGBImage:
    """The image, shrunk where its longer side exceeds `side`; itself where it does not."""
    factor = min(1.0, side / max(image.shape[:2]))
    width, height = image_size(image)
    return resize_to(image, (max(1, round(width * factor)), max(1, round(height * factor))))


def image_size(image: RGBImage) -> tuple[int, int]:
    """Width and height."""
    return image.shape[1], image.shape[0]


def working_size(
    size: tuple[int, int],
    *,
    resize: int | tuple[int, int] | None = None,
    down_sample: float | tuple[float, float] | None = None,
    max_side: int | None = None,
) -> tuple[int, int]:
    """Width and height the networks work at for an image of that width and height.

    Args:
        size: width and height, pixels.
        resize: width and height to bring it to, or its longer side.
        down_sample: divides both sides, or each by its own.
        max_side: longest side, pixels.
    """
    width, height = float(size[0]), float(size[1])
    if isinstance(resize, tuple):
        width, height = float(resize[0]), float(resize[1])
    elif resize is not None:
        factor = resize / max(width, height)
        width, height = width * factor, height * factor
    if down_sample is not None:
        factors = down_sample if isinstance(down_sample, tuple) else (down_sample,) * 2
        width, height = width / factors[0], height / factors[1]
    if max_side is not None and max(width, height) > max_side:
        factor = max_side / max(width, height)
        width, height = width * factor, height * factor
    return max(1, round(width)), max(1, round(height))
