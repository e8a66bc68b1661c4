"""Sub-pixel positions: the peak of the descriptor similarity around each match of two aligned maps."""

from __future__ import annotations

import torch
from torch import Tensor

from gcm.refinement.maps import FeatureMap, gather, map_size

__all__ = ["peak_offset", "similarity_peaks"]

_CENTRE = 4
"""Of 3 x 3 cells, row by row."""

_CHUNK = 8192
"""Matches done at once: bounds the memory of the gathered descriptors."""


def similarity_peaks(
    map0: FeatureMap, map1: FeatureMap, cells0: Tensor, cells1: Tensor, *, radius: int = 2
) -> tuple[Tensor, Tensor]:
    """Where, to a fraction of a cell, map 1 looks most like cells of map 0.

    The similarity of a cell to its neighbours is not the same on both sides, which would pull every peak
    towards the flatter one, equal images included. So the peak is that of the sum of what map 1 shows d cells
    from the match and what map 0 shows d cells before it, which is symmetric about the true motion.

    Args:
        map0, map1: maps of one stride.
        cells0, cells1: N x 2 int64 matched cells (x, y).
        radius: how far, in cells of map 1, a better one than `cells1` may lie: less than that many steps
            uphill, to one of the eight cells around, are taken first.

    Returns:
        N x 2 float64 positions in cells of map 1, and N bool, whether there is a peak. A match without, as on
        the border of what was searched, keeps its cell.
    """
    positions, with_peak = [cells1[:0].double()], [torch.zeros(0, dtype=torch.bool, device=cells1.device)]
    for start in range(0, len(cells0), _CHUNK):
        at0, at1 = cells0[start : start + _CHUNK], cells1[start : start + _CHUNK]
        a = gather(map0, at0)[..., None]
        forward = _window_scores(a, map1, at1)
        for _ in range(radius - 1):
            best = forward.flatten(1).argmax(dim=1)
            moved = (best != _CENTRE).nonzero()[:, 0]
            step = torch.stack([best % 3, best // 3], dim=1)[moved] - 1
            at1 = at1.index_add(0, moved, step)
            forward = forward.index_copy(0, moved, _window_scores(a[moved], map1, at1[moved]))
        inner = forward.flatten(1).argmax(dim=1) == _CENTRE
        backward = _window_scores(gather(map1, at1)[..., None], map0, at0)
        offset, peaked = peak_offset(forward + backward.flip(1, 2))
        peaked &= inner
        positions.append(torch.where(peaked[:, None], at1 + offset, cells1[start : start + _CHUNK].double()))
        with_peak.append(peaked)
    return torch.cat(positions), torch.cat(with_peak)


def _window_scores(descriptors: Tensor, other: FeatureMap, cells: Tensor) -> Tensor:
    """Similarity of N x C x 1 descriptors to the 3 x 3 cells around N x 2 cells, rows are y."""
    steps = torch.arange(-1, 2, device=cells.device)
    dy, dx = torch.meshgrid(steps, steps, indexing="ij")
    window = cells[:, None] + torch.stack([dx, dy], dim=-1).reshape(-1, 2)
    width, height = map_size(other)
    outside = (window < 0) | (window >= cells.new_tensor([width, height]))
    scores = (gather(other, window) @ descriptors)[..., 0]
    return scores.masked_fill(outside.any(dim=-1), -torch.inf).view(-1, len(steps), len(steps))


def peak_offset(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Peak of a quadratic fitted to the 3 x 3 similarities around the highest.

    Args:
        scores: N x S x S, rows are y; S odd.

    Returns:
        N x 2 float64 offset (x, y) of the peak from the window's centre, zero without one, and N bool,
        whether there is one: the highest score lies inside the window and the surface bends down around it.

    Source: least-squares fit of a bivariate quadratic to a 3 x 3 neighbourhood (facet model; Haralick, 1984).
    """
    n, side, _ = scores.shape
    index = scores.flatten(1).argmax(dim=1)
    y, x = index // side, index % side
    inner = (x > 0) & (x < side - 1) & (y > 0) & (y < side - 1)
    cx, cy = x.clamp(1, side - 2), y.clamp(1, side - 2)
    steps = torch.arange(-1, 2, device=scores.device)
    row = torch.arange(n, device=scores.device)[:, None, None]
    s = scores[row, cy[:, None, None] + steps[:, None], cx[:, None, None] + steps].double()
    column, line = s.sum(dim=1), s.sum(dim=2)  # sums over y, and over x
    gx, gy = (column[:, 2] - column[:, 0]) / 6, (line[:, 2] - line[:, 0]) / 6
    hxx = (column[:, 0] - 2 * column[:, 1] + column[:, 2]) / 3
    hyy = (line[:, 0] - 2 * line[:, 1] + line[:, 2]) / 3
    hxy = (s[:, 2, 2] - s[:, 0, 2] - s[:, 2, 0] + s[:, 0, 0]) / 4
    det = hxx * hyy - hxy**2
    fits = inner & s.flatten(1).isfinite().all(dim=1) & (det > 0) & (hxx < 0)
    safe = torch.where(fits, det, 1.0)
    offset = torch.stack([(hxy * gy - hyy * gx) / safe, (hxy * gx - hxx * gy) / safe], dim=1)
    fits &= (offset.abs() <= 1).all(dim=1)
    centre = torch.stack([x, y], dim=1) - side // 2
    return torch.where(fits[:, None], offset + centre, 0.0), fits
