"""Pictures of matches, for people to look at."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.geometry import resize_points, warp_image
from gcm.images.files import RGBImage
from gcm.images.sizes import fit_within, image_size
from gcm.matches import Matches

__all__ = ["blend_warped", "draw_matches", "even_sample"]

_GAP = 12
_LEGEND = 28
_PANEL = 900
"""Longest side, in pixels, at which an image is drawn; smaller images are drawn as they are."""
_LINE_SPACING = 3
"""A line for so many pixels of height at most; beyond that, an even sample of them is drawn, so that a
picture of 10 000 matches stays readable."""
_BACKGROUND = 24
_TEXT = (225, 225, 225)

Colours = NDArray[np.uint8]


def draw_matches(
    image0: RGBImage,
    image1: RGBImage,
    matches: Matches,
    *,
    agreeing: NDArray[np.bool_] | None = None,
    lines: int | None = None,
) -> RGBImage:
    """Both images side by side, a dot for every match, lines for an even sample of them.

    Colour is the score: matches that agree with the geometry run from blue (0) through green to yellow (1);
    the others, drawn below them, from dark to light red. Without a geometry all matches are drawn in the
    first scale.

    Args:
        image0, image1: H x W x 3 uint8 RGB, the images the points belong to, of any size.
        matches: what to draw.
        agreeing: N, which of them agree, as of :meth:`gcm.Matches.two_view_geometry`: of a scene with depth
            the homography's inliers are those of one plane alone. These unless given.
        lines: the most lines drawn; by the height of the picture unless given.

    Returns:
        H x W x 3 uint8 RGB.
    """
    panel0, panel1 = fit_within(image0, _PANEL), fit_within(image1, _PANEL)
    height = max(panel0.shape[0], panel1.shape[0])
    left = panel0.shape[1] + _GAP
    canvas = np.full((height + _LEGEND, left + panel1.shape[1], 3), _BACKGROUND, np.uint8)
    canvas[: panel0.shape[0], : panel0.shape[1]] = panel0
    canvas[: panel1.shape[0], left:] = panel1
    lines = max(1, height // _LINE_SPACING) if lines is None else lines
    points0 = resize_points(matches.points0, matches.size0, image_size(panel0))
    points1 = resize_points(matches.points1, matches.size1, image_size(panel1))
    points1[:, 0] += left
    agreeing = matches.inliers if agreeing is None else agreeing
    inliers = np.ones(len(matches), bool) if agreeing is None else agreeing
    colours = _colours(matches.scores, inliers)
    # Worst first, so that the best lie on top.
    order = np.lexsort((matches.scores, inliers))
    sample = np.zeros(len(matches), bool)
    sample[even_sample(points0, matches.scores, lines)] = True
    drawn = canvas.copy()
    for k in order[sample[order]]:
        width = 1 if len(order) > 50 or not inliers[k] else 2
        cv2.line(drawn, _xy(points0[k]), _xy(points1[k]), colours[k].tolist(), width, cv2.LINE_AA)
    canvas = np.asarray(cv2.addWeighted(drawn, 0.6, canvas, 0.4, 0), np.uint8)
    radius = 1 if len(order) > 2000 else 2
    for k in order:
        for point in (points0[k], points1[k]):
            cv2.circle(canvas, _xy(point), radius, colours[k].tolist(), -1, cv2.LINE_AA)
    _legend(canvas, height, matches, agreeing, int(sample.sum()))
    return canvas


def blend_warped(image0: RGBImage, image1: RGBImage, h_1_to_0: NDArray[Any]) -> RGBImage:
    """Image 1 warped onto image 0, half of each where both are; image 0 dimmed elsewhere.

    Args:
        image0, image1: H x W x 3 uint8 RGB.
        h_1_to_0: 3 x 3, image 1 to image 0.

    Returns:
        An image of image 0's size.
    """
    height, width = image0.shape[:2]
    warped = warp_image(image1, h_1_to_0, width, height)
    covered = warp_image(np.full(image1.shape[:2], 255, np.uint8), h_1_to_0, width, height)
    weight = covered[..., None].astype(np.float32) / 510
    blended = (1 - weight) * image0 * (0.5 + weight) + weight * warped
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def _xy(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _colours(scores: NDArray[np.float64], inliers: NDArray[np.bool_]) -> Colours:
    """N x 3 RGB."""
    levels = np.rint(255 * np.clip(scores, 0, 1)).astype(np.uint8).reshape(-1, 1)
    if len(levels) == 0:
        return np.zeros((0, 3), np.uint8)
    colours = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), np.uint8)[:, 0, ::-1].copy()
    red = np.array([130.0, 20.0, 20.0]) + np.clip(scores, 0, 1)[:, None] * np.array([125.0, 70.0, 70.0])
    colours[~inliers] = red[~inliers].astype(np.uint8)
    return colours


def even_sample(points: NDArray[np.float64], scores: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """At most `most` matches, spread over image 0: the best of each cell of a grid, then the next best."""
    if len(points) <= most:
        return np.arange(len(points))
    low, high = points.min(axis=0), points.max(axis=0)
    cells = max(1, int(most**0.5))
    cell = np.minimum(((points - low) / np.maximum(high - low, 1e-9) * cells).astype(int), cells - 1)
    order = np.argsort(-scores, kind="stable")
    number = cell[order, 0] * cells + cell[order, 1]
    # Rank of each match within its cell: all firsts are taken, then all seconds, ...
    by_cell = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[by_cell], number[by_cell])
    rank = np.empty(len(order), int)
    rank[by_cell] = np.arange(len(order)) - starts
    chosen: NDArray[np.intp] = order[np.argsort(rank, kind="stable")[:most]]
    return chosen


def _legend(
    canvas: RGBImage, top: int, matches: Matches, agreeing: NDArray[np.bool_] | None, lines: int
) -> None:
    """Write what the colours mean into the strip below the images, as far as it fits."""
    width = canvas.shape[1]
    base = top + _LEGEND - 9
    text = _count(len(matches), "match", "matches")
    if agreeing is not None:
        text += f", {int(agreeing.sum())} agree"
    if lines < len(matches):
        text += f", {_count(lines, 'line', 'lines')}"
    cv2.putText(canvas, text, (8, base), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _TEXT, 1, cv2.LINE_AA)
    ramp = np.linspace(0, 1, 80)
    scales = [("by score", np.ones(80, bool))]
    if agreeing is not None:
        scales.append(("others", np.zeros(80, bool)))
    left = 330
    for label, kind in scales:
        if left + 220 > width:
            return
        canvas[top + 9 : top + 20, left : left + 80] = _colours(ramp, kind)[None]
        place = (left + 86, base)
        cv2.putText(canvas, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _TEXT, 1, cv2.LINE_AA)
        left += 230


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
