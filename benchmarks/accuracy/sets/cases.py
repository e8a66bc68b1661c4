"""A pair of images of the benchmark and what is known about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.geometry import resize_matrix
from gcm.images.files import RGBImage, load_image
from gcm.images.sizes import resize_to

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Picture:
    """An image file, and what is done to it before matching."""

    path: Path
    size: tuple[int, int] | None = None
    """Width and height to shrink to; as it is when None."""
    longest: int | None = None
    """Longer side to shrink to, when it exceeds that."""
    turn: tuple[float, float] | None = None
    """Degrees and scale; see :func:`turned`."""
    mirror: bool = False
    """Left and right swapped, after all else."""

    def load(self) -> RGBImage:
        """Upright RGB."""
        image = load_image(self.path)
        size = self.size
        if self.longest and max(image.shape[:2]) > self.longest:
            factor = self.longest / max(image.shape[:2])
            size = round(image.shape[1] * factor), round(image.shape[0] * factor)
        image = image if size is None else resize_to(image, size)
        image = image if self.turn is None else turned(image, *self.turn)[0]
        return np.ascontiguousarray(image[:, ::-1]) if self.mirror else image

    @property
    def identity(self) -> str:
        """Equal for equal images."""
        mirror = " mirrored" if self.mirror else ""
        return f"{_digest(self.path)} {self.size} {self.longest} {self.turn}{mirror}"


@cache
def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Drawn:
    """An image that is computed: cut from a photo, or made of nothing but numbers."""

    draw: Callable[[], RGBImage]
    """Gives the same pixels at every call."""

    def load(self) -> RGBImage:
        """RGB."""
        return self.draw()

    @property
    def identity(self) -> str:
        """Equal for equal images: from the pixels, so that a change of the drawing is noticed."""
        image = self.draw()
        return f"{hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()} {image.shape}"


@dataclass(frozen=True)
class Plane:
    """A homography is known."""

    h_0_to_1: Array
    size0: tuple[int, int]


@dataclass(frozen=True)
class Points:
    """Corresponding points are known, N x 2 each; a homography is to be estimated."""

    points0: Array
    points1: Array


@dataclass(frozen=True)
class TiltedPlane:
    """A homography is known, and one image shows the plane so slanted that finding it at all counts."""

    h_0_to_1: Array
    size0: tuple[int, int]
    size1: tuple[int, int]


@dataclass(frozen=True)
class EpipolarPoints:
    """Corresponding points of a scene with depth are known, N x 2 each; a fundamental matrix is to be
    estimated."""

    points0: Array
    points1: Array


@dataclass(frozen=True)
class Disparity:
    """x1 = x0 - disparity, y1 = y0, both images rectified; H x W, nan where unknown."""

    disparity: Array


@dataclass(frozen=True)
class Cameras:
    """Camera matrices for the images as matched, and the 4 x 4 pose from camera 0 to camera 1."""

    intrinsics0: Array
    intrinsics1: Array
    pose_0_to_1: Array
    depth0: NDArray[np.float32] | None = None
    """H x W, along the optical axis, in the unit of the pose; nan where unknown."""
    depth1: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class RightOrNothing:
    """A homography is known, and the pair is so hard that the verdict counts, not the precision."""

    h_0_to_1: Array


@dataclass(frozen=True)
class Unrelated:
    """The photos show nothing in common: no match is right."""


@dataclass(frozen=True)
class Ambiguous:
    """Several motions look alike, and only a small part of the image tells which is true."""

    h_0_to_1: Array


@dataclass(frozen=True)
class EitherOrder:
    """The pair is matched in both orders, and the answers are compared."""


@dataclass(frozen=True)
class SamePlace:
    """Whether the two photos show the same thing; asked of the confidence."""

    same: bool


Truth = (
    Plane
    | TiltedPlane
    | Points
    | EpipolarPoints
    | Disparity
    | Cameras
    | RightOrNothing
    | Unrelated
    | Ambiguous
    | EitherOrder
    | SamePlace
)


@dataclass(frozen=True)
class Case:
    """A pair of images and its truth; `group` is what its numbers are averaged over."""

    name: str
    image0: Picture | Drawn
    image1: Picture | Drawn
    truth: Truth
    group: str = ""


def size_of(image: RGBImage) -> tuple[int, int]:
    """Width and height."""
    return image.shape[1], image.shape[0]


def turn_matrix(size: tuple[int, int], degrees: float, scale: float) -> tuple[Array, tuple[int, int]]:
    """The homography from a photo to itself scaled and turned clockwise, and the result's size.

    The canvas is the smallest that holds the whole turned photo, and black outside it. Multiples of 90
    degrees take pixels to pixels.
    """
    scaled = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    angle = np.deg2rad(degrees)
    cos, sin = round(float(np.cos(angle)), 12), round(float(np.sin(angle)), 12)
    width, height = (
        int(np.ceil(abs(a) * scaled[0] + abs(b) * scaled[1] - 1e-6)) for a, b in ((cos, sin), (sin, cos))
    )
    to_centre, from_centre = np.eye(3), np.eye(3)
    to_centre[:2, 2] = -(scaled[0] - 1) / 2, -(scaled[1] - 1) / 2
    from_centre[:2, 2] = (width - 1) / 2, (height - 1) / 2
    rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return from_centre @ rotation @ to_centre @ resize_matrix(size, scaled), (width, height)


def turned(image: RGBImage, degrees: float, scale: float) -> tuple[RGBImage, Array]:
    """A photo scaled (area averaging to shrink, else bicubic) and turned (bicubic), and the homography."""
    size = size_of(image)
    matrix, (width, height) = turn_matrix(size, degrees, scale)
    scaled = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    if scaled != size:
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, scaled, interpolation=interpolation), dtype=np.uint8)
    rotation = matrix @ resize_matrix(scaled, size)
    result = cv2.warpPerspective(image, rotation, (width, height), flags=cv2.INTER_CUBIC)
    return np.asarray(result, dtype=np.uint8), matrix
