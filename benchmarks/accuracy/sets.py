"""The image pairs of `accuracy.py` and what is known about each."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.geometry import resize_matrix
from gcm.images.files import RGBImage, load_image
from gcm.images.sizes import resize_to

Array = NDArray[np.float64]

OXFORD_SEQUENCES = ("i_bikes", "i_leuven", "v_boat", "v_graf")
EASY_PAIRS = (("i_leuven", 2), ("i_leuven", 3), ("v_graf", 2), ("i_bikes", 2))
"""Upright pairs any matcher solves; sequence, and which image goes with the first."""

STEREO_SCALES = {"cones": 4.0, "teddy": 4.0, "venus": 8.0}
"""By how much the stored disparities are multiplied."""

INDOOR_SIZE = (640, 480)
"""Width and height the indoor photos are shrunk to, as everybody who publishes on ScanNet does."""

FRAME_GAPS = (3, 6)

ANGLES = tuple(range(0, 360, 45))
SCALES = (0.5, 1.0, 2.0)
PHOTOS = {
    "motorcycle": "skimage-images/data/motorcycle_left.png",
    "cars": "oxford-dev/i_leuven/1.ppm",
    "town": "homogr/BruggeTowerA.png",
    "facade": "homogr/BrusselsA.jpg",
    "bathroom": "superglue-assets/assets/scannet_sample_images/scene0726_00_frame-000135.jpg",
}
"""Street, far town, facade and two interiors, one of them with little texture; none is in data/train."""

PHOTO_SIDE = 640
"""Longer side, in pixels, the photos are shrunk to before they are turned."""


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

    def load(self) -> RGBImage:
        """Upright RGB."""
        image = load_image(self.path)
        size = self.size
        if self.longest and max(image.shape[:2]) > self.longest:
            factor = self.longest / max(image.shape[:2])
            size = round(image.shape[1] * factor), round(image.shape[0] * factor)
        image = image if size is None else resize_to(image, size)
        return image if self.turn is None else turned(image, *self.turn)[0]

    @property
    def identity(self) -> str:
        """Equal for equal images."""
        return f"{_digest(self.path)} {self.size} {self.longest} {self.turn}"


@cache
def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


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
class Disparity:
    """x1 = x0 - disparity, y1 = y0, both images rectified; H x W, nan where unknown."""

    disparity: Array


@dataclass(frozen=True)
class Cameras:
    """Camera matrices for the images as matched, and the 4 x 4 pose from camera 0 to camera 1."""

    intrinsics0: Array
    intrinsics1: Array
    pose_0_to_1: Array


@dataclass(frozen=True)
class Case:
    """A pair of images and its truth; `group` is what its numbers are averaged over."""

    name: str
    image0: Picture
    image1: Picture
    truth: Plane | Points | Disparity | Cameras
    group: str = ""


def oxford(data: Path) -> list[Case]:
    """Four affine sequences, image 1 with each of 2 to 6."""
    return [oxford_pair(data, sequence, k) for sequence in OXFORD_SEQUENCES for k in range(2, 7)]


def oxford_pair(data: Path, sequence: str, k: int) -> Case:
    """Images 1 and k of a sequence."""
    folder = data / "oxford-dev" / sequence
    first = Picture(folder / "1.ppm")
    truth = Plane(np.loadtxt(folder / f"H_1_{k}"), _size(first.load()))
    return Case(f"{sequence}-1-{k}", first, Picture(folder / f"{k}.ppm"), truth, sequence)


def homogr(data: Path) -> list[Case]:
    """Thirteen planar scenes with points marked by hand."""
    folder, cases = data / "homogr", []
    for file in sorted(folder.glob("*_pts.txt")):
        name = file.name.removesuffix("_pts.txt")
        rows = np.loadtxt(file)
        rows = rows[rows[:, 6] == 1]  # x0 y0 1 x1 y1 1 label; label 1 marks the validation points
        images = [
            next(p for p in folder.glob(f"{name}{side}.*") if p.suffix in (".jpg", ".png")) for side in "AB"
        ]
        truth = Points(rows[:, :2], rows[:, 3:5])
        cases.append(Case(name, Picture(images[0]), Picture(images[1]), truth))
    return cases


def stereo(data: Path) -> list[Case]:
    """Rectified pairs with dense disparity of the left image."""
    cases = []
    for name, scale in STEREO_SCALES.items():
        folder = data / "middlebury-stereo-opencv" / name
        stored = load_image(folder / "disp2.png")[:, :, 0].astype(np.float64)
        truth = Disparity(np.where(stored > 0, stored / scale, np.nan))
        cases.append(Case(name, Picture(folder / "im2.png"), Picture(folder / "im6.png"), truth))
    folder = data / "skimage-images/data"
    with np.load(folder / "motorcycle_disp.npz") as file:
        disparity = file["arr_0"].astype(np.float64)
    truth = Disparity(np.where(np.isfinite(disparity) & (disparity > 0), disparity, np.nan))
    images = [Picture(folder / f"motorcycle_{side}.png") for side in ("left", "right")]
    return [*cases, Case("motorcycle", images[0], images[1], truth)]


def indoor(data: Path) -> list[Case]:
    """Photos of rooms, far apart; of the list, those whose images are at hand."""
    folder, cases = data / "superglue-assets/assets", []
    for line in (folder / "scannet_sample_pairs_with_gt.txt").read_text().splitlines():
        # Two names, two EXIF turns (all 0 here), two camera matrices, the pose from camera 0 to camera 1.
        words = line.split()
        paths = [folder / "scannet_sample_images" / word for word in words[:2]]
        if not all(path.is_file() for path in paths):
            continue
        if words[2:4] != ["0", "0"]:
            raise ValueError(f"{words[0]}: turned photos are not provided for")
        numbers = np.array([float(word) for word in words[4:]])
        matrices = []
        for path, k in zip(paths, (numbers[:9], numbers[9:18]), strict=True):
            matrices.append(resize_matrix(_size(load_image(path)), INDOOR_SIZE) @ k.reshape(3, 3))
        truth = Cameras(matrices[0], matrices[1], numbers[18:].reshape(4, 4))
        first, second = (Picture(path, size=INDOOR_SIZE) for path in paths)
        cases.append(Case(f"{paths[0].stem}-{paths[1].stem}", first, second, truth))
    return cases


def hololens(data: Path) -> list[Case]:
    """Frames of a headset walked through rooms, with those 3 and 6 later."""
    folder = data / "rgbd-hololens-dvmvs/sample-data/hololens-dataset/000"
    frames = sorted((folder / "images").glob("*.png"))
    intrinsics = np.loadtxt(folder / "K.txt")
    # The first row belongs to the first frame at hand, whatever its number is: only so do the depth
    # images of one frame, moved by the poses, show what is seen in another.
    poses = np.loadtxt(folder / "poses.txt").reshape(-1, 4, 4)[: len(frames)]
    cases = []
    for k, gap in itertools.product(range(len(frames)), FRAME_GAPS):
        if k + gap < len(frames):
            # Rows are camera to world.
            truth = Cameras(intrinsics, intrinsics, np.linalg.inv(poses[k + gap]) @ poses[k])
            name = f"{frames[k].stem}-{frames[k + gap].stem}"
            cases.append(Case(name, Picture(frames[k]), Picture(frames[k + gap]), truth, f"gap {gap}"))
    return cases


def synthetic(data: Path) -> list[Case]:
    """Five photos, each with itself turned and scaled: 24 cells of five pairs."""
    cases = []
    for (name, place), scale, degrees in itertools.product(PHOTOS.items(), SCALES, ANGLES):
        first = Picture(data / place, longest=PHOTO_SIDE)
        size = _photo_size(first)
        truth = Plane(turn_matrix(size, degrees, scale)[0], size)
        second = replace(first, turn=(float(degrees), scale))
        cases.append(Case(f"{name}-{degrees}-{scale:g}", first, second, truth, f"{degrees} x {scale:g}"))
    return cases


@cache
def _photo_size(picture: Picture) -> tuple[int, int]:
    return _size(picture.load())


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
    size = _size(image)
    matrix, (width, height) = turn_matrix(size, degrees, scale)
    scaled = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    if scaled != size:
        image = cv2.resize(image, scaled, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    rotation = matrix @ resize_matrix(scaled, size)
    result = cv2.warpPerspective(image, rotation, (width, height), flags=cv2.INTER_CUBIC)
    return np.asarray(result, dtype=np.uint8), matrix


def _size(image: RGBImage) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


SETS: dict[str, Callable[[Path], list[Case]]] = {
    "oxford-dev": oxford,
    "homogr": homogr,
    "stereo": stereo,
    "indoor": indoor,
    "hololens": hololens,
    "synthetic": synthetic,
}
"""By name: a function of the data folder that lists the pairs."""
