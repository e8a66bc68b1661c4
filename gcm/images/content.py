"""What an image shows, and where it shows nothing to match."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.images.loaded import RGBImage

__all__ = ["on_flat_ground"]

FLAT_RADIUS = 16
"""Pixels: where everything so near has one colour, there is nothing to match."""


def on_flat_ground(
    image: RGBImage, points: NDArray[np.float64], radius: int = FLAT_RADIUS
) -> NDArray[np.bool_]:
    """Whether all pixels of the (2 radius + 1)-square around each of N x 2 points have one colour.

    There is nothing to match in such a place; what a network says of it is its padding's doing.

    Args:
        image: H x W x 3 uint8 RGB.
        points: (x, y) in pixels, inside the image.
        radius: in pixels; of the square, what lies in the image counts.
    """
    height, width = image.shape[:2]
    x, y = np.rint(points).astype(np.int64).T
    left, right = np.maximum(x - radius, 0), np.minimum(x + radius, width - 1)
    top, bottom = np.maximum(y - radius, 0), np.minimum(y + radius, height - 1)
    # A square has one colour where no pixel of it differs from the next, to the right and below.
    count = _sums(_steps(image[:, 1:], image[:, :-1]), left, top, right, bottom + 1)
    count += _sums(_steps(image[1:], image[:-1]), left, top, right + 1, bottom)
    result: NDArray[np.bool_] = count == 0
    return result


def _steps(image: NDArray[np.uint8], neighbour: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Integral image of where two images differ."""
    if image.size == 0:
        return np.zeros((image.shape[0] + 1, image.shape[1] + 1), np.int32)
    same = cv2.inRange(cv2.absdiff(image, neighbour), (0, 0, 0), (0, 0, 0))
    return np.asarray(cv2.integral((same == 0).view(np.uint8)), dtype=np.int32)


def _sums(
    integral: NDArray[np.int32],
    left: NDArray[np.int64],
    top: NDArray[np.int64],
    right: NDArray[np.int64],
    bottom: NDArray[np.int64],
) -> NDArray[np.int32]:
    """Sums over rectangles; right and bottom are exclusive."""
    result: NDArray[np.int32] = (
        integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
    )
    return result
