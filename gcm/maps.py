"""Feature maps as the kernels see them: tensors, or full-resolution maps computed only where asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["FeatureMap", "SampledMap", "SubcellMap", "gather", "map_size", "whole_map"]


class SampledMap(Protocol):
    """A map whose descriptors are computed when they are asked for."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory it keeps."""
        ...

    def at(self, cells: Tensor) -> Tensor:
        """Descriptors, ... x C float32, not of unit length, of ... x 2 int64 cells (x, y) of the map."""
        ...


@dataclass(frozen=True)
class SubcellMap:
    """A full-resolution map that is a function of the stride-2 cell covering each pixel.

    Its descriptors are computed when gathered, so that a large image needs no full-resolution map.
    """

    base: Tensor
    """C x h x w, the stride-2 map."""
    hidden: tuple[Tensor, Tensor]
    """First layer: D' x C weights and D' biases, ReLU after it."""
    out: tuple[Tensor, Tensor]
    """Second layer: (D 4) x D' weights and biases; sub-cell (dx, dy) is number 2 dy + dx of four."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """D x 2h x 2w."""
        _, height, width = self.base.shape
        return len(self.out[1]) // 4, 2 * height, 2 * width

    @property
    def nbytes(self) -> int:
        """None of its own: the base is a map of the pyramid."""
        return 0

    def at(self, cells: Tensor) -> Tensor:
        """Descriptors, ... x D, of ... x 2 pixels (x, y)."""
        _, height, width = self.base.shape
        x, y = cells.unbind(-1)
        parents = (y // 2 * width + x // 2).flatten()
        # Each stride-2 cell once, however many of its pixels are asked for, and how often.
        asked = torch.zeros(height * width, dtype=torch.bool, device=cells.device)
        asked[parents] = True
        distinct = asked.nonzero()[:, 0]
        place = torch.empty(height * width, dtype=torch.int64, device=cells.device)
        place[distinct] = torch.arange(len(distinct), device=cells.device)
        hidden = F.linear(
            self.base.permute(1, 2, 0).reshape(height * width, -1)[distinct].float(), *self.hidden
        )
        four = F.linear(F.relu_(hidden), *self.out).view(len(distinct), -1, 4).transpose(1, 2).flatten(0, 1)
        slot = (y % 2 * 2 + x % 2).flatten()
        return four[place[parents] * 4 + slot].view(*cells.shape[:-1], -1)


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
    x = cells[..., 0].clamp(0, width - 1)
    y = cells[..., 1].clamp(0, height - 1)
    if isinstance(feature_map, Tensor):
        return F.normalize(feature_map.permute(1, 2, 0)[y, x].float(), dim=-1)
    return F.normalize(feature_map.at(torch.stack([x, y], dim=-1)), dim=-1)
