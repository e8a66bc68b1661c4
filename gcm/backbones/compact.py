"""The compact network: descriptors for every level of the hierarchy at a small part of the usual cost.

Most of it is computed at strides 2 to 32 and fused top-down, so that coarse cells see their surroundings
and fine ones know where they are. Full-resolution descriptors are a small function of the stride-2 cell
that covers the pixel, to be evaluated only where there are matches. Trained by ``gcm distill`` (recipe
``configs/distill/compact.yml``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gcm.backbones.base import Backbone, BackboneInfo, load_strictly
from gcm.images.normalisation import PerImage
from gcm.refinement.maps import DenseMap, FeatureMap, SubcellMap

__all__ = ["INFOS", "Compact", "CompactNetwork"]

FINE, MIDDLE, COARSE, TOP = 16, 32, 64, 112
"""Channels computed at stride 2, 4, 8, and at 16 and 32."""

PIXEL_CHANNELS, CHANNELS = 24, (32, 48, 64)
"""Descriptor channels at stride 1, and at strides 2, 4 and 8."""

_PIXEL_HIDDEN = 64

_WHOLE_CELLS = 2**19
"""Cells of the stride-2 map (two megapixels of the image) up to which its layers run on the whole map; those
of a larger one run strip by strip, which takes half the memory."""

_STRIP_ROWS = 64


class CompactNetwork(nn.Module):
    """B x 3 x H x W standardised RGB (sides multiples of 8) -> maps of strides 2, 4, 8, not unit length.

    Only the mean of the channels is looked at, so B x 1 x H x W of that does as well.

    Every stride-2 layer keeps the convention that cell c covers pixels s c .. s c + s - 1: kernels
    are even and pools aligned, so a descriptor's position has no bias that a rotation would turn.
    """

    def __init__(self) -> None:
        super().__init__()
        wide, middle, fine = CHANNELS[2], CHANNELS[1], CHANNELS[0]
        self.stem = _conv(1, FINE, kernel=4, stride=2)
        self.stage2 = _conv(FINE, FINE)
        self.stage4 = nn.Sequential(_Halve(FINE, MIDDLE), _Residual(MIDDLE))
        self.stage8 = nn.Sequential(_Halve(MIDDLE, COARSE), _Residual(COARSE))
        self.stage16 = nn.Sequential(_Halve(COARSE, TOP), _Residual(TOP))
        self.stage32 = nn.Sequential(_Halve(TOP, TOP), _conv(TOP, TOP))
        # Top-down: a 1 x 1 convolution across from each stage, added to what comes from above.
        self.across32, self.across16 = nn.Conv2d(TOP, wide, 1), nn.Conv2d(TOP, wide, 1)
        self.across8, self.fuse8 = (
            nn.Conv2d(COARSE, wide, 1),
            nn.Sequential(_conv(wide, wide), _conv(wide, wide)),
        )
        self.across4, self.down4, self.fuse4 = (
            nn.Conv2d(MIDDLE, MIDDLE, 1),
            nn.Conv2d(wide, MIDDLE, 1),
            _conv(MIDDLE, middle),
        )
        self.across2, self.down2, self.fuse2 = (
            nn.Conv2d(FINE, FINE, 1),
            nn.Conv2d(middle, FINE, 1),
            _conv(FINE, fine),
        )
        self.head8, self.head4, self.head2 = (nn.Conv2d(c, c, 1) for c in (wide, middle, fine))
        self.pixel_hidden = nn.Conv2d(fine, _PIXEL_HIDDEN, 1)
        self.pixel_out = nn.Conv2d(_PIXEL_HIDDEN, 4 * PIXEL_CHANNELS, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """All three maps, fine to coarse."""
        c2, c4, t8 = self._trunk(x)
        t4 = self.fuse4(self.across4(c4) + _enlarge(self.down4(t8), c4))
        if torch.is_grad_enabled() or c2.shape[-2] * c2.shape[-1] <= _WHOLE_CELLS:
            t2 = self.fuse2(self.across2(c2) + _enlarge(self.down2(t4), c2))
            return [self.head2(t2), self.head4(t4), self.head8(t8)]
        maps = [self.head4(t4), self.head8(t8)]
        fused = _enlarge(self.down2(t4), c2)
        del c4, t4, t8
        for rows in _strips(c2):
            fused[..., rows, :] += self.across2(c2[..., rows, :])
        del c2
        return [self._finest_in_strips(fused), *maps]

    def _finest_in_strips(self, fused: Tensor) -> Tensor:
        """``head2(fuse2(fused))`` of a large map, without whole maps between the layers."""
        convolution, norm, relu = self.fuse2
        assert isinstance(convolution, nn.Conv2d)
        height = fused.shape[-2]
        whole: Tensor | None = None
        for rows in _strips(fused):
            top, bottom = max(0, rows.start - 1), min(height, rows.stop + 1)
            missing = (0, 0, top - rows.start + 1, rows.stop + 1 - bottom)  # beyond the map are zeros
            strip = F.pad(fused[..., top:bottom, :], missing)
            strip = F.conv2d(strip, convolution.weight, convolution.bias, padding=(0, 1))
            part = self.head2(relu(norm(strip)))
            if whole is None:
                shape = (*part.shape[:2], *fused.shape[-2:])
                whole = torch.empty(
                    shape, dtype=part.dtype, device=part.device, memory_format=torch.channels_last
                )
            whole[..., rows, :] = part
        assert whole is not None
        return whole

    def coarse(self, x: Tensor) -> Tensor:
        """The stride-8 map alone."""
        return self.head8(self._trunk(x)[2])  # type: ignore[no-any-return]

    def _trunk(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c2 = self.stage2(self.stem(x.mean(dim=1, keepdim=True)))
        c4 = self.stage4(c2)
        c8 = self.stage8(c4)
        c16 = self.stage16(c8)
        c32 = self.stage32(c16)
        t16 = self.across16(c16) + _enlarge(self.across32(c32), c16)
        return c2, c4, self.fuse8(self.across8(c8) + _enlarge(t16, c8))

    def pixels(self, map2: Tensor) -> Tensor:
        """Stride-2 map, B x C x H x W, to full-resolution descriptors, B x C' x 2H x 2W."""
        return F.pixel_shuffle(self.pixel_out(F.relu(self.pixel_hidden(map2))), 2)

    def fused(self) -> CompactNetwork:
        """The same network with batch norm folded into the convolutions; for inference."""
        for module in self.modules():
            if isinstance(module, nn.Sequential) and len(module) > 1:
                convolution, norm = module[0], module[1]
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    module[0] = fuse_conv_bn_eval(convolution, norm)
                    module[1] = nn.Identity()
        return self


def _conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class _Halve(nn.Module):
    """Average-pool by 2, then convolve: aligned, and free of aliasing."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < 2:  # a map of one cell stands for itself
            return self.conv(x)  # type: ignore[no-any-return]
        return self.conv(F.avg_pool2d(x, 2))  # type: ignore[no-any-return]


class _Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _conv(channels, channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))  # type: ignore[no-any-return]


def _strips(feature_map: Tensor) -> Iterator[slice]:
    """Rows of a map, some at a time."""
    height = feature_map.shape[-2]
    for start in range(0, height, _STRIP_ROWS):
        yield slice(start, min(height, start + _STRIP_ROWS))


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class Compact(Backbone):
    """The compact network as a backbone; its full-resolution map is computed where it is asked for."""

    network_type = CompactNetwork

    def __init__(self, info: BackboneInfo) -> None:
        super().__init__()
        self.info = info
        self.network: CompactNetwork = self.network_type()

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.network(x)
        return [self.network.pixels(maps[0]), *maps]

    @property
    def kept_taps(self) -> tuple[str, ...]:
        return self.info.taps[1:]

    def kept_maps(self, x: Tensor) -> list[Tensor]:
        return self.network(x)  # type: ignore[no-any-return]

    def stored(self, maps: Sequence[FeatureMap]) -> list[Tensor] | None:
        # The first is a function of the second.
        return super().stored(maps[1:])

    def restored(self, tensors: Sequence[Tensor]) -> list[FeatureMap]:
        hidden, out = self.network.pixel_hidden, self.network.pixel_out
        assert hidden.bias is not None
        assert out.bias is not None
        layers = (hidden.weight.flatten(1), hidden.bias), (out.weight.flatten(1), out.bias)
        strides = self.info.strides[1:]
        return [
            SubcellMap(tensors[0], *layers),
            *(DenseMap(tensor, stride) for tensor, stride in zip(tensors, strides, strict=True)),
        ]

    def coarsest(self, x: Tensor) -> Tensor:
        return self.network.coarse(x)

    def load_weights(self, state: Mapping[str, Tensor], origin: str) -> None:
        load_strictly(self.network, state, origin)
        self.network = self.network.eval().fused()


INFOS: tuple[BackboneInfo, ...] = (
    BackboneInfo(
        "GCM_COMPACT",
        taps=("pixels", "head2", "head4", "head8"),
        strides=(1, 2, 4, 8),
        channels=(PIXEL_CHANNELS, *CHANNELS),
        weights="gcm_compact",
        description="our own embedded network, descriptors of all levels",
        citation="this package",
        normalisation=PerImage(grey=True),  # all that the network sees of colour
    ),
)
