"""Swin Transformer; taps are the transformer stages, which begin at stride 4."""

from __future__ import annotations

from torch import Tensor

from gcm.backbones.base import BackboneInfo
from gcm.backbones.tapped import TappedBackbone, torchvision_network

__all__ = ["INFOS", "Swin"]

INFOS: tuple[BackboneInfo, ...] = (
    BackboneInfo(
        "SWIN_TRANSFORMER",
        taps=("features.1", "features.3", "features.5"),
        strides=(4, 8, 16),
        channels=(96, 192, 384),
        weights="swin_t",
        description="torchvision swin_t",
        citation="Liu et al., Swin Transformer, ICCV 2021 (arXiv 2103.14030)",
    ),
)


class Swin(TappedBackbone):
    """Swin-T up to the stride-16 stage."""

    def __init__(self, info: BackboneInfo) -> None:
        super().__init__(info, torchvision_network("swin_t"))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [m.permute(0, 3, 1, 2) for m in super().forward(x)]  # its stages are channels last
