"""Pairs that have no true match, or many that look alike: what a matcher should refuse, or be unsure of."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.accuracy.sets.cases import Ambiguous, Case, Drawn, Picture, Unrelated
from gcm.images.files import RGBImage

UNRELATED_PAIRS = 1000
UNRELATED_SIDE = 640
"""Pixels: longer side that larger photos are shrunk to."""

MIRRORED_PHOTOS = (
    "oxford-dev/*/1.ppm",
    "homogr/*A.*",
    "middlebury-stereo-opencv/*/im2.png",
    "skimage-images/data/motorcycle_left.png",
    "evd-dev/*/1.jpg",
    "train/kodak24/**/*.jpg",
)
MIRRORED_PAIRS = 50

OTHER_PHOTOS = (
    *MIRRORED_PHOTOS[:5],
    "wxbs-dev/*/01.jpg",
    "superglue-assets/assets/scannet_sample_images/*-000*.jpg",
    "strecha-dev/*/0004.jpg",
    "multiview/buddha/00006._c.jpg",
    "multiview/monstree/IMG_1025.jpg",
    "multiview/sceaux/100_7100.jpg",
)
"""A photo of each of many places that `data/train` does not show."""

SKIES = 20
SKY_SIZE = (400, 300)
FACADES = 12
FACADE_SIZE = (500, 400)
"""Width and height, pixels."""


def unrelated(data: Path, pairs: int = UNRELATED_PAIRS) -> list[Case]:
    """Photos of different places; of each the longer side is at most 640.

    First come the 500 photos of BSDS500, each used twice; their partners are the other photos of `data/train`
    and one of each place of the test sets, so that no pair can show the same thing. Every other pair is in
    the other order. A smaller number gives the first of the same pairs.
    """
    ours = _files(data, ["train/bsds500/**/*.jpg"])
    others = _files(data, ["train/imagenet-samples/*.jpg", "train/kodak24/**/*.jpg", *OTHER_PHOTOS])
    rng = np.random.default_rng(0)
    first = np.concatenate([rng.permutation(len(ours)) for _ in range(2)])
    second = np.concatenate([rng.permutation(len(others)) for _ in range(3)])
    cases = []
    for number in range(min(pairs, len(first))):
        images = [
            Picture(path, longest=UNRELATED_SIDE) for path in (ours[first[number]], others[second[number]])
        ]
        if number % 2:
            images.reverse()
        cases.append(Case(f"{number:04d}", images[0], images[1], Unrelated()))
    return cases


def mirrored(data: Path) -> list[Case]:
    """Fifty photos, each with its own mirror image: alike all over, but no motion of a camera does that."""
    cases = []
    for path in _files(data, MIRRORED_PHOTOS)[:MIRRORED_PAIRS]:
        photo = Picture(path, longest=UNRELATED_SIDE)
        mirror = Picture(path, longest=UNRELATED_SIDE, mirror=True)
        cases.append(Case(f"{path.parent.name}-{path.stem}", photo, mirror, Unrelated()))
    return cases


def skies(data: Path) -> list[Case]:
    """Two skies each: the same gradient from top to bottom, and noise that has nothing in common.

    Twenty are drawn, from noise of single pixels to soft clouds; the last is a pair of `cases/`.
    """
    cases = [
        Case(f"sky{k:02d}", Drawn(partial(sky, k, 0)), Drawn(partial(sky, k, 1)), Unrelated())
        for k in range(SKIES)
    ]
    given = [Picture(data.parent / "cases" / f"sky{side}.png") for side in (0, 1)]
    return [*cases, Case("cases-sky", given[0], given[1], Unrelated())]


def sky(number: int, side: int) -> RGBImage:
    """Sky `number`, photo 0 or 1 of it."""
    width, height = SKY_SIZE
    common = np.random.default_rng([number, 2])  # what both photos share: colours, kind of noise
    top, bottom = common.uniform(90, 150, 3), common.uniform(180, 235, 3)
    if number % 2:  # grey, as a camera sees an overcast sky
        top, bottom = top[:1].repeat(3), bottom[:1].repeat(3)
    blur, amplitude = (0.0, 0.7, 1.5, 3.0, 8.0)[number % 5], common.uniform(1.5, 4.0)
    noise = np.random.default_rng([number, side]).normal(size=(height, width, 3)).astype(np.float32)
    if blur:
        noise = np.asarray(cv2.GaussianBlur(noise[:, :, :1].repeat(3, axis=2), (0, 0), blur), np.float32)
    gradient = top + (bottom - top) * np.linspace(0, 1, height)[:, None, None]
    return np.asarray(np.clip(gradient + amplitude * noise / noise.std(), 0, 255).round(), dtype=np.uint8)


def ambiguous(data: Path) -> list[Case]:
    """Facades of equal windows with one sign, the second photo moved along the wall.

    Twelve are drawn, with various windows and shifts of one to five times the windows' distance, so that
    another motion than the true one makes windows fall on more windows. The last is a pair of `cases/`,
    shifted by 120 px.
    """
    cases = []
    for k in range(FACADES):
        shift = facade_shift(k)
        images = (Drawn(partial(facade, k, (0, 0))), Drawn(partial(facade, k, shift)))
        cases.append(Case(f"facade{k:02d}", *images, Ambiguous(_translation(-shift[0], -shift[1]))))
    given = [Picture(data.parent / "cases" / name) for name in ("facade_a.png", "facade_b_shift120.png")]
    return [*cases, Case("cases-facade", given[0], given[1], Ambiguous(_translation(-120, 0)))]


def _translation(x: float, y: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def facade_periods(number: int) -> tuple[int, int]:
    """Distance of the windows of facade `number`, across and down, pixels."""
    return 40 + 4 * (number % 6), 48 + 6 * (number % 4)


def facade_shift(number: int) -> tuple[int, int]:
    """By how many pixels the camera of the second photo moved right, and in some down."""
    across, down = facade_periods(number)
    x = round(across * (1 + number % 4 + (0.25, 0.4, 0.6)[number % 3]))
    return x, round(down * 1.4) if number % 4 == 3 else 0


def facade(number: int, shift: tuple[int, int]) -> RGBImage:
    """A facade, seen by a camera moved `shift` pixels right and down along it."""
    width, height = FACADE_SIZE
    rng = np.random.default_rng(number)
    across, down = facade_periods(number)
    wall, glass, sign = (rng.integers(low, high, 3) for low, high in ((90, 180), (20, 80), (150, 256)))
    canvas = np.empty((height + 200, width + 400, 3), np.uint8)
    canvas[:] = wall
    w, h = round(across * 0.52), round(down * 0.62)
    for y in range(10, canvas.shape[0], down):
        for x in range(10, canvas.shape[1], across):
            canvas[y : y + h, x : x + w] = glass
            canvas[y + 2 : y + h // 2, x + 2 : x + w // 2] = glass + 60
            canvas[y + h : y + h + 3, x : x + w] = 225
    centre = (int(300 + 8 * (number % 5)), int(200 + 6 * (number % 7)))
    cv2.circle(canvas, centre, 22, sign.tolist(), -1, cv2.LINE_AA)
    text, font = f"CAFE {number}", cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(canvas, text, (centre[0] - 38, centre[1] + 6), font, 0.55, (0, 0, 0), 2, cv2.LINE_AA)
    return canvas[shift[1] : shift[1] + height, shift[0] : shift[0] + width].copy()


def _files(data: Path, patterns: tuple[str, ...] | list[str]) -> list[Path]:
    """Files in the order of the patterns, each pattern's sorted.

    Left out are the two photos of `homogr` that `oxford-dev` has as well.
    """
    paths = [path for pattern in patterns for path in sorted(data.glob(pattern))]
    return [path for path in paths if path.name not in {"grafA.png", "boatA.png"}]
