"""Pairs cut from single photos, hard by how little both show: low overlap, small parts, strips."""

from __future__ import annotations

import itertools
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.accuracy.sets.cases import Array, Case, Drawn, Picture, RightOrNothing, size_of
from gcm.geometry import apply_homography, image_corners
from gcm.images.files import RGBImage

LONGEST = 512
"""Pixels: longer side the photos are shrunk to before they are cut."""

OVERLAPS = {
    12: (
        "oxford-dev/i_bikes/1.ppm",
        "oxford-dev/v_graf/1.ppm",
        "homogr/BruggeTowerA.png",
        "homogr/BrusselsA.jpg",
        "homogr/BostonA.jpg",
        "middlebury-stereo-opencv/cones/im2.png",
        "skimage-images/data/motorcycle_left.png",
    ),
    20: (
        "oxford-dev/i_leuven/1.ppm",
        "oxford-dev/v_boat/1.ppm",
        "homogr/BruggeSquareA.jpg",
        "homogr/CapitalRegionA.jpg",
        "homogr/LePoint1A.png",
        "homogr/LePoint3A.png",
        "homogr/adamA.png",
        "middlebury-stereo-opencv/teddy/im2.png",
        "middlebury-stereo-opencv/venus/im2.png",
    ),
}
"""By percent of the crops' area that both show."""

WHOLE_PHOTOS = (
    "oxford-dev/i_bikes/1.ppm",
    "oxford-dev/i_leuven/1.ppm",
    "oxford-dev/v_boat/1.ppm",
    "oxford-dev/v_graf/1.ppm",
    "homogr/BruggeSquareA.jpg",
    "homogr/BrusselsA.jpg",
    "homogr/BostonA.jpg",
    "skimage-images/data/motorcycle_left.png",
)
"""All wider than high, so that a strip across is 512 px long."""

PART = (96, 96)
STRIP = (512, 24)
"""Width and height, pixels."""


def overlap(data: Path) -> list[Case]:
    """Two crops of a photo, side by side, that share 12 % (7 pairs) or 20 % (9) of their area.

    The second is seen slightly otherwise: turned by up to 3 degrees, 3 to 8 % larger, a little perspective,
    another exposure and contrast. The photo is cut across its longer side.
    """
    cases = []
    for percent, places in OVERLAPS.items():
        for number, place in enumerate(places):
            photo = Picture(data / place, longest=LONGEST)
            size, h_1_to_photo = second_view(_size(photo), percent / 100, seed=number)
            first, second = (
                Drawn(partial(cut, photo, size, np.eye(3))),
                Drawn(partial(cut, photo, size, h_1_to_photo, 0.85 + 0.04 * number, 1.15 - 0.05 * number)),
            )
            truth = RightOrNothing(np.asarray(np.linalg.inv(h_1_to_photo), dtype=np.float64))
            cases.append(Case(f"{percent}-{_name(place)}", first, second, truth, f"{percent} %"))
    return cases


def second_view(photo: tuple[int, int], share: float, seed: int) -> tuple[tuple[int, int], Array]:
    """Width and height of two crops of which `share` of the area overlaps, and where the second one lies.

    The first is the photo's upper left; the 3 x 3 matrix takes pixels of the second to the photo's.
    """
    rng = np.random.default_rng(seed)
    angle = np.deg2rad(rng.uniform(1, 3) * rng.choice([-1, 1]))
    scale, bend = rng.uniform(0.92, 0.97), rng.uniform(-4e-5, 4e-5, 2)
    wide = photo[0] >= photo[1]
    lowest, highest = 0.5, 0.95  # of the longer side; the overlap grows with it
    for _ in range(40):
        middle = (lowest + highest) / 2
        size = (round(photo[0] * middle), photo[1]) if wide else (photo[0], round(photo[1] * middle))
        matrix = _placed(photo, size, angle, scale, bend)
        if overlap_share(size, matrix) > share:
            highest = middle
        else:
            lowest = middle
    return size, matrix


def _placed(photo: tuple[int, int], size: tuple[int, int], angle: float, scale: float, bend: Array) -> Array:
    """A view of `size` pixels, as far to the lower right of the photo as it goes without leaving it."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [bend[0], bend[1], 1.0]])
    room = np.array(photo) - 1.0
    for _ in range(5):  # smaller until it fits across; more than once, as perspective does not scale alike
        corners = apply_homography(matrix, image_corners(*size))
        factor = min(1.0, float((room / np.ptp(corners, axis=0)).min()) * 0.9999)
        matrix = matrix @ np.diag([factor, factor, 1.0])
    corners = apply_homography(matrix, image_corners(*size))
    spare = room - np.ptp(corners, axis=0)
    shift = room - corners.max(axis=0)
    across = int(photo[0] >= photo[1])
    shift[across] -= spare[across] / 2
    placed: Array = np.array([[1.0, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]]) @ matrix
    return placed


def overlap_share(size: tuple[int, int], h_1_to_photo: Array) -> float:
    """Share of the first crop's area that the second one shows as well."""
    first = image_corners(*size).astype(np.float32)
    second = apply_homography(h_1_to_photo, image_corners(*size)).astype(np.float32)
    area, _ = cv2.intersectConvexConvex(first, second)
    return float(area) / ((size[0] - 1) * (size[1] - 1))


def cut(
    photo: Picture, size: tuple[int, int], to_photo: Array, gamma: float = 1.0, gain: float = 1.0
) -> RGBImage:
    """The view of `size` pixels whose pixels `to_photo` takes to the photo's, 255 (v / 255)^gamma gain."""
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    view = cv2.warpPerspective(_pixels(photo), to_photo, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if gamma == gain == 1.0:
        return np.asarray(view, dtype=np.uint8)
    return np.asarray(np.clip(255 * (view / 255.0) ** gamma * gain, 0, 255).round(), dtype=np.uint8)


def parts(data: Path) -> list[Case]:
    """A part of 96 x 96 px and the photo of 512 px it was cut from, in both orders: 8 pairs each."""
    return _whole_and_part(data, PART, "part")


def strips(data: Path) -> list[Case]:
    """A strip of 512 x 24 px and the photo of 512 px it was cut from, in both orders: 8 pairs each."""
    return _whole_and_part(data, STRIP, "strip")


def _whole_and_part(data: Path, size: tuple[int, int], kind: str) -> list[Case]:
    cases = []
    for (number, place), whole_first in itertools.product(enumerate(WHOLE_PHOTOS), (True, False)):
        photo = Picture(data / place, longest=LONGEST)
        x, y = textured_place(_pixels(photo), size, seed=number)
        to_photo = np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])
        images: tuple[Picture | Drawn, Picture | Drawn]
        images = photo, Drawn(partial(_copy, photo, x, y, size))
        if whole_first:
            truth, group = RightOrNothing(np.linalg.inv(to_photo)), f"photo, {kind}"
        else:
            truth, group, images = RightOrNothing(to_photo), f"{kind}, photo", images[::-1]
        name = f"{_name(place)}-{group.replace(', ', '-')}"
        cases.append(Case(name, images[0], images[1], truth, group))
    return cases


def textured_place(image: RGBImage, size: tuple[int, int], seed: int) -> tuple[int, int]:
    """Upper left (x, y) of a window of the image with more texture than half of all such windows."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    gradient = np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    # Of a window's mean, the entry at the window's upper left.
    means = cv2.boxFilter(gradient, -1, size, anchor=(0, 0))[
        : image.shape[0] - size[1] + 1, : image.shape[1] - size[0] + 1
    ]
    rows, columns = np.nonzero(means > np.median(means))
    chosen = np.random.default_rng(seed).integers(len(rows))
    return int(columns[chosen]), int(rows[chosen])


def _copy(photo: Picture, x: int, y: int, size: tuple[int, int]) -> RGBImage:
    return _pixels(photo)[y : y + size[1], x : x + size[0]].copy()


@lru_cache(maxsize=32)
def _pixels(photo: Picture) -> RGBImage:
    return photo.load()


def _size(photo: Picture) -> tuple[int, int]:
    return size_of(_pixels(photo))


def _name(place: str) -> str:
    path = Path(place)
    return f"{path.parent.name}-{path.stem}"
