"""Masks: where of an image nothing is to be matched, by an image of its own or by its alpha channel."""

from __future__ import annotations

import sys
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gcm.errors import ImageError
from gcm.images.files import read_file_header, read_image
from gcm.matches import Matches

__all__ = ["Mask", "MaskLike", "both_masks", "drop_masked", "drop_transparent", "outside_mask", "read_mask"]

Mask: TypeAlias = NDArray[np.bool_]
"""H x W; False is masked."""

MaskLike: TypeAlias = "str | PathLike[str] | NDArray[Any]"
"""An image file, or an H x W array; zero (black, False) is masked."""


def read_mask(source: MaskLike, size: tuple[int, int], name: str) -> Mask:
    """Read a mask.

    Args:
        source: a file or an array.
        size: width and height of the upright image it is of.
        name: of that image, for messages.

    Raises:
        ImageError: it cannot be read, or has another size.
    """
    if isinstance(source, np.ndarray):
        if source.dtype.kind == "f" and np.isnan(source).any():
            raise ImageError(f"{name}: its mask contains nan; give 0 where nothing is to be matched, else 1")
        mask = source != 0 if source.ndim == 2 else (source != 0).any(axis=2)
        told = "its mask"
    else:
        mask, told = (read_image(source).pixels != 0).any(axis=2), f"its mask {source}"
    if mask.shape != size[::-1]:
        raise ImageError(
            f"{name}: is {size[0]} x {size[1]}, {told} {mask.shape[1]} x {mask.shape[0]}; a mask must be as "
            "large as its image"
        )
    return np.asarray(mask, dtype=bool)


def both_masks(first: Mask | None, second: Mask | None) -> Mask | None:
    """Masked where either is; None masks nothing."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


def outside_mask(mask: Mask | None, points: NDArray[np.float64]) -> Mask:
    """Which of N x 2 points, pixels, lie where nothing is masked; all of them without a mask."""
    if mask is None:
        return np.ones(len(points), dtype=bool)
    x, y = np.rint(points).astype(np.int64).T
    inside: Mask = mask[y.clip(0, mask.shape[0] - 1), x.clip(0, mask.shape[1] - 1)]
    return inside


def drop_masked(matches: Matches, mask0: MaskLike | None, mask1: MaskLike | None) -> Matches:
    """Without the matches that start or end in a masked place.

    Raises:
        ImageError: a mask that cannot be read or has another size.
    """
    sizes, given = (matches.size0, matches.size1), (mask0, mask1)
    masks = [
        None if mask is None else read_mask(mask, size, f"image {number}")
        for number, (mask, size) in enumerate(zip(given, sizes, strict=True))
    ]
    return _kept(matches, masks)


def drop_transparent(matches: Matches, image0: Path, image1: Path) -> Matches:
    """Without the matches that start or end where their image is wholly transparent (alpha 0).

    Args:
        matches: of the two.
        image0, image1: files; of one without an alpha channel all counts.

    Raises:
        ImageError: one cannot be read.
    """
    return _kept(matches, [_visible(image) for image in (image0, image1)])


def _visible(image: Path) -> Mask | None:
    if not read_file_header(image).has_alpha:
        return None
    return read_image(image, max_pixels=sys.maxsize).visible  # how large it may be was the matcher's to say


def _kept(matches: Matches, masks: list[Mask | None]) -> Matches:
    keep = outside_mask(masks[0], matches.points0) & outside_mask(masks[1], matches.points1)
    return matches if keep.all() else matches.subset(keep)
