"""The VGG family; taps are convolution outputs, before batch norm and ReLU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision import models

from gcm.backbones.base import Backbone, BackboneInfo

__all__ = ["INFOS", "VGG", "VGG_NETWORKS"]

_CITATION = "Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015 (arXiv 1409.1556)"
_CHANNELS = (64, 128, 256, 512, 512, 512)
_STRIDES = (1, 2, 4, 8, 16, 16)

VGG_NETWORKS: dict[str, tuple[Callable[..., models.VGG], tuple[int, ...]]] = {
    "VGG19": (models.vgg19, (2, 7, 12, 21, 30, 32)),
    "VGG19_BN": (models.vgg19_bn, (3, 10, 17, 30, 43, 46)),
    "COARSEVGG19": (models.vgg19, (7, 12, 21, 30, 32)),
    "VGG16": (models.vgg16, (2, 7, 12, 19, 26, 28)),
    "COARSEVGG16": (models.vgg16, (7, 12, 19, 26, 28)),
}
"""Torchvision's constructor and the tapped modules of ``.features``, by backbone name."""


def _info(name: str) -> BackboneInfo:
    build, taps = VGG_NETWORKS[name]
    n = len(taps)
    return BackboneInfo(
        name,
        taps=tuple(f"features.{tap}" for tap in taps),
        strides=_STRIDES[-n:],
        channels=_CHANNELS[-n:],
        weights=build.__name__,
        description=f"torchvision {build.__name__}" + (" without its stride-1 map" if n == 5 else ""),
        citation=_CITATION,
    )


INFOS: tuple[BackboneInfo, ...] = tuple(_info(name) for name in VGG_NETWORKS)


class VGG(Backbone):
    """VGG up to the last tap."""

    def __init__(self, info: BackboneInfo) -> None:
        super().__init__()
        self.info = info
        build, self.taps = VGG_NETWORKS[info.name]
        with torch.device("meta"):  # the classifier, most of VGG, never gets memory
            features = build(weights=None).features
        self.features = nn.Sequential(*list(features.children())[: self.taps[-1] + 1])
        for module in self.features:
            if isinstance(module, nn.ReLU):
                module.inplace = False

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for index, module in enumerate(self.features):
            x = module(x)
            if index in self.taps:
                maps.append(x)
        return maps
