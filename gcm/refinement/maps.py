"""Feature maps as the kernels see them: held whole, or computed only where they are asked for.

Every map knows its stride, and every map gives unit descriptors, so that a kernel need not know which kind
it has been given. Cells are (x, y), counted from 0; cell c of a map of stride s covers the pixels s c to
s c + s - 1 of the network's input.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "DenseMap",
    "FeatureMap",
    "SubcellMap",
    "UnitMap",
    "all_cells",
    "cells_to_points",
    "gather",
    "inside_map",
    "map_size",
    "points_to_cells",
]

KEPT_CELLS = 2**18
"""Cells up to which full-resolution descriptors are computed once and kept; of stride-2 cells this is a
megapixel of the image, and takes 100 MB at 24 channels."""

KEPT_VALUES = 2**23
"""Values up to which a map's descriptors are normalised once and kept: 33 MB, a megapixel as well of stride-2
cells of 32 channels."""

_SHORTEST = 1e-12
"""Least length by which a descriptor is divided, as in :func:`torch.nn.functional.normalize`."""


class FeatureMap(Protocol):
    """C x H x W descriptors of an image."""

    @property
    def stride(self) -> int:
        """Pixels of the network's input a cell, in x and in y."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its descriptors are."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory it keeps."""
        ...

    @property
    def cheaper_at_once(self) -> bool:
        """Whether descriptors asked for together cost less than in parts, because they share work."""
        ...

    def at(self, cells: Tensor) -> Tensor:
        """Unit descriptors, ... x C float32, of ... x 2 int64 cells (x, y) inside the map."""
        ...

    def flat(self) -> Tensor:
        """All unit descriptors, (H W) x C float32, row by row."""
        ...

    def prepared(self) -> FeatureMap:
        """The same map, in the form that is cheapest where most cells are asked for, and more than once."""
        ...


class DenseMap:
    """A map held whole, as the network gave it; what is asked for is normalised then.

    Args:
        data: C x H x W, of any floating type; descriptors need not have unit length.
        stride: pixels a cell.
    """

    cheaper_at_once = False

    def __init__(self, data: Tensor, stride: int) -> None:
        self.data = data
        self.stride = stride

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.data.shape
        return channels, height, width

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.data.device

    @property
    def nbytes(self) -> int:
        """Memory it keeps, with its prepared form."""
        return self.data.nbytes + (4 * self.data.numel() if self.data.numel() <= KEPT_VALUES else 0)

    def at(self, cells: Tensor) -> Tensor:
        """Unit descriptors, ... x C, of ... x 2 cells (x, y)."""
        x, y = cells.unbind(-1)
        return F.normalize(self.data.permute(1, 2, 0)[y, x].float(), dim=-1)

    def flat(self) -> Tensor:
        """All unit descriptors, (H W) x C, row by row."""
        rows = self.data.permute(1, 2, 0).reshape(-1, self.data.shape[0])
        values = rows.float()
        length = torch.linalg.vector_norm(values, dim=1, keepdim=True).clamp_min_(_SHORTEST)
        # In place where it is a copy already: a new megabyte costs as much as filling it.
        return values.div_(length) if values.dtype != rows.dtype else values / length

    def prepared(self) -> FeatureMap:
        """A :class:`UnitMap`, unless that would take too much memory."""
        return UnitMap(self) if self.data.numel() <= KEPT_VALUES else self


class UnitMap:
    """A map as unit descriptors, cell by cell in float32.

    Where most cells are asked for, and more than once, it costs less to normalise each of them once than
    whenever it is gathered.
    """

    cheaper_at_once = False

    def __init__(self, dense: DenseMap) -> None:
        self.shape = dense.shape
        self.stride = dense.stride
        self._flat = dense.flat()

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self._flat.device

    @property
    def nbytes(self) -> int:
        """Memory it keeps."""
        return self._flat.nbytes

    def at(self, cells: Tensor) -> Tensor:
        """Unit descriptors, ... x C, of ... x 2 cells (x, y)."""
        x, y = cells.unbind(-1)
        chosen = self._flat.index_select(0, (y * self.shape[2] + x).flatten())
        return chosen.view(*cells.shape[:-1], self.shape[0])

    def flat(self) -> Tensor:
        """All unit descriptors, (H W) x C, row by row."""
        return self._flat

    def prepared(self) -> FeatureMap:
        """Itself."""
        return self


class SubcellMap:
    """A full-resolution map that is a function of the stride-2 cell covering each pixel.

    Of a large image descriptors are computed when they are asked for, so that it needs no full-resolution
    map; of a small one all are computed at once and kept, because most are asked for, and more than once.

    Args:
        base: C x h x w, the stride-2 map.
        hidden: first layer, D' x C weights and D' biases, ReLU after it.
        out: second layer, (D 4) x D' weights and biases; sub-cell (dx, dy) is number 2 dy + dx of four.
    """

    stride = 1
    cheaper_at_once = True

    def __init__(self, base: Tensor, hidden: tuple[Tensor, Tensor], out: tuple[Tensor, Tensor]) -> None:
        self.base = base
        # In the map's own precision; and ordered by sub-cell, so that a descriptor's values lie together.
        depth = len(out[1]) // 4
        ordered = [p.detach().view(depth, 4, -1).transpose(0, 1).reshape(4 * depth, -1) for p in out]
        self.hidden = [p.detach().to(base.dtype) for p in hidden]
        self.out = ordered[0].to(base.dtype), ordered[1][:, 0].to(base.dtype)
        self._all: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """D x 2h x 2w."""
        _, height, width = self.base.shape
        return len(self.out[1]) // 4, 2 * height, 2 * width

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.base.device

    @property
    def nbytes(self) -> int:
        """What it keeps at the latest once it has been asked; the base is a map of the pyramid."""
        cells = self.base.shape[1] * self.base.shape[2]
        return self.base.element_size() * len(self.out[1]) * cells if cells <= KEPT_CELLS else 0

    def at(self, cells: Tensor) -> Tensor:
        """Unit descriptors, ... x D, of ... x 2 pixels (x, y)."""
        return F.normalize(self.descriptors(cells), dim=-1)

    def descriptors(self, cells: Tensor) -> Tensor:
        """Descriptors as the network gives them, ... x D float32, of ... x 2 pixels (x, y)."""
        _, height, width = self.base.shape
        x, y = cells.unbind(-1)
        parents = (y // 2 * width + x // 2).flatten()
        slot = (y % 2 * 2 + x % 2).flatten()
        flat = self.base.permute(1, 2, 0).reshape(height * width, -1)
        if height * width <= KEPT_CELLS:
            if self._all is None:
                self._all = self._subcells(flat)
            return self._all[parents * 4 + slot].float().view(*cells.shape[:-1], self.shape[0])
        # Each stride-2 cell once, however many of its pixels are asked for, and how often.
        asked = torch.zeros(height * width, dtype=torch.bool, device=cells.device)
        asked[parents] = True
        distinct = asked.nonzero()[:, 0]
        place = torch.empty(height * width, dtype=torch.int64, device=cells.device)
        place[distinct] = torch.arange(len(distinct), device=cells.device)
        chosen = self._subcells(flat[distinct])[place[parents] * 4 + slot]
        return chosen.float().view(*cells.shape[:-1], self.shape[0])

    def flat(self) -> Tensor:
        """All unit descriptors, (H W) x D, row by row."""
        return self.at(all_cells(self))

    def prepared(self) -> FeatureMap:
        """Itself: it keeps what is worth keeping."""
        return self

    def _subcells(self, cells: Tensor) -> Tensor:
        """N x C stride-2 descriptors to 4 N x D of their pixels."""
        return F.linear(F.relu_(F.linear(cells, *self.hidden)), *self.out).view(4 * len(cells), self.shape[0])


def map_size(feature_map: FeatureMap) -> tuple[int, int]:
    """Width and height in cells."""
    _, height, width = feature_map.shape
    return width, height


def all_cells(feature_map: FeatureMap) -> Tensor:
    """The cells of a map, (H W) x 2 int64 (x, y), row by row."""
    width, height = map_size(feature_map)
    y, x = torch.meshgrid(
        torch.arange(height, device=feature_map.device),
        torch.arange(width, device=feature_map.device),
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def inside_map(feature_map: FeatureMap, cells: Tensor) -> Tensor:
    """The cells of a map nearest to ... x 2 cells, which may lie outside."""
    width, height = map_size(feature_map)
    return torch.minimum(cells, cells.new_tensor([width - 1, height - 1])).clamp_(min=0)


def gather(feature_map: FeatureMap, cells: Tensor) -> Tensor:
    """Unit descriptors, ... x C, of ... x 2 cells (x, y); what lies outside takes the nearest inside."""
    return feature_map.at(inside_map(feature_map, cells))


def cells_to_points(cells: Tensor, stride: int) -> Tensor:
    """Centres of cells in pixels of the network's input; the twin for tensors of
    :func:`gcm.geometry.cell_to_pixel`.

    Args:
        cells: ... x 2 (x, y), floating point.
        stride: of their map.
    """
    return (cells + 0.5) * stride - 0.5


def points_to_cells(points: Tensor, stride: int) -> Tensor:
    """Inverse of :func:`cells_to_points`; fractional where a point is not a cell's centre."""
    return (points + 0.5) / stride - 0.5
