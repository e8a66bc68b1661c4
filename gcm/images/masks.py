"""Masks: where of an image nothing is to be matched."""

from __future__ import annotations

from os import PathLike
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gcm.errors import ImageError
from gcm.images.files import read_image
from gcm.matches import Matches

__all__ = ["Mask", "MaskLike", "drop_masked", "outside_mask", "read_mask"]

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
    keep = np.ones(len(matches), dtype=bool)
    ends = (mask0, matches.points0, matches.size0), (mask1, matches.points1, matches.size1)
    for number, (mask, points, size) in enumerate(ends):
        if mask is not None:
            keep &= outside_mask(read_mask(mask, size, f"image {number}"), points)
    return matches if keep.all() else matches.subset(keep)
