"""Images to feature pyramids, each image once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gcm.backbones.base import Backbone
from gcm.images import RGBImage, network_input

__all__ = ["FeatureExtractor", "Pyramid"]

CACHE_BYTES = 2 * 2**30
"""Most the features of earlier images may take; the oldest go first."""


@dataclass
class Pyramid:
    """An image's maps, C x H x W each, fine to coarse; the patch descriptor's map, if any, comes last."""

    maps: list[Tensor]

    @property
    def nbytes(self) -> int:
        return sum(m.numel() * m.element_size() for m in self.maps)


class FeatureExtractor:
    """Runs the backbone and the patch descriptor, and remembers the images it has just seen."""

    def __init__(self, backbone: Backbone, fine: nn.Module | None, device: torch.device) -> None:
        self.device = device
        # Channels last is the layout CPU convolutions like best, and lets descriptors be gathered whole.
        self.backbone = backbone.to(device).to(memory_format=torch.channels_last)
        self.fine = None if fine is None else fine.to(device).to(memory_format=torch.channels_last)
        self._cache: OrderedDict[bytes, Pyramid] = OrderedDict()

    def coarsest(self, image: RGBImage) -> Tensor:
        """The backbone's last map, C x H x W."""
        key = _key(image)
        return self._remembered(key, image).maps[len(self.backbone.info.strides) - 1]

    def pyramid(self, image: RGBImage, *, keep: bool = True) -> Pyramid:
        """All maps; `keep` False for an image that will not come again (a warped one)."""
        if not keep:
            return self._complete(Pyramid(self._coarse(image)), image)
        return self._complete(self._remembered(_key(image), image), image)

    def _remembered(self, key: bytes, image: RGBImage) -> Pyramid:
        pyramid = self._cache.get(key)
        if pyramid is None:
            pyramid = Pyramid(self._coarse(image))
            self._cache[key] = pyramid
        self._cache.move_to_end(key)
        return pyramid

    def _coarse(self, image: RGBImage) -> list[Tensor]:
        x = network_input(image, self.backbone.info.pad_multiple, self.device)
        return [m[0] for m in self.backbone(x.contiguous(memory_format=torch.channels_last))]

    def _complete(self, pyramid: Pyramid, image: RGBImage) -> Pyramid:
        if self.fine is not None and len(pyramid.maps) == len(self.backbone.info.strides):
            x = network_input(image, self.backbone.info.pad_multiple, self.device)
            pyramid.maps.append(self.fine(x.contiguous(memory_format=torch.channels_last))[0])
        return pyramid


def _key(image: RGBImage) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest() + repr(image.shape).encode()
