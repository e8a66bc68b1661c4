"""The VGG family; taps are convolution outputs, before batch norm and ReLU."""

from __future__ import annotations

from gcm.backbones.base import Backbone, BackboneInfo
from gcm.backbones.tapped import TappedBackbone, torchvision_network

__all__ = ["INFOS", "create"]

_CITATION = "Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015 (arXiv 1409.1556)"
_CHANNELS = (64, 128, 256, 512, 512, 512)
_STRIDES = (1, 2, 4, 8, 16, 16)

_NETWORKS: dict[str, tuple[str, tuple[int, ...]]] = {
    "VGG19": ("vgg19", (2, 7, 12, 21, 30, 32)),
    "VGG19_BN": ("vgg19_bn", (3, 10, 17, 30, 43, 46)),
    "COARSEVGG19": ("vgg19", (7, 12, 21, 30, 32)),
    "VGG16": ("vgg16", (2, 7, 12, 19, 26, 28)),
    "COARSEVGG16": ("vgg16", (7, 12, 19, 26, 28)),
}
"""Torchvision's constructor and the tapped modules of ``.features``, by backbone name."""


def _info(name: str) -> BackboneInfo:
    network, taps = _NETWORKS[name]
    n = len(taps)
    return BackboneInfo(
        name,
        taps=tuple(f"features.{tap}" for tap in taps),
        strides=_STRIDES[-n:],
        channels=_CHANNELS[-n:],
        weights=network,
        description=f"torchvision {network}" + (" without its stride-1 map" if n == 5 else ""),
        citation=_CITATION,
    )


INFOS: tuple[BackboneInfo, ...] = tuple(_info(name) for name in _NETWORKS)


def create(info: BackboneInfo) -> Backbone:
    """VGG up to the last tap."""
    return TappedBackbone(info, torchvision_network(_NETWORKS[info.name][0]))
