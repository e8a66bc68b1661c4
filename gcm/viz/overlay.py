"""Two photos laid over each other by a homography, to see how well it brings them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcm.errors import GCMError, UsageError
from gcm.geometry import Matrix, inverse, resize_matrix, warp_smoothly
from gcm.images.files import RGBImage
from gcm.images.sizes import image_size
from gcm.viz.canvas import fit_canvas

__all__ = ["Overlay", "OverlayError", "View", "feather_weights", "lay_over", "overlay_photos"]

View = Literal["blend", "checkerboard", "difference"]
"""``blend``: half of each where both are, running into one at the borders. ``checkerboard``: squares of image
0, a little darker, and of image 1 by turns; edges must go on from square to square. ``difference``: three
times how much colours differ where both are, exposure evened out; black is no difference, and what one image
alone shows is dark grey."""

_LARGEST = 4.0
"""Times the area of both photos that the canvas may take: beyond, one is stretched past use."""
_MOST_PIXELS = 24e6
"""Of a picture; what would be larger is drawn smaller."""

_FEATHER = 0.08
"""Share of the canvas's shorter side over which a photo fades in from its border."""
_SQUARES = 8
"""Of the checkerboard, along the shorter side of what both photos show."""
_DARKER = 0.8
"""Times which photo 0's squares are as bright: where both photos fit, nothing else tells the squares."""
_GAIN = 3.0
"""Times a difference is shown: what is off by a fraction of a pixel differs little."""
_ALONE = 0.25
"""Brightness, in a difference, of what one photo alone shows."""
_BACKGROUND = 24

Mask = NDArray[np.bool_]


class OverlayError(GCMError):
    """Photos that no picture of useful size can hold."""


@dataclass(frozen=True)
class Overlay:
    """Two photos on one canvas."""

    photo0: RGBImage
    """H x W x 3, photo 0 warped; black where it shows nothing."""
    photo1: RGBImage
    covers0: Mask
    """H x W, where photo 0 shows something."""
    covers1: Mask
    to_canvas: tuple[Matrix, Matrix]
    """3 x 3 each, pixels of the photos to pixels of the canvas."""


def overlay_photos(
    image0: RGBImage, image1: RGBImage, h_0_to_1: ArrayLike, *, view: View = "blend"
) -> RGBImage:
    """One picture of image 0, warped, over image 1, as large as holds both.

    Args:
        image0, image1: H x W x 3 uint8 RGB.
        h_0_to_1: 3 x 3, pixels of image 0 to image 1.
        view: see :data:`View`.

    Returns:
        H x W x 3 uint8 RGB, image 1 unscaled unless that would be more than 24 million pixels.

    Raises:
        OverlayError: the homography folds image 0, or makes it too large.
        UsageError: no such view.
    """
    if view not in get_args(View):
        raise UsageError(f"no view named '{view}'; known: {', '.join(get_args(View))}")
    laid = lay_over(image0, image1, h_0_to_1)
    if view == "blend":
        return _blend(laid)
    return _checkerboard(laid) if view == "checkerboard" else _difference(laid)


def lay_over(image0: RGBImage, image1: RGBImage, h_0_to_1: ArrayLike) -> Overlay:
    """Both images on one canvas; see :func:`overlay_photos`."""
    h = np.asarray(h_0_to_1, dtype=np.float64)
    sizes = image_size(image0), image_size(image1)
    placed = fit_canvas(sizes, {0: h, 1: np.eye(3)}, _LARGEST)
    if placed is None:
        raise OverlayError(_too_large(sizes, h))
    to_canvas, (width, height) = placed
    shrink = min(1.0, (_MOST_PIXELS / (width * height)) ** 0.5)
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    scale = resize_matrix((width, height), size)
    parts = []
    for k, image in enumerate((image0, image1)):
        matrix = scale @ to_canvas[k]
        whole = np.full(image.shape[:2], 255, np.uint8)
        # What lies half on the border is half black.
        covered = warp_smoothly(whole, matrix, *size) > 254
        parts.append((warp_smoothly(image, matrix, *size), covered, matrix))
    (photo0, covers0, matrix0), (photo1, covers1, matrix1) = parts
    return Overlay(photo0, photo1, covers0, covers1, (matrix0, matrix1))


def _too_large(sizes: Sequence[tuple[int, int]], h_0_to_1: Matrix) -> str:
    text = "the homography stretches the first photo to more than a picture can hold"
    other_way = fit_canvas(sizes, {0: np.eye(3), 1: inverse(h_0_to_1)}, _LARGEST)
    return text if other_way is None else f"{text}; swap the photos, that way they fit"


def feather_weights(covers0: Mask, covers1: Mask, ramp: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """How much each of two photos counts in a blend: more the farther from its border.

    Args:
        covers0, covers1: H x W, where the photos show something.
        ramp: pixels from its border at which a photo counts in full.

    Returns:
        H x W float32 each, in [0, 1]; their sum is 1 where at least one photo is, else 0.
    """
    first, second = (_from_border(covers, ramp) for covers in (covers0, covers1))
    total = first + second
    np.maximum(total, 1e-9, out=total)
    return first / total, second / total


def _from_border(covers: Mask, ramp: float) -> NDArray[np.float32]:
    """Distance to the nearest pixel outside, the canvas's own border included, at most `ramp`."""
    padded = cv2.copyMakeBorder(covers.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.minimum(distance, ramp, dtype=np.float32)


def _blend(laid: Overlay) -> RGBImage:
    ramp = max(1.0, _FEATHER * min(laid.covers0.shape))
    weights = feather_weights(laid.covers0, laid.covers1, ramp)
    blended = cv2.blendLinear(laid.photo0, laid.photo1, *weights)
    return _on_background(np.asarray(blended, np.uint8), laid)


def _checkerboard(laid: Overlay) -> RGBImage:
    both = laid.covers0 & laid.covers1
    rows, columns = np.flatnonzero(both.any(axis=1)), np.flatnonzero(both.any(axis=0))
    picture = np.where(laid.covers0[..., None], laid.photo0, laid.photo1)
    if len(rows):
        side = max(8, min(int(np.ptp(rows)), int(np.ptp(columns))) // _SQUARES)
        y, x = np.ogrid[: both.shape[0], : both.shape[1]]
        second = ((y - rows[0]) // side + (x - columns[0]) // side) % 2 == 1
        picture[both & second] = laid.photo1[both & second]
        picture[both & ~second] = (_DARKER * laid.photo0[both & ~second]).astype(np.uint8)
    return _on_background(picture, laid)


def _difference(laid: Overlay) -> RGBImage:
    both = laid.covers0 & laid.covers1
    alone = laid.photo0 * ~laid.covers1[..., None] + laid.photo1 * ~laid.covers0[..., None]
    grey = (_ALONE * cv2.cvtColor(alone, cv2.COLOR_RGB2GRAY)).astype(np.uint8)
    picture: RGBImage = np.repeat(grey[..., None], 3, axis=2)
    for channel in range(3 if both.any() else 0):  # one by one, which takes a third of the memory
        first, second = (p[..., channel][both].astype(np.float32) for p in (laid.photo0, laid.photo1))
        # Exposure and tint are no matter of alignment.
        even = (first - first.mean()) * (second.std() / max(first.std(), 1.0)) + second.mean()
        picture[..., channel][both] = np.clip(_GAIN * np.abs(even - second), 0, 255).astype(np.uint8)
    return _on_background(picture, laid)


def _on_background(picture: RGBImage, laid: Overlay) -> RGBImage:
    picture[~(laid.covers0 | laid.covers1)] = _BACKGROUND
    return picture
