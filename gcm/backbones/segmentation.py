"""Encoders (``.backbone``) of segmentation networks; dilation keeps late stages at stride 8 or 16."""

from __future__ import annotations

from gcm.backbones.base import Backbone, BackboneInfo
from gcm.backbones.tapped import TappedBackbone, torchvision_network

__all__ = ["INFOS", "create"]

_DEEPLAB = "Chen et al., Rethinking Atrous Convolution (DeepLabV3), 2017 (arXiv 1706.05587)"
_FCN = "Long et al., Fully Convolutional Networks for Semantic Segmentation, CVPR 2015 (arXiv 1411.4038)"

_NETWORKS: dict[str, str] = {
    "DEEPLABV3_RESNET50": "deeplabv3_resnet50",
    "FCN_RESNET50": "fcn_resnet50",
    "DEEPLABV3_MOBILE": "deeplabv3_mobilenet_v3_large",
}


def _info(
    name: str, taps: tuple[str, ...], strides: tuple[int, ...], channels: tuple[int, ...], citation: str
) -> BackboneInfo:
    network = _NETWORKS[name]
    return BackboneInfo(
        name,
        taps=tuple(f"backbone.{tap}" for tap in taps),
        strides=strides,
        channels=channels,
        weights=network,
        description=f"encoder of torchvision {network}",
        citation=citation,
    )


_RESNET = (("conv1", "layer1", "layer4"), (2, 4, 8), (64, 256, 2048))

INFOS: tuple[BackboneInfo, ...] = (
    _info("DEEPLABV3_RESNET50", *_RESNET, _DEEPLAB),
    _info("FCN_RESNET50", *_RESNET, _FCN),
    _info(
        "DEEPLABV3_MOBILE", ("1", "3", "6", "10", "15"), (2, 4, 8, 16, 16), (16, 24, 40, 80, 160), _DEEPLAB
    ),
)


def create(info: BackboneInfo) -> Backbone:
    """The encoder up to the last tap."""
    network = torchvision_network(f"segmentation.{_NETWORKS[info.name]}", weights_backbone=None)
    return TappedBackbone(info, network)
