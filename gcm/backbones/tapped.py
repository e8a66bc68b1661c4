"""A backbone that is another network's modules in their order, up to the last one whose output is wanted."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gcm.backbones.base import Backbone, BackboneInfo

__all__ = ["TappedBackbone", "torchvision_network"]


class TappedBackbone(Backbone):
    """The child modules of a network (or of one of its containers) up to the last tap, run one after another.

    Names stay as they were, so that the network's own checkpoints load. An activation that would
    overwrite a tapped map in place is made to write elsewhere.

    Args:
        info: its ``taps`` name modules, all children of one container: ``features.2`` or ``layer1``.
        network: a network whose container runs its children in the order they were registered.
    """

    def __init__(self, info: BackboneInfo, network: nn.Module) -> None:
        super().__init__()
        self.info = info
        self._container = info.taps[-1].rpartition(".")[0]
        self._taps = [tap.rpartition(".")[2] for tap in info.taps]
        parent: nn.Module = self
        if self._container:
            parent = nn.Module()
            self.add_module(self._container, parent)
        after_tap = False
        for name, module in network.get_submodule(self._container).named_children():
            if after_tap and getattr(module, "inplace", False):
                module.inplace = False  # type: ignore[assignment]
            parent.add_module(name, module)
            after_tap = name in self._taps
            if name == self._taps[-1]:
                break

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for name, module in self.get_submodule(self._container).named_children():
            x = module(x)
            if name in self._taps:
                maps.append(x)
        return maps

    def fused(self) -> Backbone:
        """With each batch norm folded into the convolution before it; for inference only."""
        container = self.get_submodule(self._container)
        tapped = {container.get_submodule(name) for name in self._taps}
        for parent in list(self.modules()):
            _fold_children(parent, tapped)
        return self


def _fold_children(parent: nn.Module, tapped: set[nn.Module]) -> None:
    """In the networks of torchvision, a batch norm is registered after the convolution it follows."""
    children = list(parent.named_children())
    for (name, convolution), (next_name, norm) in itertools.pairwise(children):
        if not isinstance(convolution, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            continue
        if convolution not in tapped and norm.num_features == convolution.out_channels:
            parent.add_module(name, fuse_conv_bn_eval(convolution, norm))
            parent.add_module(next_name, nn.Identity())


def torchvision_network(name: str, **options: Any) -> nn.Module:
    """A network of torchvision without weights and memory, so that layers nobody uses cost nothing.

    torchvision is imported here, when it is needed, since importing it takes longer than a match.

    Args:
        name: of a constructor in ``torchvision.models``, ``resnet18`` or ``segmentation.fcn_resnet50``.
        **options: for the constructor.
    """
    from torchvision import models

    build: Callable[..., nn.Module] = operator.attrgetter(name)(models)
    with torch.device("meta"):
        return build(weights=None, **options)
