"""Our networks computed by ONNX Runtime in place of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gcm.backbones.attention import AttentionNetwork
from gcm.backbones.base import Backbone
from gcm.backbones.onnx.export import backbone_maps, keypoint_detector, keypoint_matcher, smallest_side
from gcm.backbones.onnx.files import cached_export
from gcm.backbones.onnx.session import Provider, Session
from gcm.refinement.maps import FeatureMap

__all__ = ["OnnxAttention", "OnnxBackbone"]


class OnnxBackbone(Backbone):
    """A backbone whose maps ONNX Runtime computes.

    Full-resolution descriptors that a backbone computes where they are asked for remain PyTorch's, and so do
    images smaller than the exported network takes.

    Args:
        backbone: with its weights.
        providers: see :func:`choose_providers`.
        precision: ``float32`` or ``float16``.

    Raises:
        ConfigError: the backbone cannot be exported.
        DependencyError: a package is missing.
    """

    def __init__(self, backbone: Backbone, providers: Sequence[Provider], *, precision: str) -> None:
        super().__init__()
        self.info = backbone.info
        self.network = backbone
        self._least = smallest_side(backbone)
        model = cached_export(backbone_maps(backbone), precision)
        self._all = Session(model, providers)
        self._kept = Session(model, providers, backbone.kept_taps)
        self._last = Session(model, providers, backbone.info.taps[-1:])

    def forward(self, x: Tensor) -> list[Tensor]:
        return self._run(self._all, self.network, x)

    @property
    def provider(self) -> str:
        """What ONNX Runtime computes with."""
        return self._kept.provider

    @property
    def kept_taps(self) -> tuple[str, ...]:
        return self.network.kept_taps

    def kept_maps(self, x: Tensor) -> list[Tensor]:
        return self._run(self._kept, self.network.kept_maps, x)

    def stored(self, maps: Sequence[FeatureMap]) -> list[Tensor] | None:
        return self.network.stored(maps)

    def restored(self, tensors: Sequence[Tensor]) -> list[FeatureMap]:
        return self.network.restored(tensors)

    def coarsest(self, x: Tensor) -> Tensor:
        return self._run(self._last, lambda x: [self.network.coarsest(x)], x)[0]

    def _run(self, session: Session, small: Callable[[Tensor], list[Tensor]], x: Tensor) -> list[Tensor]:
        if min(x.shape[-2:]) < self._least:
            return small(x)
        maps = session(x)
        for k in range(len(maps)):  # each takes the place of the one it is made from
            # Descriptors are gathered whole: their values must lie together.
            maps[k] = maps[k].contiguous(memory_format=torch.channels_last)
        return maps


class OnnxAttention:
    """:class:`AttentionNetwork` by ONNX Runtime, in float32.

    Args:
        network: with its weights, on the CPU.
        providers: see :func:`choose_providers`.

    Raises:
        DependencyError: a package is missing.
    """

    def __init__(self, network: AttentionNetwork, providers: Sequence[Provider]) -> None:
        self._detect = Session(cached_export(keypoint_detector(network), "float32"), providers)
        self._match = Session(cached_export(keypoint_matcher(network), "float32"), providers)

    def detect(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`AttentionNetwork.detect`."""
        maps, scores = self._detect(x)
        return maps, scores

    def matcher(
        self, points0: Tensor, points1: Tensor, descriptors0: Tensor, descriptors1: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`gcm.backbones.attention.AttentionMatcher`."""
        log_probability, logits0, logits1 = self._match(points0, points1, descriptors0, descriptors1)
        return log_probability, logits0, logits1
