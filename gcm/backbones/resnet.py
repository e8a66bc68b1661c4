"""The ResNet family; taps are the first ReLU and the residual stages."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision import models

from gcm.backbones.base import Backbone, BackboneInfo

__all__ = ["INFOS", "RESNET_NETWORKS", "ResNet"]

_CITATION = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016 (arXiv 1512.03385)"

RESNET_NETWORKS: dict[str, tuple[Callable[..., models.ResNet], tuple[int, ...]]] = {
    "RESNET18": (models.resnet18, (64, 64, 128, 256)),
}
"""Torchvision's constructor and the channels of the four taps, by backbone name."""

INFOS: tuple[BackboneInfo, ...] = tuple(
    BackboneInfo(
        name,
        taps=("relu", "layer1", "layer2", "layer3"),
        strides=(2, 4, 8, 16),
        channels=channels,
        weights=build.__name__,
        description=f"torchvision {build.__name__} up to layer3",
        citation=_CITATION,
    )
    for name, (build, channels) in RESNET_NETWORKS.items()
)


class ResNet(Backbone):
    """ResNet up to layer3."""

    def __init__(self, info: BackboneInfo) -> None:
        super().__init__()
        self.info = info
        build, _ = RESNET_NETWORKS[info.name]
        with torch.device("meta"):  # layer4 and the classifier never get memory
            network = build(weights=None)
        self.conv1 = network.conv1
        self.bn1 = network.bn1
        self.relu = network.relu
        self.maxpool = network.maxpool
        self.layer1 = network.layer1
        self.layer2 = network.layer2
        self.layer3 = network.layer3

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.relu(self.bn1(self.conv1(x)))
        maps = [x]
        x = self.maxpool(x)
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
            maps.append(x)
        return maps
