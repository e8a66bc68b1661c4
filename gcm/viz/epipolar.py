"""A picture of an epipolar geometry: points of each photo, and the lines they must lie on in the other."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcm.geometry import epipolar_distances, inverse, resize_matrix
from gcm.images.files import RGBImage
from gcm.matches import Matches
from gcm.viz.matches import even_sample
from gcm.viz.panels import Colour, LegendItem, add_legend, draw_dot, draw_line, draw_text, panels, text_size

__all__ = ["clip_lines", "draw_epipolar_lines", "spread_lines"]

_POINTS = 14
"""Points drawn: so many colours can be told apart, with numbers beside them."""
_CANDIDATES = 300
"""Spread over photo 0, of which those are drawn whose lines lie farthest apart."""

_POINT_WEIGHT = 0.3
"""What the distance of two points counts beside that of their lines."""

_LABEL = (9, 4)
"""Pixels from a point to the bottom left corner of its number."""


def draw_epipolar_lines(
    image0: RGBImage,
    image1: RGBImage,
    matches: Matches,
    fundamental: ArrayLike,
    *,
    inliers: NDArray[np.bool_] | None = None,
    points: int = _POINTS,
) -> RGBImage:
    """Both photos side by side; matches in colours and numbers of their own, in each photo the point and the
    epipolar line of its partner.

    The line must run through the point. The matches drawn are inliers whose lines lie far apart.

    Args:
        image0, image1: H x W x 3 uint8 RGB, the images the points belong to, of any size.
        matches: of these images.
        fundamental: 3 x 3, ``x1^T F x0 = 0`` in pixels of the images as given.
        inliers: N, which matches agree with it; all unless given.
        points: the most matches drawn.

    Returns:
        H x W x 3 uint8 RGB.
    """
    f = np.asarray(fundamental, dtype=np.float64)
    index = np.arange(len(matches)) if inliers is None else np.flatnonzero(inliers)
    chosen = matches.subset(index)
    off = np.maximum(*epipolar_distances(f, chosen.points0, chosen.points1))
    place = panels(image0, image1)
    # Lines in pixels of the panels: a line is mapped by the transposed inverse of what maps points.
    to0 = inverse(resize_matrix(matches.size0, place.size0))
    to1 = inverse(resize_matrix(matches.size1, place.size1))
    few = chosen.subset(even_sample(chosen.points0, chosen.scores, _CANDIDATES))
    lines0 = _homogeneous(few.points1) @ f @ to0
    lines1 = _homogeneous(few.points0) @ f.T @ to1
    ends0, ends1 = clip_lines(lines0, place.size0), clip_lines(lines1, place.size1)
    points0 = place.place0(few.points0, matches.size0)
    points1 = place.place1(few.points1, matches.size1)
    shift = np.array([place.left, 0.0])
    drawn = spread_lines((ends0, ends1), (points0, points1), points)
    # From top to bottom, so that neighbouring numbers are neighbours.
    drawn = drawn[np.argsort(points0[drawn, 1], kind="stable")]
    colours = _colours(len(drawn))
    canvas = place.canvas
    for k, colour in zip(drawn, colours, strict=True):
        for start, end in (ends0[k], ends1[k] + shift):
            draw_line(canvas, start, end, (0, 0, 0), 3)
            draw_line(canvas, start, end, colour)
    for number, (k, colour) in enumerate(zip(drawn, colours, strict=True), start=1):
        for point in (points0[k], points1[k]):
            draw_dot(canvas, point, colour, 4)
            _label(canvas, str(number), point)
    text = f"{len(drawn)} of {len(index)} inliers, each with the epipolar line of its partner"
    if len(off):
        text += f"; all are {np.median(off):.2f} px off theirs (median)"
    return add_legend(canvas, [LegendItem(text)])


def clip_lines(lines: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """The parts of lines that lie in a photo.

    Args:
        lines: N x 3, ``a x + b y + c = 0``, pixels.
        size: width and height.

    Returns:
        N x 2 x 2, both ends (x, y), on the border of the outermost pixels; nan where a line misses the photo.
    """
    low, high = np.array([-0.5, -0.5]), np.array(size) - 0.5
    ends = np.full((len(lines), 2, 2), np.nan)
    for k, (a, b, c) in enumerate(lines):
        length = np.hypot(a, b)
        if not length > 0:
            continue
        ahead = np.array([-b, a]) / length
        foot = np.array([a, b]) * (-c / length**2)
        along_side = ahead == 0
        if (along_side & ((foot < low) | (foot > high))).any():
            continue
        # Liang and Barsky, 1984: the steps along the line at which it enters and leaves both pairs of sides.
        steps = np.array([[-np.inf, -np.inf], [np.inf, np.inf]])
        np.divide(np.stack([low, high]) - foot, ahead, out=steps, where=~along_side)
        steps.sort(axis=0)
        enter, leave = steps[0].max(), steps[1].min()
        if enter < leave:
            ends[k] = foot + ahead * np.array([[enter], [leave]])
    return ends


def spread_lines(ends: Sequence[NDArray[Any]], points: Sequence[NDArray[Any]], most: int) -> NDArray[np.intp]:
    """Of N matches at most `most` whose lines lie far apart in both photos, and their points too, by index.

    Each next one is that which is farthest from all chosen (Gonzalez, 1985). Lines that miss a photo are
    left out.

    Args:
        ends: N x 2 x 2 of each photo, see :func:`clip_lines`.
        points: N x 2 of each photo.
        most: how many.
    """
    usable = np.flatnonzero(np.all([np.isfinite(part).all(axis=(1, 2)) for part in ends], axis=0))
    ends, points = [part[usable] for part in ends], [part[usable] for part in points]
    chosen: list[int] = []
    nearest = np.full(len(usable), np.inf)
    while len(chosen) < min(most, len(usable)):
        k = int(np.argmax(nearest))
        chosen.append(k)
        apart = sum(_lines_apart(part, k) for part in ends)
        apart += _POINT_WEIGHT * sum(np.linalg.norm(part - part[k], axis=1) for part in points)
        nearest = np.minimum(nearest, apart)
        nearest[k] = -1
    return usable[chosen]


def _lines_apart(ends: NDArray[Any], k: int) -> NDArray[np.float64]:
    """How far the ends of N segments lie from the line through segment k, at most; N."""
    along = ends[k, 1] - ends[k, 0]
    normal = np.array([-along[1], along[0]]) / np.linalg.norm(along)
    return np.asarray(np.abs((ends - ends[k, 0]) @ normal).max(axis=1), np.float64)


def _homogeneous(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([points, np.ones(len(points))])


def _colours(count: int) -> list[Colour]:
    """Hues all around the circle, light and dark by turns."""
    colours = []
    for k in range(count):
        red, green, blue = colorsys.hsv_to_rgb(k / max(1, count), 0.55 if k % 2 else 0.85, 1.0)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


def _label(canvas: RGBImage, text: str, point: NDArray[Any]) -> None:
    """A number beside a point, on black, within the picture."""
    width, height = text_size(text)
    x = round(float(point[0])) + _LABEL[0]
    if x + width + 2 > canvas.shape[1]:
        x -= 2 * _LABEL[0] + width
    y = max(round(float(point[1])) + _LABEL[1], height + 2)
    cv2.rectangle(canvas, (x - 2, y - height - 2), (x + width + 1, y + 3), (0, 0, 0), -1)
    draw_text(canvas, text, (x, y))
