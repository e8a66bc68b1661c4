"""MobileNetV3; taps are blocks of ``.features``."""

from __future__ import annotations

from gcm.backbones.base import Backbone, BackboneInfo
from gcm.backbones.tapped import TappedBackbone, torchvision_network

__all__ = ["INFOS", "create"]

INFOS: tuple[BackboneInfo, ...] = (
    BackboneInfo(
        "MOBILEV3",
        taps=tuple(f"features.{k}" for k in (1, 3, 6, 11, 12)),
        strides=(2, 4, 8, 16, 16),
        channels=(16, 24, 40, 112, 112),
        weights="mobilenet_v3_large",
        description="torchvision mobilenet_v3_large",
        citation="Howard et al., Searching for MobileNetV3, ICCV 2019 (arXiv 1905.02244)",
    ),
)


def create(info: BackboneInfo) -> Backbone:
    """MobileNetV3-Large up to the last stride-16 block."""
    return TappedBackbone(info, torchvision_network("mobilenet_v3_large"))
