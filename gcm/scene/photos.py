"""The photos of a folder: names, sizes, how they lie in their files, where they were taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from gcm.errors import DatasetError, ImageError
from gcm.geometry import Points
from gcm.images.files import read_file_header
from gcm.images.folders import find_photos

__all__ = ["Photo", "as_stored", "as_upright", "list_photos", "read_place"]

_GPS = 0x8825
"""EXIF's tag of the block that says where a photo was taken."""

_EARTH = 6371000.0
"""Metres; mean radius."""


@dataclass(frozen=True)
class Photo:
    """A photo of a folder."""

    path: Path
    name: str
    """Its path below the folder, with slashes."""
    size: tuple[int, int]
    """Width and height, upright."""
    orientation: int = 1
    """EXIF's, 1 to 8: how the file's pixels are turned to stand upright."""

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height as the pixels lie in the file."""
        return self.size[::-1] if self.orientation in (5, 6, 7, 8) else self.size


def list_photos(
    folder: Path, on_broken: Callable[[str], object] | None = None, *, fewest: int = 2
) -> list[Photo]:
    """The photos below a folder, by name.

    Args:
        folder: where they are.
        on_broken: called with a line for each that cannot be read, which is then left out.
        fewest: photos that there must be.

    Raises:
        DatasetError: no such folder, or fewer photos that can be read.
        ImageError: a photo that cannot be read, without `on_broken`.
    """
    photos = []
    for path in find_photos(folder):
        try:
            header = read_file_header(path)
        except ImageError as error:
            if on_broken is None:
                raise
            on_broken(f"{error}; left out")
            continue
        name = path.relative_to(folder).as_posix()
        photos.append(Photo(path, name, header.size, header.orientation))
    if len(photos) < fewest:
        noun = "photo" if len(photos) == 1 else "photos"
        told = "; two at least make a pair" if fewest > 1 else ""
        raise DatasetError(f"{folder}: holds {len(photos)} {noun} that can be read{told}")
    return photos


def as_stored(photo: Photo, points: Points) -> Points:
    """N x 2 points of the upright photo, pixels, where the file's own pixels have them.

    COLMAP and hloc do not turn photos as EXIF says.
    """
    width, height = photo.size
    x, y = points[:, 0], points[:, 1]
    if photo.orientation in (3, 4, 7, 8):
        y = height - 1 - y
    if photo.orientation in (2, 3, 6, 7):
        x = width - 1 - x
    return np.column_stack([y, x] if photo.orientation in (5, 6, 7, 8) else [x, y])


def as_upright(photo: Photo, points: Points) -> Points:
    """N x 2 points of the file's own pixels, where the upright photo has them; undoes :func:`as_stored`."""
    width, height = photo.size
    x, y = points.T[::-1] if photo.orientation in (5, 6, 7, 8) else points.T
    if photo.orientation in (3, 4, 7, 8):
        y = height - 1 - y
    if photo.orientation in (2, 3, 6, 7):
        x = width - 1 - x
    return np.column_stack([x, y])


def read_place(path: Path) -> tuple[float, float, float] | None:
    """Where a photo was taken, by EXIF: x, y, z in metres from the centre of the Earth; None where unsaid.

    x goes through the equator at longitude 0, z through the north pole. The Earth is a sphere here, which
    is good for distances between photos near each other.
    """
    try:
        with PILImage.open(path) as image:
            gps = image.getexif().get_ifd(_GPS)
        latitude = _degrees(gps[2]) * (-1 if gps.get(1) == "S" else 1)
        longitude = _degrees(gps[4]) * (-1 if gps.get(3) == "W" else 1)
        height = float(gps.get(6, 0.0)) * (-1 if gps.get(5) in (1, b"\x01") else 1)
    except (OSError, KeyError, ValueError, TypeError, ZeroDivisionError, SyntaxError, AttributeError):
        return None
    if not all(map(math.isfinite, (latitude, longitude, height))):
        return None
    up, east = math.radians(latitude), math.radians(longitude)
    radius = _EARTH + height
    from_axis = radius * math.cos(up)
    return from_axis * math.cos(east), from_axis * math.sin(east), radius * math.sin(up)


def _degrees(values: Any) -> float:
    degrees, minutes, seconds = (float(value) for value in values)
    return degrees + minutes / 60 + seconds / 3600
