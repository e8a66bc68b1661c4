"""Sizes of images, and images of other sizes."""

from __future__ import annotations

import cv2
import numpy as np

from gcm.images.files import RGBImage

__all__ = ["fit_within", "image_size", "resize_to"]


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
