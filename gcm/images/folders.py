"""Photos in folders, and how a photo lies in its file."""

from __future__ import annotations

from pathlib import Path

from gcm.errors import DatasetError

__all__ = ["PHOTO_SUFFIXES", "find_photos"]

PHOTO_SUFFIXES = (".bmp", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Of the files in a folder that are taken for photos."""


def find_photos(root: Path) -> list[Path]:
    """All photos below a folder, in a fixed order.

    Raises:
        DatasetError: no such folder, or no photo in it.
    """
    if not root.is_dir():
        told = "is a file; give the folder it lies in" if root.is_file() else "no such folder of photos"
        raise DatasetError(f"{root}: {told}")
    photos = sorted(p for p in root.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())
    if not photos:
        raise DatasetError(f"{root}: holds no photos; they end in {', '.join(PHOTO_SUFFIXES)}")
    return photos
