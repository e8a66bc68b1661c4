"""Pictures of matches, for people to look at."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.images.files import RGBImage
from gcm.matches import Matches
from gcm.viz.panels import LegendItem, add_legend, draw_dot, draw_line, panels

__all__ = ["draw_matches", "even_sample"]

_LINE_SPACING = 6
"""A line for so many pixels of height at most: an eye can still follow them one by one."""

_WORST_RESIDUAL = 3.0
"""Pixels off at which the scale of residuals ends, in photos of up to :data:`_COMPARABLE` pixels."""
_COMPARABLE = 1280
"""Longest side up to which the same error means the same; larger photos are matched smaller."""

_HALO = (0, 0, 0)
_DOTS, _OPACITY = 0.55, 0.8
"""How opaque the dots of all matches, and the lines, are."""

Colours = NDArray[np.uint8]


def draw_matches(
    image0: RGBImage,
    image1: RGBImage,
    matches: Matches,
    *,
    agreeing: NDArray[np.bool_] | None = None,
    residuals: NDArray[np.float64] | None = None,
    measured: str = "the geometry",
    lines: int | None = None,
) -> RGBImage:
    """Both photos side by side in grey, a dot for every match, lines for some that are spread over photo 0.

    The lines are no choice of the best: of every part of the photo some matches by chance (the same every
    time), so that wrong ones are seen, too. Colour is the rank by score, for scores crowd at the upper end:
    matches that agree with the geometry run from blue (last) to yellow (first), the others, drawn above
    them, from dark to light red. With residuals, colour is the residual, from blue (none) to red.

    Args:
        image0, image1: H x W x 3 uint8 RGB, the images the points belong to, of any size.
        matches: what to draw.
        agreeing: N, which of them agree, as of :meth:`gcm.Matches.two_view_geometry`: of a scene with depth
            the homography's inliers are those of one plane alone. These unless given.
        residuals: N, pixels, as of :meth:`gcm.estimation.TwoViewGeometry.residuals`.
        measured: what residuals are measured from, for the legend.
        lines: the most lines drawn; by the height of the picture unless given.

    Returns:
        H x W x 3 uint8 RGB.
    """
    place = panels(image0, image1)
    points0 = place.place0(matches.points0, matches.size0)
    points1 = place.place1(matches.points1, matches.size1)
    agreeing = matches.inliers if agreeing is None else agreeing
    agree = np.ones(len(matches), bool) if agreeing is None else agreeing
    ranks = _ranks(matches.scores)
    if residuals is None:
        colours, order = _by_rank(ranks, agree), np.lexsort((ranks, ~agree))
    else:
        worst = _WORST_RESIDUAL * max(1.0, max(*matches.size0, *matches.size1) / _COMPARABLE)
        # What lies on no line at all has no residual that is a number.
        residuals = np.nan_to_num(residuals, nan=np.inf)
        colours, order = _by_residual(residuals / worst), np.argsort(residuals, kind="stable")
    lines = max(1, len(place.canvas) // _LINE_SPACING) if lines is None else lines
    # Chance in place of scores: the matches that are drawn stand for those that are not.
    chance = np.random.default_rng(0).random(len(matches))
    sample = np.zeros(len(matches), bool)
    sample[even_sample(points0, chance, lines)] = True
    canvas = _drawn(place.canvas, (points0, points1), colours, order, sample)
    items = [LegendItem(_counts(len(matches), agreeing, int(sample.sum())))]
    if residuals is None:
        items += _rank_items(bool((~agree).any()))
    elif len(residuals):
        items += _residual_items(residuals, worst, measured)
    return add_legend(canvas, items)


def _drawn(
    canvas: RGBImage,
    points: tuple[NDArray[np.float64], NDArray[np.float64]],
    colours: Colours,
    order: NDArray[np.intp],
    sample: NDArray[np.bool_],
) -> RGBImage:
    """Dots for all matches in this order, lines and larger dots for the sample."""
    points0, points1 = points
    drawn = canvas.copy()
    for k in order:
        for point in (points0[k], points1[k]):
            draw_dot(drawn, point, colours[k], 1.0)
    canvas = _mixed(drawn, canvas, _DOTS)
    drawn = canvas.copy()
    for k in order[sample[order]]:
        draw_line(drawn, points0[k], points1[k], _HALO, 3)
        draw_line(drawn, points0[k], points1[k], colours[k])
    canvas = _mixed(drawn, canvas, _OPACITY)
    for k in order[sample[order]]:
        for point in (points0[k], points1[k]):
            draw_dot(canvas, point, colours[k], 2.5)
    return canvas


def _mixed(drawn: RGBImage, below: RGBImage, opacity: float) -> RGBImage:
    return np.asarray(cv2.addWeighted(drawn, opacity, below, 1 - opacity, 0), np.uint8)


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the matches with scores that are no higher, N, 1 for the best."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores, kind="stable")] = np.arange(1, len(scores) + 1) / max(1, len(scores))
    return ranks


def _by_rank(ranks: NDArray[np.float64], agree: NDArray[np.bool_]) -> Colours:
    """N x 3 RGB."""
    # The lowest quarter of the scale is too dark to be seen on a photo.
    colours = _mapped(0.25 + 0.75 * ranks, cv2.COLORMAP_VIRIDIS)
    red = np.array([170.0, 20.0, 20.0]) + ranks[:, None] * np.array([85.0, 70.0, 70.0])
    colours[~agree] = red[~agree].astype(np.uint8)
    return colours


def _by_residual(levels: NDArray[np.float64]) -> Colours:
    """N x 3 RGB of N residuals, 1 the worst of the scale."""
    return _mapped(0.12 + 0.8 * np.clip(levels, 0, 1), cv2.COLORMAP_TURBO)


def _mapped(levels: NDArray[np.float64], scale: int) -> Colours:
    if len(levels) == 0:
        return np.zeros((0, 3), np.uint8)
    grey = np.rint(255 * levels).astype(np.uint8).reshape(-1, 1)
    return np.asarray(cv2.applyColorMap(grey, scale), np.uint8)[:, 0, ::-1].copy()


def _counts(matches: int, agreeing: NDArray[np.bool_] | None, lines: int) -> str:
    text = _count(matches, "match", "matches")
    if agreeing is not None:
        text += f", {int(agreeing.sum())} agree"
    if lines < matches:
        text += f", {_count(lines, 'line', 'lines')}"
    return text


def _rank_items(others: bool) -> list[LegendItem]:
    ramp = np.linspace(0, 1, 90)
    items = [LegendItem("score, lowest to highest", _by_rank(ramp, np.ones(90, bool)))]
    if others:
        items.append(LegendItem("do not agree", _by_rank(ramp, np.zeros(90, bool))))
    return items


def _residual_items(residuals: NDArray[np.float64], worst: float, measured: str) -> list[LegendItem]:
    scale = _by_residual(np.linspace(0, 1, 90))
    beyond = 100 * float((residuals > worst).mean())
    told = f"px off {measured}; median {np.median(residuals):.2f}, {beyond:.0f} % beyond"
    return [LegendItem(f"0 to {worst:.2g} {told}", scale)]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


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
