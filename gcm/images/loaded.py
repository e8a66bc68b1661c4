"""What an image is to the rest of `gcm`, once it has been read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gcm.errors import ImageError

__all__ = ["DEFAULT_MAX_PIXELS", "ImageHeader", "LoadedImage", "RGBImage", "check_pixel_count"]

RGBImage: TypeAlias = NDArray[np.uint8]
"""H x W x 3 uint8 RGB, upright."""

DEFAULT_MAX_PIXELS = 250_000_000
"""Largest image that is decoded unless one asks for more. Each takes some eight bytes while it is read."""


@dataclass(frozen=True)
class ImageHeader:
    """What a file tells of its image before it is decoded."""

    size: tuple[int, int]
    """Width and height, upright."""
    orientation: int
    """EXIF's, 1 to 8: how the file's pixels are turned to stand upright."""
    has_alpha: bool
    """It says of its pixels how opaque they are."""


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image as it was read."""

    pixels: RGBImage
    """H x W x 3 uint8 RGB, upright."""
    size: tuple[int, int]
    """Width and height of the upright image as given, in which points are expressed. The size of `pixels`
    differs when it was decoded at reduced size; both then show the same field of view, edge to edge."""
    notes: tuple[str, ...] = ()
    """What was done to the values or the size that one would not expect, a sentence each."""
    visible: NDArray[np.bool_] | None = None
    """H x W, False where a pixel is wholly transparent (alpha 0); None where there is no alpha channel."""

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        reduced = "" if (width, height) == self.size else f", decoded at {width} x {height}"
        return f"LoadedImage({self.size[0]} x {self.size[1]}{reduced})"


def check_pixel_count(width: int, height: int, max_pixels: int, name: str) -> None:
    """Refuse an image that is too large, before it is decoded.

    Raises:
        ImageError: more than `max_pixels`.
    """
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width} x {height} has too many pixels (limit {max_pixels}); "
            f"allow them with --set max_pixels={width * height}, or shrink the image first"
        )
