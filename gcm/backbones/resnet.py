"""The ResNet family; taps are the first ReLU and the residual stages."""

from __future__ import annotations

from gcm.backbones.base import Backbone, BackboneInfo
from gcm.backbones.tapped import TappedBackbone, torchvision_network

__all__ = ["INFOS", "create"]

_RESNET = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016 (arXiv 1512.03385)"
_RESNEXT = "Xie et al., Aggregated Residual Transformations, CVPR 2017 (arXiv 1611.05431)"

_NETWORKS: dict[str, tuple[str, tuple[int, ...], str]] = {
    "RESNET18": ("resnet18", (64, 64, 128, 256), _RESNET),
    "RESNET50": ("resnet50", (64, 256, 512, 1024), _RESNET),
    "RESNEXT50": ("resnext50_32x4d", (64, 256, 512, 1024), _RESNEXT),
}
"""Torchvision's constructor, the channels of the four taps, and the citation, by backbone name."""

INFOS: tuple[BackboneInfo, ...] = tuple(
    BackboneInfo(
        name,
        taps=("relu", "layer1", "layer2", "layer3"),
        strides=(2, 4, 8, 16),
        channels=channels,
        weights=network,
        description=f"torchvision {network} up to layer3",
        citation=citation,
    )
    for name, (network, channels, citation) in _NETWORKS.items()
)


def create(info: BackboneInfo) -> Backbone:
    """ResNet up to layer3."""
    return TappedBackbone(info, torchvision_network(_NETWORKS[info.name][0]))
