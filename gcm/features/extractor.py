"""Images to feature pyramids, each image once, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gcm.backbones.base import Backbone
from gcm.backbones.patch_stream import SampledDescriptors
from gcm.backbones.r2d2 import PatchNetwork
from gcm.features.batching import Request
from gcm.features.cache import FeatureCache
from gcm.features.pyramid import Pyramid
from gcm.images.files import RGBImage
from gcm.images.network_input import network_input
from gcm.images.normalisation import IMAGENET, Normalisation
from gcm.refinement.maps import DenseMap, FeatureMap

__all__ = ["PRECISIONS", "FeatureExtractor"]

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""What the networks may compute in."""


@dataclass(frozen=True)
class _Features:
    """What is remembered of an image."""

    coarsest: FeatureMap
    pyramid: Pyramid | None

    @property
    def nbytes(self) -> int:
        return self.coarsest.nbytes if self.pyramid is None else self.pyramid.nbytes


class FeatureExtractor:
    """Runs the backbone and the patch descriptor, and remembers the images it has just seen.

    Several threads may use one extractor.

    Args:
        backbone: B x 3 x H x W -> maps; moved to `device`.
        fine: the patch descriptor, B x 3 x H x W -> B x C x H x W, or None. Of a
            :class:`gcm.backbones.r2d2.PatchNetwork` only what the refinement asks for is computed.
        device: where both run.
        precision: a key of :data:`PRECISIONS`, in which both compute; what they give may have it, too.
        cache_bytes: most that the features of earlier images may take; the oldest go first.
    """

    def __init__(
        self,
        backbone: Backbone,
        fine: nn.Module | None,
        device: torch.device,
        *,
        precision: str = "float32",
        cache_bytes: int = 2 * 2**30,
    ) -> None:
        self.device = device
        self.dtype = PRECISIONS[precision]
        # Channels last is the layout CPU convolutions like best, and lets descriptors be gathered whole.
        self.backbone = backbone.to(device).to(memory_format=torch.channels_last)
        self.fine = None if fine is None else fine.to(device).to(memory_format=torch.channels_last)
        self.cache: FeatureCache[_Features] = FeatureCache(cache_bytes)

    def answer(self, requests: Sequence[Request]) -> list[Pyramid | FeatureMap]:
        """The features that are asked for: those remembered, and the rest from the networks, together."""
        features: list[_Features | None] = [self._recall(request) for request in requests]
        missing = [k for k, entry in enumerate(features) if entry is None]
        computed = self._compute([requests[k] for k in missing])
        for k, new in zip(missing, computed, strict=True):
            features[k] = new
        answers: list[Pyramid | FeatureMap] = []
        for request, entry in zip(requests, features, strict=True):
            assert entry is not None
            if request.kind == "coarsest":
                answers.append(entry.coarsest)
            else:
                assert entry.pyramid is not None
                self._add_fine_map(entry.pyramid, request)
                answers.append(entry.pyramid)
            if request.remembered:
                self.cache.put(request.key, entry, entry.nbytes)
        return answers

    def _recall(self, request: Request) -> _Features | None:
        if not request.remembered:
            return None  # a warped image will not come again: its hash would be taken for nothing
        entry = self.cache.get(request.key)
        return None if entry is None or (request.kind == "pyramid" and entry.pyramid is None) else entry

    def _compute(self, requests: Sequence[Request]) -> list[_Features]:
        """Run the backbone on several images, those of one size in one batch, equal ones once."""
        # A lone one needs no name, which takes reading its image through.
        names: list[Any] = [request.name if len(requests) > 1 else None for request in requests]
        first = {name: k for k, name in reversed(list(enumerate(names)))}
        batches: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for k in sorted(first.values()):
            batches.setdefault((requests[k].kind, requests[k].image.shape), []).append(k)
        computed: dict[int, _Features] = {}
        for (kind, _), members in batches.items():
            inputs = [self._input(requests[k], self.backbone.info.normalisation) for k in members]
            x = inputs[0]
            if len(inputs) > 1:
                x = torch.cat(inputs).contiguous(memory_format=torch.channels_last)
            with self._reduced():
                entries = self._run(kind, x)
            computed.update(zip(members, entries, strict=True))
        return [computed[first[name]] for name in names]

    def _run(self, kind: str, x: Tensor) -> list[_Features]:
        stride = self.backbone.info.strides[-1]
        if kind == "coarsest":
            # A copy: where it is a view of larger maps, those may go.
            return [_Features(DenseMap(m.clone(), stride), None) for m in self.backbone.coarsest(x)]
        pyramids = self.backbone.pyramid(x)
        return [_Features(maps[-1], Pyramid(maps)) for maps in pyramids]

    def _input(self, request: Request, normalisation: Normalisation) -> Tensor:
        multiple = self.backbone.info.pad_multiple
        x = network_input(
            request.image, multiple, self.device, normalisation=normalisation, like=request.original
        )
        return x.contiguous(memory_format=torch.channels_last)

    def _reduced(self) -> AbstractContextManager[Any]:
        """Lets convolutions and products compute in the chosen precision."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def _add_fine_map(self, pyramid: Pyramid, request: Request) -> None:
        """Add the patch descriptor's map where it is still missing."""
        if self.fine is None:
            return
        missing = len(pyramid.maps) == len(self.backbone.info.strides)
        normalisation: Normalisation = getattr(self.fine, "normalisation", IMAGENET)

        def source() -> Tensor:
            return self._input(request, normalisation)

        if isinstance(self.fine, PatchNetwork):
            if missing:
                size = self._padded_size(request.image)
                sampled = self.fine.sampled(source, size, keep=request.remembered, dtype=self.dtype)
                pyramid.maps.append(sampled)
            last = pyramid.maps[-1]
            assert isinstance(last, SampledDescriptors)
            last.image = source  # of a remembered image, the array seen first may have been written to since
        elif missing:
            with self._reduced():
                pyramid.maps.append(DenseMap(self.fine(source())[0].float(), 1))

    def _padded_size(self, image: RGBImage) -> tuple[int, int]:
        """Height and width of the network's input."""
        multiple = self.backbone.info.pad_multiple
        height, width = image.shape[:2]
        return height + -height % multiple, width + -width % multiple
