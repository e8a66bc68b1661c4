"""Sub-pixel positions: the peak of the descriptor similarity around each match of two aligned maps."""

from __future__ import annotations

import torch
from torch import Tensor

from gcm.maps import FeatureMap, gather, map_size

__all__ = ["peak_offset", "similarity_peaks"]

_CHUNK = 4096
"""Matches done at once: bounds the memory of the gathered descriptors."""


def similarity_peaks(
    map0: FeatureMap, map1: FeatureMap, cells0: Tensor, cells1: Tensor, *, radius: int = 2
) -> tuple[Tensor, Tensor]:
    """Where, to a fraction of a cell, map 1 looks most like cells of map 0.

    Args:
        map0, map1: C x H x W descriptors, normalised where used.
        cells0, cells1: N x 2 int64 matched cells (x, y).
        radius: cells of map 1 around `cells1` that are searched.

    Returns:
        N x 2 float64 positions in cells of map 1, and N bool, whether the peak lies inside the window. A match
        whose peak lies on the window's edge keeps its cell.
    """
    steps = torch.arange(-radius, radius + 1, device=cells0.device)
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1).flip(-1).reshape(-1, 2)  # y-major
    side = 2 * radius + 1
    width, height = map_size(map1)
    last = cells1.new_tensor([width - 1, height - 1])
    positions, inside = [], []
    for start in range(0, len(cells0), _CHUNK):
        here, there = cells0[start : start + _CHUNK], cells1[start : start + _CHUNK]
        window = there[:, None] + offsets
        scores = (gather(map1, window) @ gather(map0, here)[..., None])[..., 0]
        scores = scores.masked_fill(((window < 0) | (window > last)).any(dim=-1), -torch.inf)
        offset, found = peak_offset(scores.view(-1, side, side))
        positions.append(there + offset)
        inside.append(found)
    if not positions:
        return cells1.double(), torch.zeros(len(cells1), dtype=torch.bool, device=cells1.device)
    return torch.cat(positions), torch.cat(inside)


def peak_offset(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Peak of a quadratic fitted to the 3 x 3 similarities around the highest.

    Args:
        scores: N x S x S, rows are y; S odd.

    Returns:
        N x 2 float64 offset (x, y) of the peak from the window's centre, zero where there is none, and N bool,
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
