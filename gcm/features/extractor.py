"""Images to feature pyramids, each image once, in bounded memory."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gcm.backbones.base import Backbone
from gcm.backbones.patch_stream import SampledDescriptors
from gcm.backbones.r2d2 import PatchNetwork
from gcm.images.files import RGBImage
from gcm.images.network_input import network_input
from gcm.images.normalisation import IMAGENET, Normalisation
from gcm.refinement.maps import KEPT_CELLS, FeatureMap, UnitMap, whole_map

__all__ = ["PRECISIONS", "FeatureExtractor", "Pyramid"]

_WARPED = b"warped"

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""What the networks may compute in."""

CACHE_BYTES = 2 * 2**30
"""Most the features of earlier images may take; the oldest go first."""


@dataclass
class Pyramid:
    """An image's maps, C x H x W each, fine to coarse; the patch descriptor's map, if any, comes last.

    That one may be computed only where it is asked for; it then is a
    :class:`gcm.refinement.maps.SampledMap`, which goes into a refinement like a tensor.
    """

    maps: list[FeatureMap]
    _unit: dict[int, UnitMap] = field(default_factory=dict, repr=False)

    @property
    def nbytes(self) -> int:
        """Memory the maps take."""
        return sum(m.nbytes for m in [*self.maps, *self._unit.values()])

    def unit_map(self, index: int) -> FeatureMap:
        """A map whose descriptors are to be gathered: normalised once, and kept so, unless it is large."""
        feature_map = self.maps[index]
        index %= len(self.maps)
        if not isinstance(feature_map, Tensor) or feature_map.shape[1] * feature_map.shape[2] > KEPT_CELLS:
            return feature_map
        if index not in self._unit:
            self._unit[index] = UnitMap(feature_map)
        return self._unit[index]


@dataclass
class _Remembered:
    coarsest: Tensor
    pyramid: Pyramid | None

    @property
    def nbytes(self) -> int:
        return self.coarsest.nbytes if self.pyramid is None else self.pyramid.nbytes


@dataclass(frozen=True)
class _Question:
    """What the backbone is to be run for."""

    kind: str
    """``levels`` or ``coarsest``."""
    image: RGBImage
    like: RGBImage | None
    """What brightness and contrast are measured on, if not the image itself."""

    @cached_property
    def key(self) -> bytes:
        """Under which the answer may be remembered."""
        return _key(self.image) + (b"" if self.like is None else _WARPED)

    @property
    def name(self) -> tuple[str, bytes, bytes]:
        """Equal for equal answers."""
        return self.kind, self.key, b"" if self.like is None else _key(self.like)


class FeatureExtractor:
    """Runs the backbone and the patch descriptor, and remembers the images it has just seen.

    Args:
        backbone: B x 3 x H x W -> maps; moved to `device`.
        fine: the patch descriptor, B x 3 x H x W -> B x C x H x W, or None. Of a
            :class:`gcm.backbones.r2d2.PatchNetwork` only what the refinement asks for is computed.
        device: where both run.
        precision: a key of :data:`PRECISIONS`, in which both compute; maps are float32 always.
    """

    def __init__(
        self,
        backbone: Backbone,
        fine: nn.Module | None,
        device: torch.device,
        *,
        precision: str = "float32",
    ) -> None:
        self.device = device
        self.dtype = PRECISIONS[precision]
        # Channels last is the layout CPU convolutions like best, and lets descriptors be gathered whole.
        self.backbone = backbone.to(device).to(memory_format=torch.channels_last)
        self.fine = None if fine is None else fine.to(device).to(memory_format=torch.channels_last)
        self._cache: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._lock = threading.Lock()
        self._local = threading.local()

    def coarsest(self, image: RGBImage) -> Tensor:
        """The backbone's last map, C x H x W."""
        key = _key(image)
        entry = self._recall(key)
        if entry is None:
            entry = _Remembered(self._run_coarsest(image, None), None)
            self._remember(key, entry)
        return entry.coarsest

    def coarsest_of_warped(self, image: RGBImage, original: RGBImage, *, keep: bool = False) -> Tensor:
        """The backbone's last map of a warped image; see :meth:`pyramid_of_warped`.

        With `keep` it is remembered: for views of an image that may be asked for again.
        """
        key = _key(image) + _WARPED
        entry = self._recall(key)
        if entry is None:
            entry = _Remembered(self._run_coarsest(image, original), None)
        if keep:
            self._remember(key, entry)
        return entry.coarsest

    def pyramid(self, image: RGBImage) -> Pyramid:
        """All maps of an image, which is remembered."""
        key = _key(image)
        entry = self._recall(key)
        if entry is None or entry.pyramid is None:
            maps = self._run_backbone(image, None)
            entry = _Remembered(whole_map(maps[-1]), Pyramid(maps))
        assert entry.pyramid is not None
        self._complete(entry.pyramid, image, None, keep=True)
        self._remember(key, entry)
        return entry.pyramid

    def pyramid_of_warped(self, image: RGBImage, original: RGBImage) -> Pyramid:
        """All maps of a warped image, which will not come again and is not remembered.

        Args:
            image: the warped image, black where it has no content.
            original: what it was warped from; brightness and contrast are measured there.
        """
        pyramid = Pyramid(self._run_backbone(image, original))
        self._complete(pyramid, image, original, keep=False)
        return pyramid

    def forget(self) -> None:
        """Forget all images seen."""
        self._cache.clear()

    def _recall(self, key: bytes) -> _Remembered | None:
        """What is remembered; of a thread that asks nothing, for what others remember is a matter of luck."""
        return None if self._asks() else self._cache.get(key)

    def _asks(self) -> bool:
        return getattr(self._local, "ask", None) is not None

    def _remember(self, key: bytes, entry: _Remembered) -> None:
        with self._lock:
            self._cache[key] = entry
            self._cache.move_to_end(key)
            total = sum(e.nbytes for e in self._cache.values())
            while total > CACHE_BYTES and len(self._cache) > 1:
                total -= self._cache.popitem(last=False)[1].nbytes

    def _input(self, image: RGBImage, normalisation: Normalisation, like: RGBImage | None) -> Tensor:
        multiple = self.backbone.info.pad_multiple
        x = network_input(image, multiple, self.device, normalisation=normalisation, like=like)
        return x.contiguous(memory_format=torch.channels_last)

    def _run_backbone(self, image: RGBImage, like: RGBImage | None) -> list[FeatureMap]:
        return self._run(_Question("levels", image, like))  # type: ignore[no-any-return]

    def _run_coarsest(self, image: RGBImage, like: RGBImage | None) -> Tensor:
        return self._run(_Question("coarsest", image, like))  # type: ignore[no-any-return]

    def _run(self, question: _Question) -> Any:
        return self._local.ask(question) if self._asks() else self.run_together([question])[0]

    @contextmanager
    def asking(self, ask: Callable[[Any], Any]) -> Iterator[None]:
        """Within it this thread does not run the backbone but asks for what :meth:`answer` gives."""
        self._local.ask = ask
        try:
            yield
        finally:
            self._local.ask = None

    def answer(self, questions: Sequence[_Question]) -> list[Any]:
        """What is remembered, and the rest by :meth:`run_together`; for threads within :meth:`asking`."""
        found: list[Any] = []
        for question in questions:
            entry = self._cache.get(question.key)
            if entry is None or question.kind == "coarsest":
                found.append(None if entry is None else entry.coarsest)
            else:
                found.append(None if entry.pyramid is None else list(entry.pyramid.maps))
        missing = [k for k, known in enumerate(found) if known is None]
        if missing:
            new = self.run_together([questions[k] for k in missing])
            for k, result in zip(missing, new, strict=True):
                found[k] = result
        return found

    def run_together(self, questions: Sequence[_Question]) -> list[Any]:
        """Run the backbone on several images, those of one size in one batch, equal ones once."""
        # A lone one needs no name, which takes reading its image through.
        names: list[Any] = [question.name for question in questions] if len(questions) > 1 else [None]
        first = {name: k for k, name in reversed(list(enumerate(names)))}
        batches: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for k in sorted(first.values()):
            batches.setdefault((questions[k].kind, questions[k].image.shape), []).append(k)
        found: dict[int, Any] = {}
        normalisation = self.backbone.info.normalisation
        for (kind, _), members in batches.items():
            inputs = [self._input(questions[k].image, normalisation, questions[k].like) for k in members]
            x = inputs[0]
            if len(inputs) > 1:
                x = torch.cat(inputs).contiguous(memory_format=torch.channels_last)
            with self._reduced():
                if kind == "levels":
                    answers: Sequence[Any] = self.backbone.levels(x)
                else:
                    # A copy: where it is a view of larger maps, those may go.
                    answers = [m.clone() for m in self.backbone.coarsest(x)]
            found.update(zip(members, answers, strict=True))
        return [found[first[name]] for name in names]

    def _reduced(self) -> AbstractContextManager[Any]:
        """Lets convolutions and products compute in the chosen precision."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def _complete(self, pyramid: Pyramid, image: RGBImage, like: RGBImage | None, *, keep: bool) -> None:
        """Add the patch descriptor's map where it is still missing."""
        if self.fine is None:
            return
        missing = len(pyramid.maps) == len(self.backbone.info.strides)
        normalisation = getattr(self.fine, "normalisation", IMAGENET)

        def source() -> Tensor:
            return self._input(image, normalisation, like)

        if isinstance(self.fine, PatchNetwork):
            if missing:
                multiple = self.backbone.info.pad_multiple
                size = tuple(side + -side % multiple for side in image.shape[:2])
                sampled = self.fine.sampled(source, (size[0], size[1]), keep=keep, dtype=self.dtype)
                pyramid.maps.append(sampled)
            last = pyramid.maps[-1]
            assert isinstance(last, SampledDescriptors)
            last.image = source  # of a remembered image, the array seen first may have been written to since
        elif missing:
            with self._reduced():
                pyramid.maps.append(self.fine(source())[0].float())


def _key(image: RGBImage) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest() + repr(image.shape).encode()
