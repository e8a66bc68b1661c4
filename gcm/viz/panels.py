"""Two photos side by side with a legend below, to draw on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.geometry import resize_points
from gcm.images.files import RGBImage
from gcm.images.sizes import image_size, resize_to

__all__ = [
    "Colour",
    "LegendItem",
    "Panels",
    "add_legend",
    "draw_dot",
    "draw_line",
    "draw_text",
    "panels",
    "text_size",
]

Colour = tuple[int, int, int]
"""RGB, 0 to 255."""

_PANEL = 900
"""Longest side, in pixels, at which a photo is drawn."""
_MOST_ENLARGED = 4.0
"""Times which a photo is drawn larger, where it is much smaller than the other."""
_GAP = 12
_BACKGROUND = 24
_BRIGHTNESS = 0.8
"""Of the brightest parts of the photos, below what is drawn on them."""
_MOST_GAIN = 3.0
"""Times which a dark photo is drawn brighter, lest it be a black field with lines."""

_TEXT: Colour = (225, 225, 225)
_FONT, _FONT_SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
_ROW, _MARGIN, _RAMP = 22, 8, 90
"""Pixels: height of a row of the legend, space around what stands in it, width of a scale of colours."""

_SUBPIXEL = 4
"""OpenCV draws at fractions of a pixel, told as integers with so many binary places."""


@dataclass(frozen=True)
class Panels:
    """Where two photos stand in a picture."""

    canvas: RGBImage
    """Both photos, in grey and dimmed, to be drawn on."""
    size0: tuple[int, int]
    """Width and height of photo 0 in the picture; it stands at the top left."""
    size1: tuple[int, int]
    left: int
    """Column at which photo 1 begins."""

    def place0(self, points: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
        """Where N x 2 points of photo 0, in pixels of its given width and height, lie in the picture."""
        return resize_points(points, size, self.size0)

    def place1(self, points: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
        """The same for photo 1."""
        placed = resize_points(points, size, self.size1)
        placed[:, 0] += self.left
        return placed


@dataclass(frozen=True)
class LegendItem:
    """A word of the legend, after a scale of colours where it has one."""

    text: str
    scale: NDArray[np.uint8] | None = None
    """K x 3 RGB, drawn from left to right."""


def panels(image0: RGBImage, image1: RGBImage) -> Panels:
    """Both photos side by side, in grey so that every colour is one of the drawing.

    Their longer sides are equal, and at most 900 px; a much smaller photo is enlarged four times only.
    """
    side = min(_PANEL, max(*image0.shape[:2], *image1.shape[:2]))
    first, second = (_resized(image, side) for image in (image0, image1))
    left = first.shape[1] + _GAP
    height = max(first.shape[0], second.shape[0])
    canvas = np.full((height, left + second.shape[1], 3), _BACKGROUND, np.uint8)
    canvas[: first.shape[0], : first.shape[1]] = _subdued(first)
    canvas[: second.shape[0], left:] = _subdued(second)
    return Panels(canvas, image_size(first), image_size(second), left)


def _resized(image: RGBImage, side: int) -> RGBImage:
    factor = min(_MOST_ENLARGED, side / max(image.shape[:2]))
    width, height = image_size(image)
    return resize_to(image, (max(1, round(width * factor)), max(1, round(height * factor))))


def _subdued(image: RGBImage) -> NDArray[np.uint8]:
    """H x W x 1."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    gain = min(_MOST_GAIN, _BRIGHTNESS * 255 / max(1.0, float(np.percentile(grey, 99))))
    return np.asarray(np.minimum(gain * grey, _BRIGHTNESS * 255), np.uint8)[..., None]


def draw_line(
    canvas: RGBImage, start: NDArray[Any], end: NDArray[Any], colour: Sequence[int], width: int = 1
) -> None:
    """A line between two points (x, y), to a fraction of a pixel."""
    colour = [int(value) for value in colour]
    cv2.line(canvas, _fixed(start), _fixed(end), colour, width, cv2.LINE_AA, _SUBPIXEL)


def draw_dot(canvas: RGBImage, point: NDArray[Any], colour: Sequence[int], radius: float) -> None:
    """A filled circle around a point (x, y), with a dark rim where it is large enough for one."""
    if radius >= 2:
        cv2.circle(canvas, _fixed(point), _scaled(radius + 1), (0, 0, 0), -1, cv2.LINE_AA, _SUBPIXEL)
    colour = [int(value) for value in colour]
    cv2.circle(canvas, _fixed(point), _scaled(radius), colour, -1, cv2.LINE_AA, _SUBPIXEL)


def draw_text(canvas: RGBImage, text: str, place: tuple[int, int], colour: Sequence[int] = _TEXT) -> None:
    """Text that begins at the bottom left corner (x, y)."""
    colour = [int(value) for value in colour]
    cv2.putText(canvas, text, place, _FONT, _FONT_SIZE, colour, 1, cv2.LINE_AA)


def text_size(text: str) -> tuple[int, int]:
    """Width and height of what :func:`draw_text` draws."""
    (width, height), _ = cv2.getTextSize(text, _FONT, _FONT_SIZE, 1)
    return int(width), int(height)


def add_legend(canvas: RGBImage, items: Sequence[LegendItem]) -> RGBImage:
    """The picture with a strip below that holds these items, in as many rows as they take."""
    width = canvas.shape[1]
    places, x, row = [], _MARGIN, 0
    for item in items:
        needed = _width(item)
        if x > _MARGIN and x + needed > width:
            x, row = _MARGIN, row + 1
        places.append((x, row))
        x += needed + 3 * _MARGIN
    strip = np.full(((row + 1) * _ROW + _MARGIN, width, 3), _BACKGROUND, np.uint8)
    for item, (x, row) in zip(items, places, strict=True):
        top = _MARGIN // 2 + row * _ROW
        if item.scale is not None:
            index = np.linspace(0, len(item.scale) - 1, _RAMP).round().astype(int)
            part = strip[top + 5 : top + 17, x : x + _RAMP]
            part[:] = item.scale[index][None, : part.shape[1]]
        draw_text(strip, item.text, (x if item.scale is None else x + _RAMP + _MARGIN, top + 15))
    return np.concatenate([canvas, strip])


def _width(item: LegendItem) -> int:
    width, _ = text_size(item.text)
    return width if item.scale is None else width + _RAMP + _MARGIN


def _fixed(point: NDArray[Any]) -> tuple[int, int]:
    return _scaled(float(point[0])), _scaled(float(point[1]))


def _scaled(value: float) -> int:
    return round(value * (1 << _SUBPIXEL))
