"""Sub-pixel positions from the images themselves: patches aligned by their intensities.

Descriptors say which point is which; where the images are alike, their intensities say more exactly where.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["align_patches"]

_CHUNK = 1024
"""Matches aligned at once: what they need then stays in a core's cache."""

_BAND_PIXELS = 2**20
"""Pixels of image 0 whose derivatives are computed at once: of twelve megapixels they would take 300 MB."""

_FLAT = 1e-3
"""Least deviation, grey levels, by which a patch is divided."""

_DAMPING = 0.5
"""Square grey levels a pixel, added to the normal equations: a patch without structure does not move."""

Array = NDArray[Any]


def align_patches(
    image0: NDArray[Any],
    image1: NDArray[Any],
    points0: NDArray[np.float64],
    points1: NDArray[np.float64],
    *,
    radius: int = 4,
    iterations: int = 4,
    blur: float = 0.7,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move points of image 1 to where the patch around them looks most like that around their partners.

    Translation only, so the images must be aligned up to what a patch does not notice. Brightness and
    contrast of each patch do not matter.

    Args:
        image0, image1: H x W grey.
        points0, points1: N x 2 (x, y), pixels; `points1` right to about a pixel.
        radius: of the square patches, pixels; they are weighted by a Gaussian of 0.6 of it.
        iterations: of Gauss-Newton; each moves a point by a pixel at most, in x and in y.
        blur: deviation, pixels, of the Gaussian that both images are smoothed by.

    Returns:
        N x 2 positions in image 1, and N correlations of the patches there, -1 to 1.

    Source: Lucas and Kanade 1981, in the inverse compositional form of Baker and Matthews 2004, with each
    patch normalised to zero mean and unit deviation.
    """
    smooth1 = _smoothed(image1, blur)
    steps = np.arange(-radius, radius + 1, dtype=np.float32)
    offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    weights = np.exp(-(offsets**2).sum(axis=1) / (2 * (0.6 * radius) ** 2)).astype(np.float32)
    weights /= weights.sum()
    positions = np.empty((len(points0), 2))
    correlations = np.empty(len(points0))
    for top, layers0, members in _bands(image0, points0, radius, blur):
        for start in range(0, len(members), _CHUNK):
            part = members[start : start + _CHUNK]
            positions[part], correlations[part] = _align(
                layers0, smooth1, points0[part] - [0, top], points1[part], offsets, weights, iterations
            )
    return positions, correlations


def _bands(
    image: Array, points: NDArray[np.float64], radius: int, blur: float
) -> Iterator[tuple[int, Array, NDArray[np.int64]]]:
    """Rows of an image, and which points lie there; for each the first row and what patches are sampled from.

    That is the smoothed image with its two derivatives, H x W x 3 float32; of a large image it exists in
    parts alone.
    """
    height, width = image.shape
    rows = max(1, _BAND_PIXELS // width)
    margin = radius + 2 + int(4 * blur + 2)  # what patches, derivatives and the Gaussian reach
    band = np.clip(points[:, 1] / rows, 0, (height - 1) // rows).astype(np.int64)
    for number in np.unique(band):
        top, bottom = max(0, number * rows - margin), min(height, (number + 1) * rows + margin)
        smooth = _smoothed(image[top:bottom], blur)
        along_x, along_y = (
            cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1))
        )
        yield int(top), cv2.merge([smooth, along_x, along_y]), np.flatnonzero(band == number)


def _smoothed(image: Array, blur: float) -> Array:
    smooth = image.astype(np.float32)
    cv2.GaussianBlur(smooth, (0, 0), blur, dst=smooth)
    return smooth


def _align(
    layers0: Array,
    smooth1: Array,
    points0: NDArray[np.float64],
    points1: NDArray[np.float64],
    offsets: Array,
    weights: Array,
    iterations: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    template, *gradients = np.moveaxis(_sampled(layers0, points0, offsets), -1, 0)
    template = template - (template @ weights)[:, None]
    scale = _deviation(template, weights)
    gx, gy = (gradient - (gradient @ weights)[:, None] for gradient in gradients)
    xx, xy, yy = ((u * v) @ weights for u, v in ((gx, gx), (gx, gy), (gy, gy)))
    xx, yy = xx + _DAMPING, yy + _DAMPING
    gx, gy = gx * weights, gy * weights
    determinant = xx * yy - xy**2
    positions = points1.astype(np.float64)
    for _ in range(iterations):
        error, deviation = _centred(smooth1, positions, offsets, weights)
        error *= (scale / deviation)[:, None]
        error -= template
        bx, by = _products(error, gx), _products(error, gy)
        step = np.column_stack([yy * bx - xy * by, xx * by - xy * bx]) / determinant[:, None]
        positions -= np.clip(step, -1, 1)
    patches, deviation = _centred(smooth1, positions, offsets, weights)
    correlation = _products(patches, template * weights) / (deviation * scale)
    return positions, correlation.astype(np.float64)


def _centred(
    image: Array, points: NDArray[np.float64], offsets: Array, weights: Array
) -> tuple[Array, Array]:
    """Patches around points, N x K, of zero mean, and their deviations, N."""
    patches = _sampled(image, points, offsets)
    patches -= (patches @ weights)[:, None]
    return patches, _deviation(patches, weights)


def _deviation(patches: Array, weights: Array) -> Array:
    """Of patches of zero mean, N."""
    deviation: Array = np.sqrt((patches * patches) @ weights) + np.float32(_FLAT)
    return deviation


def _products(first: Array, second: Array) -> Array:
    """Scalar product of each row of one with that of the other, N."""
    products: Array = np.einsum("nk,nk->n", first, second)
    return products


def _sampled(image: Array, points: NDArray[np.float64], offsets: Array) -> Array:
    """Bilinear values, N x K (x channels), at K offsets from each of N points."""
    # Each coordinate by itself: OpenCV wants them so, and taking them apart costs more than the sampling.
    x, y = (points[:, axis, None].astype(np.float32) + offsets[:, axis] for axis in (0, 1))
    sampled = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(sampled, dtype=np.float32)
