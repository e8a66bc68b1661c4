"""Matching losses on view pairs with known homographies: what a descriptor is for, said directly."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gcm.refinement.maps import cells_to_points, points_to_cells

__all__ = ["cell_matching_loss", "dense_matching_loss", "share_found", "window_loss", "window_targets"]


def map_cells(cells: Tensor, h: Tensor, stride: int) -> Tensor:
    """Cells of a stride-`stride` map of view 0, N x K x 2 (x, y), to fractional cells of view 1's map.

    Args:
        cells: float.
        h: N x 3 x 3, pixels of view 0 to pixels of view 1.
    """
    points = cells_to_points(cells, stride)
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], dim=-1) @ h.transpose(1, 2)
    mapped = homogeneous[..., :2] / homogeneous[..., 2:].clamp(min=1e-3)
    return points_to_cells(mapped, stride)


def dense_matching_loss(
    map0: Tensor, map1: Tensor, h_0_to_1: Tensor, *, stride: int, temperature: float
) -> Tensor:
    """Dual-softmax negative log likelihood of the true cell pairs, as in LoFTR; scalar.

    True are cells that are each other's nearest under the homography.

    Args:
        map0, map1: N x C x H x W, not normalised.
        h_0_to_1: N x 3 x 3 in pixels.
        stride: pixels a cell.
        temperature: of the softmax over cosines.
    """
    n, _, height, width = map0.shape
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([xs, ys], dim=-1).reshape(1, -1, 2).float().to(map0.device).expand(n, -1, -1)
    h_1_to_0 = torch.linalg.inv(h_0_to_1.double()).float()
    cells = map_cells(grid, h_0_to_1, stride), map_cells(grid, h_1_to_0, stride)
    return cell_matching_loss(map0, map1, *cells, temperature=temperature)


def cell_matching_loss(
    map0: Tensor, map1: Tensor, cells1: Tensor, cells0: Tensor, *, temperature: float
) -> Tensor:
    """Dual-softmax negative log likelihood of the true cell pairs, wherever the scene puts them; scalar.

    True are cells that are each other's nearest.

    Args:
        map0, map1: N x C x H x W, not normalised.
        cells1: N x HW x 2 (x, y), fractional cells of map 1: where each cell of map 0 lies; nan for nowhere.
        cells0: the same of map 1's cells, in map 0.
        temperature: of the softmax over cosines.
    """
    scores = _cosines(map0, map1) / temperature
    to1, true = _true_pairs(cells1, cells0, map0.shape[-2:])
    if not bool(true.any()):
        return scores.sum() * 0.0
    forward = scores.log_softmax(dim=2).gather(2, to1[..., None])[..., 0]
    backward = scores.log_softmax(dim=1).gather(2, to1[..., None])[..., 0]
    return -0.5 * (forward + backward)[true].mean()


def share_found(map0: Tensor, map1: Tensor, cells1: Tensor, cells0: Tensor) -> Tensor:
    """The share of the true cell pairs that are each other's nearest by their descriptors; scalar.

    Arguments as of :func:`cell_matching_loss`.
    """
    scores = _cosines(map0, map1)
    to1, true = _true_pairs(cells1, cells0, map0.shape[-2:])
    best1, best0 = scores.argmax(dim=2), scores.argmax(dim=1)
    own = torch.arange(scores.shape[1], device=scores.device)
    found = (best1 == to1) & (best0.gather(1, to1) == own)
    return found[true].float().mean() if bool(true.any()) else scores.sum() * 0.0


def _cosines(map0: Tensor, map1: Tensor) -> Tensor:
    """N x HW x HW."""
    a, b = (F.normalize(m.float().flatten(2), dim=1) for m in (map0, map1))
    return a.transpose(1, 2) @ b


def _true_pairs(cells1: Tensor, cells0: Tensor, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """For each cell of map 0 the index of the cell of map 1 it lies in, and whether each is the other's."""
    height, width = size

    def nearest(cells: Tensor) -> tuple[Tensor, Tensor]:
        x, y = cells.nan_to_num(-9).round().unbind(dim=-1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return (y * width + x).clamp(0, height * width - 1).long(), inside

    to1, inside0 = nearest(cells1)
    to0, inside1 = nearest(cells0)
    own = torch.arange(height * width, device=cells1.device)
    return to1, inside0 & inside1.gather(1, to1) & (to0.gather(1, to1) == own)


def window_targets(position: Tensor, corner: Tensor, side: int) -> Tensor:
    """Bilinear weights of a fractional cell over the cells of a window, ... x side^2; they sum to 1 inside.

    Args:
        position: ... x 2 (x, y), fractional cells.
        corner: ... x 2, integer cell of the window's top left.
    """
    steps = torch.arange(side, device=position.device)
    offset = (position - corner)[..., None, :] - steps[:, None]  # ... x side x 2
    weight = (1 - offset.abs()).clamp(min=0)
    return (weight[..., :, None, 1] * weight[..., None, :, 0]).flatten(-2)


def window_loss(
    map0: Tensor,
    map1: Tensor,
    h_0_to_1: Tensor,
    *,
    stride: int,
    samples: int,
    side: int,
    temperature: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Cross-entropy of finding cells of view 0 in windows of view 1 near where they truly are; scalar.

    The target is bilinear in the true position, so that the similarity peaks between cells where it should.

    Args:
        map0, map1: N x C x H x W, not normalised.
        h_0_to_1: N x 3 x 3 in pixels.
        stride: pixels a cell.
        samples: cells drawn in each view 0.
        side: of the window in cells; it is placed at random around the true cell.
        temperature: of the softmax over cosines.
        generator: of the draws.
    """
    n, channels, height, width = map0.shape
    size = torch.tensor([width, height], dtype=torch.float32)
    cells = (torch.rand(n, samples, 2, generator=generator) * size).floor().to(map0.device)
    position = map_cells(cells, h_0_to_1, stride)
    jitter = torch.rand(n, samples, 2, generator=generator).to(map0.device)
    corner = (position.floor() - (jitter * (side - 1)).floor()).long()
    limit = torch.tensor([width, height], device=map0.device)
    fits = ((corner >= 0) & (corner + side <= limit)).all(dim=-1)
    corner = corner.clamp(min=0).minimum(limit - side)
    steps = torch.arange(side, device=map0.device)
    x = corner[..., 0, None, None] + steps
    y = corner[..., 1, None, None] + steps[:, None]
    index = (y * width + x).flatten(2)  # N x K x side^2
    flat0, flat1 = (m.permute(0, 2, 3, 1).reshape(n, height * width, channels) for m in (map0, map1))
    own = (cells[..., 1] * width + cells[..., 0]).long()
    row = torch.arange(n, device=map0.device)[:, None]
    a = F.normalize(flat0[row, own].float(), dim=-1)
    b = F.normalize(flat1[row[..., None], index].float(), dim=-1)
    scores = (b @ a[..., None])[..., 0] / temperature
    target = window_targets(position, corner.float(), side)
    loss = -(target * scores.log_softmax(dim=-1)).sum(dim=-1)
    return loss[fits].mean() if bool(fits.any()) else loss.sum() * 0.0
