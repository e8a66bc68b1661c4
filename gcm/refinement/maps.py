"""Feature maps as the kernels see them: tensors, or full-resolution maps computed only where asked."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "FeatureMap",
    "SampledMap",
    "SubcellMap",
    "UnitMap",
    "flat_unit",
    "gather",
    "map_size",
    "whole_map",
]

KEPT_CELLS = 2**18
"""Stride-2 cells (a megapixel of the image) up to which all full-resolution descriptors are kept: 100 MB."""


class SampledMap(Protocol):
    """A map whose descriptors are computed when they are asked for."""

    unit: bool
    """Whether they come with unit length."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory it keeps."""
        ...

    def at(self, cells: Tensor) -> Tensor:
        """Descriptors, ... x C float32, of ... x 2 int64 cells (x, y) of the map."""
        ...


class UnitMap:
    """A map as unit descriptors, cell by cell in float32: where most cells are asked for, and more than once,
    it costs less to normalise each of them once than whenever it is gathered."""

    unit = True

    def __init__(self, feature_map: Tensor) -> None:
        channels, height, width = feature_map.shape
        self.shape = channels, height, width
        self.flat = flat_unit(feature_map)
        """(H W) x C, row by row."""

    @property
    def nbytes(self) -> int:
        """Memory it keeps."""
        return self.flat.nbytes

    def at(self, cells: Tensor) -> Tensor:
        """Descriptors, ... x C, of ... x 2 cells (x, y)."""
        x, y = cells.unbind(-1)
        chosen = self.flat.index_select(0, (y * self.shape[2] + x).flatten())
        return chosen.view(*cells.shape[:-1], self.shape[0])


class SubcellMap:
    """A full-resolution map that is a function of the stride-2 cell covering each pixel.

    Of a large image descriptors are computed when they are asked for, so that it needs no full-resolution
    map; of a small one all are computed at once and kept, because most are asked for, and more than once.

    Args:
        base: C x h x w, the stride-2 map.
        hidden: first layer, D' x C weights and D' biases, ReLU after it.
        out: second layer, (D 4) x D' weights and biases; sub-cell (dx, dy) is number 2 dy + dx of four.
    """

    unit = False

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
    def nbytes(self) -> int:
        """What it keeps at the latest once it has been asked; the base is a map of the pyramid."""
        cells = self.base.shape[1] * self.base.shape[2]
        return self.base.element_size() * len(self.out[1]) * cells if cells <= KEPT_CELLS else 0

    def at(self, cells: Tensor) -> Tensor:
        """Descriptors, ... x D, of ... x 2 pixels (x, y)."""
        _, height, width = self.base.shape
        x, y = cells.unbind(-1)
        parents = (y // 2 * width + x // 2).flatten()
        slot = (y % 2 * 2 + x % 2).flatten()
        flat = self.base.permute(1, 2, 0).reshape(height * width, -1)
        if height * width <= KEPT_CELLS:
            if self._all is None:
                self._all = self._subcells(flat)
            return self._all[parents * 4 + slot].float().view(*cells.shape[:-1], -1)
        # Each stride-2 cell once, however many of its pixels are asked for, and how often.
        asked = torch.zeros(height * width, dtype=torch.bool, device=cells.device)
        asked[parents] = True
        distinct = asked.nonzero()[:, 0]
        place = torch.empty(height * width, dtype=torch.int64, device=cells.device)
        place[distinct] = torch.arange(len(distinct), device=cells.device)
        found = self._subcells(flat[distinct])[place[parents] * 4 + slot]
        return found.float().view(*cells.shape[:-1], -1)

    def _subcells(self, cells: Tensor) -> Tensor:
        """N x C stride-2 descriptors to 4 N x D of their pixels."""
        return F.linear(F.relu_(F.linear(cells, *self.hidden)), *self.out).view(4 * len(cells), -1)


FeatureMap = Tensor | SampledMap
"""C x H x W, as a tensor or computed where asked."""


def map_size(feature_map: FeatureMap) -> tuple[int, int]:
    """Width and height."""
    return int(feature_map.shape[2]), int(feature_map.shape[1])


def whole_map(feature_map: FeatureMap) -> Tensor:
    """A map that must be a tensor, as all but the full-resolution ones are."""
    if not isinstance(feature_map, Tensor):
        raise TypeError(f"a map of {map_size(feature_map)} cells is computed only where asked")
    return feature_map


def gather(feature_map: FeatureMap, cells: Tensor) -> Tensor:
    """Unit descriptors, ... x C, of ... x 2 cells (x, y); what lies outside takes the nearest inside.

    Only what is gathered is normalised; of a full-resolution map that is a small part.
    """
    width, height = map_size(feature_map)
    inside = torch.minimum(cells, cells.new_tensor([width - 1, height - 1])).clamp_(min=0)
    if isinstance(feature_map, Tensor):
        x, y = inside.unbind(-1)
        return F.normalize(feature_map.permute(1, 2, 0)[y, x].float(), dim=-1)
    found = feature_map.at(inside)
    return found if feature_map.unit else F.normalize(found, dim=-1)


def flat_unit(feature_map: FeatureMap) -> Tensor:
    """C x H x W map to (H W) x C unit descriptors, row by row."""
    if isinstance(feature_map, UnitMap):
        return feature_map.flat
    feature_map = whole_map(feature_map)
    given = feature_map.permute(1, 2, 0).reshape(-1, feature_map.shape[0])
    flat = given.float()
    length = torch.linalg.vector_norm(flat, dim=1, keepdim=True).clamp_min_(1e-12)
    # In place where it is a copy already: a new megabyte costs as much as filling it.
    return flat.div_(length) if flat.dtype != given.dtype else flat / length
