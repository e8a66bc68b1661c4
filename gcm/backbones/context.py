"""The compact network with a second opinion on the coarse map, which has seen more of the world.

The compact network was trained on homographies of single photos. Beside it runs a stream of its own, as wide
in view and a third of the cost, that starts from XFeat's weights (Potje et al., CVPR 2024, Apache-2.0),
which were trained on photo collections, and goes on learning from scenes with depth and in changing light
(recipe ``configs/distill/context.yml``). The coarse descriptor is a mixture of both; the finer maps are the
compact network's, unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcm.backbones.base import BackboneInfo
from gcm.backbones.compact import COMPACT, Compact, CompactNetwork
from gcm.images.normalisation import PerImage

__all__ = ["INFOS", "Context", "ContextNetwork", "ContextStream"]

_MULTIPLE = 32
"""Pixels: sides the stream pads images to, so that its maps of stride 8, 16 and 32 lie on each other."""


class ContextStream(nn.Module):
    """B x 1 x H x W standardised grey -> B x 64 x H/8 x W/8, not unit length.

    The architecture is that of XFeat's features, with batch norm folded into the convolutions: narrow at full
    resolution, wide only from stride 8 on, and the sum of strides 8, 16 and 32 fused. Its odd kernels centre
    cell c on pixel 8 c, but it was trained to describe the square of the cell: measured on photos and their
    enlargements, what it describes lies at 8 c + 3.2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skip = nn.Conv2d(1, 24, 1)
        self.front = _layers((1, 4, 1), (4, 8, 2), (8, 8, 1), (8, 24, 2))
        self.stage4 = _layers((24, 24, 1), (24, 24, 1))
        self.stage8 = _layers((24, 64, 2), (64, 64, 1), (64, 64, 0))
        self.stage16 = _layers((64, 64, 2), (64, 64, 1), (64, 64, 1))
        self.stage32 = _layers((64, 128, 2), (128, 128, 1), (128, 128, 1), (128, 64, 0))
        self.fuse = nn.Sequential(*_layers((64, 64, 1), (64, 64, 1)), nn.Conv2d(64, 64, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The coarse map of an image whose sides are multiples of 8."""
        height, width = x.shape[-2:]
        x = _padded(x)
        x4 = self.stage4(self.front(x) + self.skip(F.avg_pool2d(x, 4)))
        x8 = self.stage8(x4)
        x16 = self.stage16(x8)
        x32 = self.stage32(x16)
        size = x8.shape[-2:]
        higher = [F.interpolate(m, size, mode="bilinear", align_corners=False) for m in (x16, x32)]
        fused: Tensor = self.fuse(x8 + higher[0] + higher[1])
        return fused[..., : height // 8, : width // 8]


def _layers(*layers: tuple[int, int, int]) -> nn.Sequential:
    """Convolutions with ReLU: inputs, outputs, and the stride of a 3 x 3 one, 0 for one of 1 x 1."""
    modules: list[nn.Module] = []
    for inputs, outputs, stride in layers:
        kernel = 3 if stride else 1
        modules += [
            nn.Conv2d(inputs, outputs, kernel, stride=max(1, stride), padding=kernel // 2),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*modules)


def _padded(x: Tensor) -> Tensor:
    """The image, its sides padded to multiples of 32."""
    height, width = (-side % _MULTIPLE for side in x.shape[-2:])
    return F.pad(x, (0, width, 0, height), mode="replicate")


class ContextNetwork(CompactNetwork):
    """The compact network, its coarse map mixed with that of a second stream.

    Only the second stream and the mixture learn: what the compact network was trained for stays as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)
        self.context = ContextStream()
        coarse = COMPACT.descriptors[-1]
        self.mix = nn.Conv2d(2 * coarse, coarse, 1)

    def train(self, mode: bool = True) -> ContextNetwork:
        """As of any network; the statistics of the compact one stay."""
        super().train(False)
        self.training = mode
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        *fine, coarse = super().forward(x)
        return [*fine, self._mixed(coarse, x)]

    def coarse(self, x: Tensor) -> Tensor:
        return self._mixed(super().coarse(x), x)

    def _mixed(self, own: Tensor, x: Tensor) -> Tensor:
        return self.mix(self._beside(own, x))  # type: ignore[no-any-return]

    def streams(self, x: Tensor) -> Tensor:
        """Both streams' coarse maps, B x 128 x H/8 x W/8: unit descriptors of the one, then of the other."""
        return self._beside(super().coarse(x), x)

    def _beside(self, own: Tensor, x: Tensor) -> Tensor:
        context = self.context(x.mean(dim=1, keepdim=True))
        return torch.cat([F.normalize(own, dim=1), F.normalize(context, dim=1)], dim=1)


class Context(Compact):
    """The network as a backbone."""

    network_type = ContextNetwork


INFOS: tuple[BackboneInfo, ...] = (
    BackboneInfo(
        "GCM_CONTEXT",
        taps=("pixels", "head2", "head4", "mix"),
        strides=(1, 2, 4, 8),
        channels=(COMPACT.pixel, *COMPACT.descriptors),
        weights="gcm_context",
        description="our own embedded network, its coarse level with a wider view of the world",
        citation="this package",
        normalisation=PerImage(grey=True),
    ),
)
