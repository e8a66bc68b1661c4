"""Which matches of a scene lie on their epipolar lines.

Where one surface ends before another, matches go astray that neighbours bear out, for these are of both. A
rigid scene has another witness: the lines that the rest of it puts a match on. What moves by itself leaves
its lines as a whole, and is kept.
"""

from __future__ import annotations

import numpy as np

from gcm.estimation import estimate_fundamental, settle_fundamental
from gcm.geometry import epipolar_distances
from gcm.method.working_matches import WorkingMatches
from gcm.options import LineOptions
from gcm.refinement.motion import mean_around

__all__ = ["on_their_lines"]


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
    limit = np.clip(options.spread * np.nanmedian(off), *options.bounds)
    on = off <= limit
    alone = ~on & (mean_around(points0, on.astype(np.float64), cell, 1.0) >= options.share)
    ends = np.cumsum([len(view) for view in views])[:-1]
    return [view.take(~those) for view, those in zip(views, np.split(alone, ends), strict=True)]
