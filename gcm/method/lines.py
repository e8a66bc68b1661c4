"""Which matches of a scene lie on their epipolar lines; and which go astray from what explains the rest.

Where one surface ends before another, and on bare ones, matches go astray that neighbours bear out, for
these are of both or go astray as well. A rigid scene has another witness: the lines that the rest of it puts
a match on. What moves by itself leaves its lines as a whole, all of it as far, and is kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gcm.estimation import estimate_fundamental, settle_fundamental
from gcm.geometry import Points, epipolar_distances
from gcm.method.working_matches import WorkingMatches
from gcm.options import LineOptions
from gcm.refinement.motion import fit_motion, mean_around, nearest

__all__ = ["astray", "on_their_lines"]

Array = NDArray[np.float64]


def on_their_lines(views: list[WorkingMatches], options: LineOptions, cell: int) -> list[WorkingMatches]:
    """Views of a scene without the matches that went astray from their epipolar lines.

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
    ends = np.cumsum([len(view) for view in views])[:-1]
    off = np.hypot(*epipolar_distances(found, points0, points1)) / 2**0.5
    gone = astray(points0, points1 - points0, off, options, cell)
    return [view.take(~those) for view, those in zip(views, np.split(gone, ends), strict=True)]


def astray(points: Points, motion: Points, off: Array, options: LineOptions, cell: int) -> NDArray[np.bool_]:
    """Which matches are farther off than usual, and move neither smoothly with those around them nor as half
    of their nearest neighbours; or are so alone, where most around them are not.

    Args:
        points: N x 2, pixels.
        motion: N x 2, where each goes from there, in pixels.
        off: N, how far each is off what explains most, in pixels.
        options: what is usual, and what is around.
        cell: pixels a cell of the dense match.
    """
    if len(points) < max(options.fewest, options.neighbours + 1):
        return np.zeros(len(points), bool)
    usual = np.clip(options.spread * np.nanmedian(off), *options.bounds)
    on: NDArray[np.bool_] = off <= usual
    around = fit_motion(points, motion, radius=options.bin_cells * cell, scale=options.scale)
    smoothly = max(options.smoothly, options.together * usual)
    smooth = np.linalg.norm(motion - around.predict(points), axis=1) <= smoothly
    near = nearest(points, options.neighbours)
    apart, unlike = (np.linalg.norm(x[near] - x[:, None], axis=2) for x in (points, motion))
    alike = (unlike <= options.together * usual + options.stretch * apart).mean(axis=1) >= options.share
    most = mean_around(points, on.astype(np.float64), cell, 1.0) >= options.share
    gone: NDArray[np.bool_] = ~on & (~(smooth | alike) | most)
    return gone
