"""Feature maps as the kernels see them: tensors, or full-resolution maps computed only where asked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["FeatureMap", "SubcellMap", "gather", "map_size"]


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
    """Second layer: (D 4) x D' weights and biases; of the four, sub-cell (dx, dy) is number 2 dy + dx."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """D x 2h x 2w."""
        channels, height, width = self.base.shape
        return len(self.out[1]) // 4, 2 * height, 2 * width

    @property
    def nbytes(self) -> int:
        """None of its own: the base is a map of the pyramid."""
        return 0

    def gather(self, x: Tensor, y: Tensor) -> Tensor:
        """Descriptors, ... x D, of pixels x, y (int64, inside the map, one shape)."""
        parent = self.base.permute(1, 2, 0)[y // 2, x // 2]
        four = F.linear(F.relu(F.linear(parent, *self.hidden)), *self.out)
        four = four.unflatten(-1, (-1, 4))
        slot = (y % 2 * 2 + x % 2)[..., None, None].expand(*four.shape[:-1], 1)
        return four.gather(-1, slot)[..., 0]

    def gather_children(self, x: Tensor, y: Tensor) -> Tensor:
        """Descriptors, N x 4 x D, of the four pixels of cells x, y, in the order (0,0), (0,1), (1,0), (1,1)
        of (dx, dy); a quarter of the work of four single ones."""
        parent = self.base.permute(1, 2, 0)[y, x]
        four = F.linear(F.relu(F.linear(parent, *self.hidden)), *self.out)
        return four.unflatten(-1, (-1, 2, 2)).permute(0, 3, 2, 1).flatten(1, 2)


FeatureMap = Tensor | SubcellMap


def map_size(feature_map: FeatureMap) -> tuple[int, int]:
    """Width and height."""
    return int(feature_map.shape[2]), int(feature_map.shape[1])


def gather(feature_map: FeatureMap, cells: Tensor) -> Tensor:
    """Unit descriptors, ... x C, of ... x 2 cells (x, y); what lies outside takes the nearest inside.

    Only what is gathered is normalised; of a full-resolution map that is a small part.
    """
    width, height = map_size(feature_map)
    x = cells[..., 0].clamp(0, width - 1)
    y = cells[..., 1].clamp(0, height - 1)
    if isinstance(feature_map, SubcellMap):
        return F.normalize(feature_map.gather(x, y), dim=-1)
    return F.normalize(feature_map.permute(1, 2, 0)[y, x], dim=-1)
