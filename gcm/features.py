"""Images to feature pyramids, each image once, in bounded memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gcm.backbones.base import Backbone
from gcm.images import RGBImage, network_input
from gcm.maps import FeatureMap

__all__ = ["FeatureExtractor", "Pyramid"]

CACHE_BYTES = 2 * 2**30
"""Most the features of earlier images may take; the oldest go first."""

COMPARED_BYTES = 2**28
"""Of an image only needed for stage 0, all maps are kept up to this size, beyond it the coarsest alone."""


@dataclass
class Pyramid:
    """An image's maps, C x H x W each, fine to coarse; the patch descriptor's map, if any, comes last."""

    maps: list[FeatureMap]

    @property
    def nbytes(self) -> int:
        """Memory the maps take."""
        return sum(m.nbytes for m in self.maps)


@dataclass
class _Remembered:
    coarsest: Tensor
    pyramid: Pyramid | None

    @property
    def nbytes(self) -> int:
        return self.coarsest.nbytes if self.pyramid is None else self.pyramid.nbytes


class FeatureExtractor:
    """Runs the backbone and the patch descriptor, and remembers the images it has just seen.

    Args:
        backbone: B x 3 x H x W -> maps; moved to `device`.
        fine: the patch descriptor, B x 3 x H x W -> B x C x H x W, or None.
        device: where both run.
    """

    def __init__(self, backbone: Backbone, fine: nn.Module | None, device: torch.device) -> None:
        self.device = device
        # Channels last is the layout CPU convolutions like best, and lets descriptors be gathered whole.
        self.backbone = backbone.to(device).to(memory_format=torch.channels_last)
        self.fine = None if fine is None else fine.to(device).to(memory_format=torch.channels_last)
        self._cache: OrderedDict[bytes, _Remembered] = OrderedDict()

    def coarsest(self, image: RGBImage) -> Tensor:
        """The backbone's last map, C x H x W."""
        key = _key(image)
        if key not in self._cache:
            self._remember(key, _Remembered(self._run_coarsest(image, None), None))
        return self._cache[key].coarsest

    def coarsest_of_warped(self, image: RGBImage, original: RGBImage, *, keep: bool = False) -> Tensor:
        """The backbone's last map of a warped image; see :meth:`pyramid_of_warped`.

        With `keep` it is remembered: for views of an image that may be asked for again.
        """
        key = _key(image) + b"warped"
        if key not in self._cache:
            coarsest = self._run_coarsest(image, original)
            if not keep:
                return coarsest
            self._remember(key, _Remembered(coarsest, None))
        self._cache.move_to_end(key)
        return self._cache[key].coarsest

    def pyramid(self, image: RGBImage) -> Pyramid:
        """All maps of an image, which is remembered."""
        key = _key(image)
        entry = self._cache.get(key)
        if entry is None or entry.pyramid is None:
            maps = self._run_backbone(image, None)
            entry = _Remembered(maps[-1], Pyramid(maps))
        self._complete(entry.pyramid, image, None)  # type: ignore[arg-type]
        self._remember(key, entry)
        return entry.pyramid  # type: ignore[return-value]

    def pyramid_of_warped(self, image: RGBImage, original: RGBImage) -> Pyramid:
        """All maps of a warped image, which will not come again and is not remembered.

        Args:
            image: the warped image, black where it has no content.
            original: what it was warped from; brightness and contrast are measured there.
        """
        pyramid = Pyramid(self._run_backbone(image, original))
        self._complete(pyramid, image, original)
        return pyramid

    def forget(self) -> None:
        """Forget all images seen."""
        self._cache.clear()

    def _remember(self, key: bytes, entry: _Remembered) -> None:
        self._cache[key] = entry
        self._cache.move_to_end(key)
        total = sum(e.nbytes for e in self._cache.values())
        while total > CACHE_BYTES and len(self._cache) > 1:
            total -= self._cache.popitem(last=False)[1].nbytes

    def _input(self, image: RGBImage, normalisation: str, like: RGBImage | None) -> Tensor:
        multiple = self.backbone.info.pad_multiple
        x = network_input(image, multiple, self.device, normalisation=normalisation, like=like)
        return x.contiguous(memory_format=torch.channels_last)

    def _run_backbone(self, image: RGBImage, like: RGBImage | None) -> list[FeatureMap]:
        x = self._input(image, self.backbone.info.normalisation, like)
        return self.backbone.levels(x)

    def _run_coarsest(self, image: RGBImage, like: RGBImage | None) -> Tensor:
        x = self._input(image, self.backbone.info.normalisation, like)
        # A copy: where it is a view of larger maps, those may go.
        return self.backbone.coarsest(x).clone()

    def _complete(self, pyramid: Pyramid, image: RGBImage, like: RGBImage | None) -> None:
        """Add the patch descriptor's map where it is still missing."""
        if self.fine is None or len(pyramid.maps) > len(self.backbone.info.strides):
            return
        normalisation = getattr(self.fine, "normalisation", "imagenet")
        pyramid.maps.append(self.fine(self._input(image, normalisation, like))[0])


def _key(image: RGBImage) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest() + repr(image.shape).encode()
