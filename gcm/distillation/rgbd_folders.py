"""RGB-D sequences on disk: photos, depths, one camera matrix and a pose for each frame.

A sequence is a folder with

- ``images/``: photos of one size,
- ``depth/``: for each an image of the same name, ending in .png, of 16 bits: millimetres along the optical
  axis, 0 where there is none; of the photos' shape, but it may be smaller,
- ``K.txt``: the 3 x 3 camera matrix for the photos as they are (pixel centres at integers),
- ``poses.txt``: a line a photo, in the order of their names: 4 x 4, camera to world, 16 numbers, metres.
  Lines beyond the last photo are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.distillation.data import Image, read_photo, read_rgb
from gcm.errors import DatasetError
from gcm.geometry import resize_matrix
from gcm.images.folders import find_photos
from gcm.images.sizes import image_size

__all__ = ["Frame", "Sequence", "find_sequences"]

Array = NDArray[np.float64]

_PARTS = ("K.txt", "poses.txt", "images", "depth")
_FORM = "an RGB-D sequence is a folder with K.txt, poses.txt, images/ and depth/"
_CACHED_DEPTHS = 200
_MILLIMETRES = 1000
_NO_ROTATION = 0.01
"""Largest entry of R^T R - 1 of what is taken for a rotation."""
_OTHER_SHAPE = 0.02
"""Share by which width over height of depth and photo may differ."""


@dataclass(frozen=True)
class Frame:
    """A frame in memory."""

    image: Image
    """H x W x 3 uint8 RGB."""
    depth: NDArray[np.float32]
    """H' x W', metres along the optical axis; nan where unknown."""
    intrinsics: Array
    """3 x 3, for `image`."""
    pose: Array
    """4 x 4, camera to world, metres."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image."""
        return image_size(self.image)


@dataclass(frozen=True)
class Sequence:
    """The frames of one camera, which are read when they are needed."""

    folder: Path
    size: tuple[int, int]
    """Width and height of the photos in memory."""
    intrinsics: Array
    """3 x 3, for photos of that size."""
    images: tuple[Path, ...]
    depths: tuple[Path, ...]
    poses: Array
    """N x 4 x 4, camera to world, metres."""

    def __len__(self) -> int:
        return len(self.images)

    def frame(self, number: int) -> Frame:
        """Read a frame, counted from 0; the last ones are remembered.

        Raises:
            DatasetError: its photo or its depth cannot be read, or has another size than the first.
        """
        image = read_photo(self.images[number])
        if image_size(image) != self.size:
            width, height = image_size(image)
            raise DatasetError(
                f"{self.images[number]}: {width} x {height} pixels, where the first photo has "
                f"{self.size[0]} x {self.size[1]}; all of a sequence must have one size"
            )
        depth = _read_depth(self.depths[number])
        shape, own = self.size[0] / self.size[1], depth.shape[1] / depth.shape[0]
        if abs(own / shape - 1) > _OTHER_SHAPE:
            raise DatasetError(
                f"{self.depths[number]}: {depth.shape[1]} x {depth.shape[0]} pixels is another shape than "
                "its photo's; give the depths as the photos' camera sees them"
            )
        return Frame(image, depth, self.intrinsics, self.poses[number])


def find_sequences(folder: Path) -> list[Sequence]:
    """All sequences in a folder and below it.

    Raises:
        DatasetError: there is none, or one of them is incomplete or wrong.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; {_FORM}")
    # By any of its parts, so that a sequence without K.txt is told what it lacks.
    found = {path.parent for name in _PARTS[:2] for path in folder.rglob(name)}
    if not found:
        raise DatasetError(f"{folder}: holds no RGB-D sequence; {_FORM}")
    return [_read_sequence(place) for place in sorted(found)]


def _read_sequence(folder: Path) -> Sequence:
    missing = [name for name in _PARTS if not (folder / name).exists()]
    if missing:
        raise DatasetError(f"{folder}: lacks {', '.join(missing)}; {_FORM}")
    images = find_photos(folder / "images")
    depths = [folder / "depth" / f"{image.stem}.png" for image in images]
    for image, depth in zip(images, depths, strict=True):
        if not depth.is_file():
            raise DatasetError(f"{depth}: missing, the depth of images/{image.name}; add it or remove that")
    if len(images) < 2:
        raise DatasetError(f"{folder}: holds one frame; a pair needs two")
    given, kept = image_size(read_rgb(images[0])), image_size(read_photo(images[0]))
    intrinsics = resize_matrix(given, kept) @ _read_intrinsics(folder / "K.txt", given)
    poses = _read_poses(folder / "poses.txt", len(images))
    return Sequence(folder, kept, intrinsics, tuple(images), tuple(depths), poses)


def _read_intrinsics(file: Path, size: tuple[int, int]) -> Array:
    form = "write the camera matrix in three lines: fx 0 cx, 0 fy cy, 0 0 1, in pixels of the photos"
    rows = _read_rows(file)
    if [len(row) for row in rows] != [3, 3, 3]:
        raise DatasetError(f"{file}: not three lines of three numbers; {form}")
    matrix = np.array(rows)
    focal, centre = matrix[[0, 1], [0, 1]], matrix[:2, 2]
    if not np.isfinite(matrix).all() or (focal <= 0).any() or not np.allclose(matrix[2], [0, 0, 1]):
        raise DatasetError(f"{file}: no camera matrix; {form}")
    if (centre < 0).any() or (centre > size).any():
        raise DatasetError(
            f"{file}: its centre ({centre[0]:g}, {centre[1]:g}) lies outside the photos of {size[0]} x "
            f"{size[1]} pixels; give the matrix for the photos as they are"
        )
    return matrix


def _read_poses(file: Path, count: int) -> Array:
    rows = _read_rows(file)
    if len(rows) < count:
        raise DatasetError(
            f"{file}: {len(rows)} lines for {count} photos; give a line for each, in the order of their names"
        )
    poses = []
    for number, row in enumerate(rows[:count], start=1):
        if len(row) != 16:
            raise DatasetError(
                f"{file}: line {number} has {len(row)} numbers; a pose is 4 x 4, camera to world, 16 numbers"
            )
        pose = np.array(row).reshape(4, 4)
        turn = pose[:3, :3]
        sound = np.isfinite(pose).all() and np.allclose(pose[3], [0, 0, 0, 1])
        if not (
            sound and np.allclose(turn.T @ turn, np.eye(3), atol=_NO_ROTATION) and np.linalg.det(turn) > 0
        ):
            raise DatasetError(
                f"{file}: line {number} is no pose (a rotation, a place in metres, and 0 0 0 1); mend it, or "
                "remove the line and its photo"
            )
        poses.append(pose)
    return np.stack(poses)


def _read_rows(file: Path) -> list[list[float]]:
    """The numbers of each line that is not empty; parted by spaces or commas."""
    try:
        lines = file.read_text(encoding="utf-8-sig").replace(",", " ").splitlines()
        return [[float(word) for word in line.split()] for line in lines if line.strip()]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DatasetError(f"{file}: cannot be read as lines of numbers ({error})") from error


@lru_cache(maxsize=_CACHED_DEPTHS)
def _read_depth(path: Path) -> NDArray[np.float32]:
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 2:
        raise DatasetError(f"{path}: no depth image of 16 bits and one channel (millimetres); convert it")
    return np.where(stored > 0, stored.astype(np.float32) / _MILLIMETRES, np.float32(np.nan))
