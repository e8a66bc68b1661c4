"""Pairs of planes: homographies or marked points are known."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.accuracy.sets.cases import Case, Picture, Plane, Points, size_of, turn_matrix

OXFORD_SEQUENCES = ("i_bikes", "i_leuven", "v_boat", "v_graf")
EASY_PAIRS = (("i_leuven", 2), ("i_leuven", 3), ("v_graf", 2), ("i_bikes", 2))
"""Upright pairs any matcher solves; sequence, and which image goes with the first."""

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


def oxford(data: Path) -> list[Case]:
    """Four affine sequences, image 1 with each of 2 to 6."""
    return [oxford_pair(data, sequence, k) for sequence in OXFORD_SEQUENCES for k in range(2, 7)]


def oxford_pair(data: Path, sequence: str, k: int) -> Case:
    """Images 1 and k of a sequence."""
    folder = data / "oxford-dev" / sequence
    first = Picture(folder / "1.ppm")
    truth = Plane(np.loadtxt(folder / f"H_1_{k}"), size_of(first.load()))
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
    return size_of(picture.load())
