"""EfficientNetV2; taps are the stages of ``.features``."""

from __future__ import annotations

from gcm.backbones.base import Backbone, BackboneInfo
from gcm.backbones.tapped import TappedBackbone, torchvision_network

__all__ = ["INFOS", "create"]

INFOS: tuple[BackboneInfo, ...] = (
    BackboneInfo(
        "EFFICIENTNETV2",
        taps=tuple(f"features.{k}" for k in (1, 2, 3, 4, 5)),
        strides=(2, 4, 8, 16, 16),
        channels=(24, 48, 64, 128, 160),
        weights="efficientnet_v2_s",
        description="torchvision efficientnet_v2_s",
        citation="Tan and Le, EfficientNetV2, ICML 2021 (arXiv 2104.00298)",
    ),
)


def create(info: BackboneInfo) -> Backbone:
    """EfficientNetV2-S up to the last stride-16 stage."""
    return TappedBackbone(info, torchvision_network("efficientnet_v2_s"))
