"""Feature extractors of two stereo networks that share a trunk: PSMNet and DeepPruner-fast.

A residual trunk, average-pooled at several sizes, and all of it fused into 32 channels. Residual blocks have
no ReLU after their sum.

Sources: PSMNet (arXiv 1803.08669), table 1; DeepPruner (arXiv 1909.05845), whose fast variant goes to
stride 8 in place of dilating.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcm.backbones.base import Backbone, BackboneInfo, load_strictly

__all__ = ["INFOS", "PyramidStereo"]


@dataclass(frozen=True)
class _Variant:
    """Where the two networks differ."""

    deep_stride: int
    """Stride of layer3."""
    dilation: int
    """Dilation of layer4."""
    pools: tuple[tuple[int, int], ...]
    """Number of the branch in the checkpoint, and cells it averages over, in the order of concatenation."""
    fused: int
    """Channels that are concatenated."""
    nested: bool
    """Whether checkpoints hold convolution and norm one level deeper than the ReLU that follows them."""


_VARIANTS = {
    "PSM": _Variant(1, 2, ((4, 8), (3, 16), (2, 32), (1, 64)), 320, nested=True),
    "DEEPPRUNER_FATS": _Variant(2, 1, ((4, 8), (3, 16), (2, 32)), 352, nested=False),
}

INFOS: tuple[BackboneInfo, ...] = (
    BackboneInfo(
        "PSM",
        taps=("layer1", "lastconv", "lastconv halved"),
        strides=(2, 4, 8),
        channels=(32, 32, 32),
        weights="psmnet_kitti2015",
        description="feature extractor of PSMNet",
        citation="Chang and Chen, Pyramid Stereo Matching Network, CVPR 2018 (arXiv 1803.08669)",
    ),
    BackboneInfo(
        "DEEPPRUNER_FATS",
        taps=("layer1", "layer2", "lastconv"),
        strides=(2, 4, 8),
        channels=(32, 64, 32),
        weights="deeppruner_fast_kitti",
        description="feature extractor of DeepPruner-fast",
        citation="Duggal et al., DeepPruner, ICCV 2019 (arXiv 1909.05845)",
    ),
)


class PyramidStereo(Backbone):
    """The feature extractor of PSMNet or DeepPruner-fast; modules are named as in their checkpoints."""

    def __init__(self, info: BackboneInfo) -> None:
        super().__init__()
        self.info = info
        self.variant = variant = _VARIANTS[info.name]
        nested = variant.nested
        self.firstconv = nn.Sequential(
            *_unit(3, 32, stride=2, nested=nested),
            *_unit(32, 32, nested=nested),
            *_unit(32, 32, nested=nested),
        )
        self.layer1 = _layer(32, 32, 3, nested=nested)
        self.layer2 = _layer(32, 64, 16, stride=2, nested=nested)
        self.layer3 = _layer(64, 128, 3, stride=variant.deep_stride, nested=nested)
        self.layer4 = _layer(128, 128, 3, dilation=variant.dilation, nested=nested)
        for number, cells in variant.pools:
            branch = nn.Sequential(_Pool(cells), *_unit(128, 32, kernel=1, nested=nested))
            self.add_module(f"branch{number}", branch)
        self.lastconv = nn.Sequential(
            *_unit(variant.fused, 128, nested=nested), nn.Conv2d(128, 32, 1, bias=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.layer1(self.firstconv(x))
        middle = self.layer2(fine)
        third = self.layer3(middle)
        deep = self.layer4(third)
        size = deep.shape[-2:]
        branches = [
            F.interpolate(
                self.get_submodule(f"branch{number}")(deep), size, mode="bilinear", align_corners=False
            )
            for number, _ in self.variant.pools
        ]
        skip = middle if self.variant.deep_stride == 1 else third  # the shallower map of the same size
        output = self.lastconv(torch.cat((skip, deep, *branches), dim=1))
        if self.variant.deep_stride == 1:
            return [fine, output, F.interpolate(output, scale_factor=0.5, mode="nearest")]
        return [fine, middle, output]

    def load_weights(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Load the feature extractor from a checkpoint of the whole network or of the extractor alone."""
        state = {_canonical(key, self.variant): value for key, value in state.items()}
        bare = any(key.startswith("firstconv.") for key in state)
        load_strictly(self, state, origin, prefix="" if bare else "feature_extraction.")


def _canonical(key: str, variant: _Variant) -> str:
    """A key without ``module.``; that of a PSMNet that nests ``firstconv`` deeper, as in the original."""
    key = key.removeprefix("module.")
    if not variant.nested:
        return key
    return re.sub(
        r"(^|\.)firstconv\.([0-2])\.0\.([01])\.", lambda m: f"{m[1]}firstconv.{2 * int(m[2])}.{m[3]}.", key
    )


class _Block(nn.Module):
    """conv-BN-ReLU-conv-BN plus the input, brought to shape by a 1 x 1 convolution where need be."""

    def __init__(self, channels: int, out: int, stride: int, dilation: int, nested: bool) -> None:
        super().__init__()
        first = _unit(channels, out, stride=stride, dilation=dilation, nested=nested)
        self.conv1 = nn.Sequential(*first) if nested else first[0]
        self.conv2 = _unit(out, out, dilation=dilation, nested=True)[0]
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.conv2(self.conv1(x)) + shortcut
        return result


class _Pool(nn.Module):
    """Average over squares of so many cells, or over all there are when the map is smaller."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, (min(self.cells, x.shape[-2]), min(self.cells, x.shape[-1])))


def _layer(
    channels: int, out: int, blocks: int, *, stride: int = 1, dilation: int = 1, nested: bool
) -> nn.Sequential:
    first = _Block(channels, out, stride, dilation, nested)
    return nn.Sequential(first, *(_Block(out, out, 1, dilation, nested) for _ in range(blocks - 1)))


def _unit(
    channels: int, out: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1, nested: bool
) -> list[nn.Module]:
    """conv-BN-ReLU as one module, or as two with the ReLU apart."""
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(
        channels, out, kernel, stride=stride, padding=padding, dilation=dilation, bias=False
    )
    pair = (convolution, nn.BatchNorm2d(out))
    relu = nn.ReLU(inplace=True)
    return [nn.Sequential(*pair), relu] if nested else [nn.Sequential(*pair, relu)]
