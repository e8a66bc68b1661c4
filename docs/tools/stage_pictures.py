"""Makes the pictures of docs/in-pictures.md from the example pair: ``python docs/tools/stage_pictures.py``.

The truth of this pair is known (examples/h_left_to_right.txt), so that right and wrong can be told by colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import gcm
from gcm.estimation import estimate_homography
from gcm.features.batching import Request
from gcm.features.pyramid import Pyramid
from gcm.geometry import apply_homography, warp_image
from gcm.images.files import RGBImage, read_image, write_image
from gcm.refinement.dense import CellMatches, mutual_match
from gcm.refinement.hierarchical import refine

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "images" / "stages"
RIGHT, WRONG = (40, 190, 90), (220, 50, 40)
GAP = 10
NAMEPLATE = (317, 349)
"""Pixels of the left photo: a place with much to see, to follow a match."""
COARSE, MIDDLE, FINE = -1, 2, 1  # strides 8, 4 and 2 of the network of `default`


@dataclass(frozen=True)
class Pair:
    """The example pair, its maps, and the truth."""

    left: RGBImage
    right: RGBImage
    maps: tuple[Pyramid, Pyramid]
    truth: NDArray[np.float64]
    """3 x 3, left to right."""

    def errors(self, points0: NDArray[np.float64], points1: NDArray[np.float64]) -> NDArray[np.float64]:
        """N, pixels of the right photo."""
        return np.linalg.norm(apply_homography(self.truth, points0) - points1, axis=1)


def main(folder: Path = FOLDER) -> None:
    """Make all pictures."""
    left, right = (read_image(ROOT / "examples" / f"{name}.jpg").pixels for name in ("left", "right"))
    matcher = gcm.Matcher("default", device="cpu")
    truth = np.loadtxt(ROOT / "examples" / "h_left_to_right.txt")
    with torch.inference_mode():
        pair = Pair(left, right, maps_of(matcher, Request(left), Request(right)), truth)
        cells = coarse(pair)
        warped = warped_right(pair, cells)
        aligned = Pair(
            left, warped, maps_of(matcher, Request(left), Request(warped, original=right)), np.eye(3)
        )
    final = matcher.match(left, right)
    made = {
        "pair": beside(left, right),
        "maps": maps_picture(pair),
        "coarse": matches_picture(pair, *cells.points(), tolerance=12, every=6),
        "warp": beside(left, warped),
        "refine": refine_picture(aligned),
        "final": matches_picture(pair, final.points0, final.points1, tolerance=3, every=60),
        "errors": errors_picture(pair.errors(final.points0, final.points1)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in made.items():
        write_image(folder / f"{name}.jpg", picture)


def maps_of(matcher: gcm.Matcher, *requests: Request) -> tuple[Pyramid, Pyramid]:
    """Maps of two photos."""
    first, second = matcher.features.answer(requests)
    assert isinstance(first, Pyramid)
    assert isinstance(second, Pyramid)
    return first, second


def beside(first: RGBImage, second: RGBImage) -> RGBImage:
    """Two pictures of one height, side by side."""
    return np.hstack([first, np.full((len(first), GAP, 3), 255, np.uint8), second])


def caption(picture: RGBImage, text: str) -> RGBImage:
    """A line of text below."""
    bar = np.full((34, picture.shape[1], 3), 30, np.uint8)
    cv2.putText(bar, text, (10, 23), cv2.FONT_HERSHEY_DUPLEX, 0.55, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([picture, bar])


def maps_picture(pair: Pair) -> RGBImage:
    """Three maps of each photo, from fine to coarse; like colours are like descriptors."""
    rows = []
    for index in (FINE, MIDDLE, COARSE):
        both = [pyramid.maps[index].flat().float().numpy() for pyramid in pair.maps]
        values = np.concatenate(both)
        values = values - values.mean(axis=0)
        axes = np.linalg.svd(values[:: max(1, len(values) // 4000)], full_matrices=False)[2][:3]
        colours = values @ axes.T
        low, high = np.percentile(colours, [2, 98], axis=0)
        colours = np.clip((colours - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        height, width = (pair.maps[0].maps[index].shape[k] for k in (1, 2))
        halves = np.split(colours, 2)
        rows.append([
            cv2.resize(h.reshape(height, width, 3), (256, 256), interpolation=cv2.INTER_NEAREST)
            for h in halves
        ])  # fmt: skip
    names = ("2", "4", "8")
    tiles = [
        caption(np.hstack([a, np.full((256, 2, 3), 255, np.uint8), b]), f"a cell is {n} x {n} pixels")
        for n, (a, b) in zip(names, rows, strict=True)
    ]
    gap = np.full((len(tiles[0]), GAP, 3), 255, np.uint8)
    return np.hstack([tiles[0], gap, tiles[1], gap, tiles[2]])


def coarse(pair: Pair) -> CellMatches:
    """Cells of the coarsest maps that are each other's nearest."""
    return mutual_match(*(pyramid.prepared(COARSE) for pyramid in pair.maps))


def matches_picture(
    pair: Pair, points0: NDArray[np.float64], points1: NDArray[np.float64], *, tolerance: float, every: int
) -> RGBImage:
    """Both photos with lines, green where they are right to within the tolerance, else red."""
    wrong = pair.errors(points0, points1) > tolerance
    canvas = beside(*(np.repeat(p.mean(axis=2, keepdims=True) * 0.6, 3, axis=2).astype(np.uint8)
                      for p in (pair.left, pair.right)))  # fmt: skip
    shift = np.array([pair.left.shape[1] + GAP, 0])
    order = np.random.default_rng(0).permutation(len(points0))[:: max(1, every)]
    for k in sorted(order, key=lambda k: wrong[k]):  # wrong ones above
        start, end = ((4 * (p + 0.5)).astype(int).tolist() for p in (points0[k], points1[k] + shift))
        cv2.line(canvas, start, end, WRONG if wrong[k] else RIGHT, 1, cv2.LINE_AA, shift=2)
    share = 100 * (1 - wrong.mean())
    told = f"{len(points0)} matches, {share:.1f} % right to {tolerance:g} pixels; one of {every} is drawn"
    return caption(canvas, told)


def warped_right(pair: Pair, cells: CellMatches) -> RGBImage:
    """The right photo warped towards the left one by what coarse cells agree on."""
    points0, points1 = cells.points()
    h_1_to_0 = estimate_homography(points1, points0, threshold=12).matrix
    assert h_1_to_0 is not None
    return warp_image(pair.right, h_1_to_0, pair.left.shape[1], pair.left.shape[0])


def refine_picture(pair: Pair) -> RGBImage:
    """One match on its way down: the cells it lies in, in both photos, enlarged."""
    cells, boxes = coarse(pair), []
    errors = pair.errors(*cells.points())
    middle = np.linalg.norm(cells.points()[0] - NAMEPLATE, axis=1) + 1e3 * (errors > 6)
    cells = cells.take(torch.tensor([int(middle.argmin())]))
    boxes.append(cells)
    for index in (MIDDLE, FINE):
        cells = refine(cells, *(pyramid.prepared(index) for pyramid in pair.maps), threshold=1.0, survivors=1)
        boxes.append(cells)
    tiles = []
    for image, side in ((pair.left, 0), (pair.right, 1)):
        centre = np.rint(boxes[0].points()[side][0]).astype(int)
        x, y = (int(v) for v in np.clip(centre - 24, 0, 512 - 48))
        scale = 10
        tile = cv2.resize(
            image[y : y + 48, x : x + 48], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC
        )
        for step, colour in zip(boxes, ((255, 220, 60), (255, 140, 30), (60, 220, 255)), strict=True):
            low = (step.points()[side][0] + 0.5 - step.stride / 2 - [x, y]) * scale
            corners = [tuple(np.rint(low + d * step.stride * scale).astype(int).tolist()) for d in (0, 1)]
            cv2.rectangle(tile, *corners, colour, 3)
        tiles.append(np.asarray(tile, np.uint8))
    return beside(*tiles)


def errors_picture(errors: NDArray[np.float64]) -> RGBImage:
    """How many matches are off by how much."""
    width, height, reach = 640, 260, 2.0
    canvas = np.full((height, width, 3), 255, np.uint8)
    counts, edges = np.histogram(np.minimum(errors, reach), bins=40, range=(0, reach))
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        x0, x1 = (round(20 + (width - 40) * v / reach) for v in (low, high))
        top = height - 30 - round((height - 50) * count / counts.max())
        cv2.rectangle(canvas, (x0, top), (x1 - 2, height - 30), (0, 137, 123), -1)
    for tick in (0.0, 0.5, 1.0, 1.5, 2.0):
        at = round(20 + (width - 40) * tick / reach)
        cv2.putText(canvas, f"{tick:g}", (at - 8, height - 8), cv2.FONT_HERSHEY_DUPLEX, 0.5, (60, 60, 60), 1,
                    cv2.LINE_AA)  # fmt: skip
    return caption(canvas, f"pixels off the truth (last bar: and more); median {np.median(errors):.2f}")


if __name__ == "__main__":
    main()
