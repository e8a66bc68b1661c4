"""Which matches of a scene lie on their epipolar lines; and which by themselves off what explains the rest.

Where one surface ends before another, matches go astray that neighbours bear out, for these are of both. A
rigid scene has another witness: the lines that the rest of it puts a match on. What moves by itself leaves
its lines as a whole, and is kept; a few matches that agree with each other, in a sky, are no such thing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gcm.estimation import estimate_fundamental, settle_fundamental
from gcm.geometry import Points, epipolar_distances
from gcm.method.evidence import blocks_of
from gcm.method.working_matches import WorkingMatches
from gcm.options import GuidedOptions, LineOptions
from gcm.refinement.motion import mean_around, moving_together

__all__ = ["on_their_lines", "stands_alone"]


def on_their_lines(views: list[WorkingMatches], options: GuidedOptions, cell: int) -> list[WorkingMatches]:
    """Views of a scene without what lies off its epipolar line, alone among its neighbours or with few.

    Args:
        views: verified matches of one pair.
        options: how far off, and who its neighbours are.
        cell: pixels a cell of the dense match.
    """
    lines = options.lines
    points0, points1 = (np.concatenate([getattr(v, name) for v in views]) for name in ("points0", "points1"))
    if len(points0) < lines.fewest:
        return views
    # Of every so many cells, all over: the best alone often are of one plane, which leaves lines open.
    some = np.floor(points0 / cell).astype(np.int64) @ [1, 7] % max(1, len(points0) // lines.sampled) == 0
    found = estimate_fundamental(points0[some], points1[some], iterations=lines.iterations).matrix
    if found is None:
        return views
    found = settle_fundamental(found, points0[some], points1[some], lines.scale)
    off = np.hypot(*epipolar_distances(found, points0, points1)) / 2**0.5
    gone = stands_alone(points0, off, lines, cell)
    far = off > _FAR * cell
    usual, most = lines.sure
    if np.median(off) <= usual and far.mean() <= most:
        gone |= far & np.concatenate([_few_together(view, options, cell) for view in views])
    parts = np.split(gone, np.cumsum([len(view) for view in views])[:-1])
    return [view.take(~those) for view, those in zip(views, parts, strict=True)]


_FAR = 0.5
"""Cells off its line of what is not only less exact than most."""


def _few_together(view: WorkingMatches, options: GuidedOptions, cell: int) -> NDArray[np.bool_]:
    """Which matches are of a group that moves alike in few blocks of both images."""
    radius = options.neighbours.bin_cells * cell
    group = moving_together(view.points0, view.motion, radius=radius, tolerance=_FAR * cell)
    held = np.zeros(int(group.max(initial=-1)) + 1, np.int64)
    for points in (view.points0, view.points1):
        blocks, total = blocks_of(points, options.evidence.block_cells * cell)
        np.maximum(held, np.bincount(np.unique(group * total + blocks) // max(1, total)), out=held)
    few: NDArray[np.bool_] = held[group] < options.lines.group
    return few


def stands_alone(
    points: Points, off: NDArray[np.float64], options: LineOptions, cell: int
) -> NDArray[np.bool_]:
    """Which points are farther off than usual where most of those around are not.

    Args:
        points: N x 2, pixels.
        off: how far each is off what explains most, in pixels.
        options: what is usual, and how many are most.
        cell: pixels a cell of the dense match, which sets how far around.
    """
    if not len(points):
        return np.zeros(0, bool)
    on = off <= np.clip(options.spread * np.nanmedian(off), *options.bounds)
    return ~on & (mean_around(points, on.astype(np.float64), cell, 1.0) >= options.share)
