"""Which matches of a scene lie on their epipolar lines; and which by themselves off what explains the rest.

Where one surface ends before another, matches go astray that neighbours bear out, for these are of both. A
rigid scene has another witness: the lines that the rest of it puts a match on. What moves by itself leaves
its lines as a whole, and is kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gcm.estimation import estimate_fundamental, settle_fundamental
from gcm.geometry import Points, epipolar_distances
from gcm.method.working_matches import WorkingMatches
from gcm.options import LineOptions
from gcm.refinement.motion import mean_around

__all__ = ["on_their_lines", "stands_alone"]


def on_their_lines(views: list[WorkingMatches], options: LineOptions, cell: int) -> list[WorkingMatches]:
    """Views of a scene without what alone among its neighbours lies off its epipolar line.

    Args:
        views: verified matches of one pair.
        options: how far off, and who its neighbours are.
        cell: pixels a cell of the dense match.
    """
    points0, points1 = (np.concatenate([getattr(v, name) for v in views]) for name in ("points0", "points1"))
    if len(points0) < options.fewest:
        return views
    # Of every so many cells, all over: the best alone often are of one plane, which leaves lines open.
    some = np.floor(points0 / cell).astype(np.int64) @ [1, 7] % max(1, len(points0) // options.sampled) == 0
    found = estimate_fundamental(points0[some], points1[some], iterations=options.iterations).matrix
    if found is None:
        return views
    found = settle_fundamental(found, points0[some], points1[some], options.scale)
    off = np.hypot(*epipolar_distances(found, points0, points1)) / 2**0.5
    ends = np.cumsum([len(view) for view in views])[:-1]
    parts = np.split(stands_alone(points0, off, options, cell), ends)
    return [view.take(~those) for view, those in zip(views, parts, strict=True)]


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
