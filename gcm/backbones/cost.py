"""What a backbone costs: parameters and multiply-adds, counted on the network itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from gcm.backbones.registry import build_backbone

__all__ = ["Cost", "backbone_cost"]


@dataclass(frozen=True)
class Cost:
    """Parameters up to the last tap, and the multiply-adds of one image of a given size."""

    parameters: int
    multiply_adds: int


def backbone_cost(name: str, *, height: int = 480, width: int = 640) -> Cost:
    """Count a backbone's parameters and the multiply-adds of its convolutions and matrix products.

    Nothing is computed and no weights are needed: the network runs on shapes alone.

    Args:
        name: as in the configuration.
        height, width: of the image; padded as the backbone needs.

    Raises:
        ConfigError: no such backbone.
        DependencyError: a package it needs is not installed.
    """
    backbone = build_backbone(name)
    multiple = backbone.info.pad_multiple
    image = torch.empty(
        1, 3, -(-height // multiple) * multiple, -(-width // multiple) * multiple, device="meta"
    )
    with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone(image)
    parameters = sum(p.numel() for p in backbone.parameters())
    return Cost(parameters, counter.get_total_flops() // 2)
