"""Mutual nearest neighbours within windows: the dense match of two maps whose alignment is known roughly.

Where a cell's partner is known to a few cells, searching only there costs time and memory linear in the
area, and lets no repeated pattern far away compete.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gcm.refinement.dense import ROUNDING, CellMatches, common_stride, inner_matches, ratio
from gcm.refinement.maps import FeatureMap, map_size

__all__ = ["windowed_match"]

_CHUNK = 2**14
"""Cells compared at once on a processor: descriptors gathered for them stay in a core's cache."""


def windowed_match(
    map0: FeatureMap, map1: FeatureMap, *, radius: int, centres: Tensor | None = None
) -> CellMatches:
    """Mutual nearest neighbours among cells at most `radius` from where they are expected, in x and in y.

    Args:
        map0, map1: maps of one stride; their sizes may differ.
        radius: in cells.
        centres: H x W x 2 int64, the cell (x, y) of map 1 at which each cell of map 0 is expected; x = -1
            where there is none. At itself unless given.

    Returns:
        In the order of map 0's cells, without those that touch either map's border. Left out are, too, cells
        whose best two do not differ. `ratio` is that of map 0's cells within their windows.
    """
    stride = common_stride(map0, map1)
    (width, height), (width1, height1) = map_size(map0), map_size(map1)
    if min(height, width, height1, width1) < 3:
        return CellMatches.empty(stride, map0.device)
    a, b = map0.flat(), map1.flat()
    cells0 = torch.arange(height * width, device=a.device)
    x0, y0 = cells0 % width, cells0 // width
    if centres is None:
        x, y = x0, y0
    else:
        x, y = centres.reshape(-1, 2).unbind(dim=1)
    near = (x >= -radius) & (y >= -radius) & (x < width1 + radius) & (y < height1 + radius)
    if centres is not None:
        near &= x >= 0
    cells0, x, y = cells0[near], x[near], y[near]
    a = a[cells0]
    best, second = a.new_full((len(a),), -torch.inf), a.new_full((len(a),), -torch.inf)
    index = torch.zeros(len(a), dtype=torch.int64, device=a.device)
    best1 = a.new_full((len(b),), -torch.inf)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            there = (y + dy).clamp(0, height1 - 1) * width1 + (x + dx).clamp(0, width1 - 1)
            outside = (x + dx < 0) | (x + dx >= width1) | (y + dy < 0) | (y + dy >= height1)
            score = _products(a, b, there).masked_fill_(outside, -torch.inf)
            index = torch.where(score > best, there, index)
            second = torch.maximum(second, torch.minimum(best, score))
            best = torch.maximum(best, score)
            best1.scatter_reduce_(0, there, score, "amax")
    keep = best.isfinite() & (best >= best1[index]) & (best - second > ROUNDING)
    best, second = best[keep], second[keep]
    sizes = (width, height), (width1, height1)
    return inner_matches(cells0[keep], index[keep], *sizes, best, ratio(best, second), stride)


def _products(a: Tensor, b: Tensor, partners: Tensor) -> Tensor:
    """N products of the descriptors `a`, N x C, with those of `b` that are their partners."""
    if a.device.type != "cpu":
        return torch.einsum("nc,nc->n", a, b[partners])
    parts = zip(torch.split(a, _CHUNK), torch.split(partners, _CHUNK), strict=True)
    return torch.cat([torch.einsum("nc,nc->n", own, b[theirs]) for own, theirs in parts])
