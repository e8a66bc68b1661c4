"""The compact network: descriptors for every level of the hierarchy at a small part of the usual cost.

Most of it is computed at strides 2 to 32 and fused top-down, so that coarse cells see their surroundings
and fine ones know where they are. Full-resolution descriptors are a small function of the stride-2 cell
that covers the pixel, to be evaluated only where there are matches. Trained by ``gcm distill`` (recipe
``configs/distill/compact.yml``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gcm.backbones.base import Backbone, BackboneInfo, load_strictly
from gcm.images.normalisation import PerImage
from gcm.refinement.maps import DenseMap, FeatureMap, SubcellMap

__all__ = ["COMPACT", "INFOS", "Compact", "CompactNetwork", "Widths"]


@dataclass(frozen=True)
class Widths:
    """Channels of a compact network."""

    computed: tuple[int, int, int, int]
    """At stride 2, 4, 8, and at 16 and 32."""
    descriptors: tuple[int, int, int]
    """Of a descriptor at strides 2, 4 and 8."""
    pixel: int
    """Of a descriptor at full resolution."""
    pixel_hidden: int
    """Between that of stride 2 and that."""
    finest_head: bool = True
    """Whether a 1 x 1 convolution makes the descriptor of stride 2. If not, it is what the last 3 x 3 one
    gives, without ReLU: that saves a sixth of the time of the whole."""


COMPACT = Widths((16, 32, 64, 112), (32, 48, 64), 24, 64)

_WHOLE_CELLS = {"cpu": 2**17}
"""Cells of the stride-2 map up to which its layers run on the whole map, by device. Those of a larger one run
strip by strip: what they pass on stays in a core's cache, and takes no memory."""
_WHOLE_ELSEWHERE = 2**19

_STRIP_CELLS = {"cpu": 2**14}
"""Cells of a strip."""
_STRIP_ELSEWHERE = 2**17


class CompactNetwork(nn.Module):
    """B x 3 x H x W standardised RGB (sides multiples of 8) -> maps of strides 2, 4, 8, not unit length.

    Only the mean of the channels is looked at, so B x 1 x H x W of that does as well.

    Every stride-2 layer keeps the convention that cell c covers pixels s c .. s c + s - 1: kernels
    are even and pools aligned, so a descriptor's position has no bias that a rotation would turn.
    """

    def __init__(self, widths: Widths = COMPACT) -> None:
        super().__init__()
        self.widths = widths
        c2, c4, c8, c16 = widths.computed
        d2, d4, d8 = widths.descriptors
        self.stem = _conv(1, c2, kernel=4, stride=2)
        self.stage2 = _conv(c2, c2)
        self.stage4 = nn.Sequential(_Halve(c2, c4), _Residual(c4))
        self.stage8 = nn.Sequential(_Halve(c4, c8), _Residual(c8))
        self.stage16 = nn.Sequential(_Halve(c8, c16), _Residual(c16))
        self.stage32 = nn.Sequential(_Halve(c16, c16), _conv(c16, c16))
        # Top-down: a 1 x 1 convolution across from each stage, added to what comes from above.
        self.across32, self.across16, self.across8 = (nn.Conv2d(c, d8, 1) for c in (c16, c16, c8))
        self.fuse8 = nn.Sequential(_conv(d8, d8), _conv(d8, d8))
        self.across4, self.down4, self.fuse4 = nn.Conv2d(c4, c4, 1), nn.Conv2d(d8, c4, 1), _conv(c4, d4)
        self.across2, self.down2, self.fuse2 = nn.Conv2d(c2, c2, 1), nn.Conv2d(d4, c2, 1), _conv(c2, d2)
        self.head8, self.head4 = nn.Conv2d(d8, d8, 1), nn.Conv2d(d4, d4, 1)
        self.head2: nn.Module = nn.Conv2d(d2, d2, 1)
        if not widths.finest_head:
            self.fuse2[2] = self.head2 = nn.Identity()
        self.pixel_hidden = nn.Conv2d(d2, widths.pixel_hidden, 1)
        self.pixel_out = nn.Conv2d(widths.pixel_hidden, 4 * widths.pixel, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """All three maps, fine to coarse."""
        x = _grey(x)
        if torch.is_grad_enabled() or len(_strips(x)) == 1:
            c2 = self.stage2(self.stem(x))
            c4 = self.stage4(c2)
            t8 = self._wide(c4)
            t4 = self._middle(c4, t8)
            t2 = self.fuse2(self.across2(c2).add_(_enlarge(self.down2(t4), c2)))
            return [self.head2(t2), self.head4(t4), self.head8(t8)]
        if len(x) > 1:
            return [torch.cat(maps) for maps in zip(*(self(one) for one in torch.split(x, 1)), strict=True)]
        return self._in_strips(x)

    def _in_strips(self, x: Tensor) -> list[Tensor]:
        """All three maps of one large image."""
        strips, pooled = _strips(x), []
        below = _Stacked(x, self.widths.computed[0], self.widths.descriptors[0])
        for rows in strips:
            strip = self._narrow(x, rows)
            pooled.append(F.avg_pool2d(strip, 2))
            below.put(rows, strip)
        c4 = self._quarter(torch.cat(pooled, dim=-2))
        del pooled
        t8 = self._wide(c4)
        t4 = self._middle(c4, t8)
        del c4
        coarse = self.head8(t8)
        del t8
        finest = self._finest(below, t4, strips)
        for rows in _strips(x, stride=4):  # into the memory of what it is made from
            t4[..., rows, :] = self.head4(t4[..., rows, :])
        return [finest, t4, coarse]

    def coarse(self, x: Tensor) -> Tensor:
        """The stride-8 map alone."""
        x = _grey(x)
        if torch.is_grad_enabled() or len(_strips(x)) == 1:
            c4 = self.stage4(self.stage2(self.stem(x)))
        else:
            pooled = [F.avg_pool2d(self._narrow(x, rows), 2) for rows in _strips(x)]
            c4 = self._quarter(torch.cat(pooled, dim=-2))
        return self.head8(self._wide(c4))  # type: ignore[no-any-return]

    def _wide(self, c4: Tensor) -> Tensor:
        """From stride 4 down to 32 and up again to 8."""
        c8 = self.stage8(c4)
        c16 = self.stage16(c8)
        c32 = self.stage32(c16)
        t16 = self.across16(c16).add_(_enlarge(self.across32(c32), c16))
        return self.fuse8(self.across8(c8).add_(_enlarge(t16, c8)))  # type: ignore[no-any-return]

    def _middle(self, c4: Tensor, t8: Tensor) -> Tensor:
        """From stride 8 up to 4."""
        return self.fuse4(self.across4(c4).add_(_enlarge(self.down4(t8), c4)))  # type: ignore[no-any-return]

    def _narrow(self, x: Tensor, rows: slice) -> Tensor:
        """Some rows of ``stage2(stem(x))``."""
        height = x.shape[-2] // 2
        first, last = max(0, rows.start - 1), min(height, rows.stop + 1)
        # Row r of the stem sees rows 2 r - 1 to 2 r + 2 of the image.
        top, bottom = max(0, 2 * first - 1), min(2 * height, 2 * last + 1)
        part = _with_zeros(x[..., top:bottom, :], first == 0, last == height)
        stem = _without_rows(self.stem, part)
        return _without_rows(self.stage2, _with_zeros(stem, rows.start == 0, rows.stop == height))

    def _quarter(self, pooled: Tensor) -> Tensor:
        """``stage4``, from what it pools."""
        halve, residual = self.stage4
        assert isinstance(halve, _Halve)
        return residual(halve.conv(pooled))  # type: ignore[no-any-return]

    def _finest(self, below: _Stacked, t4: Tensor, strips: list[slice]) -> Tensor:
        """The map of stride 2, from what the way down gave of it and stride 4."""
        before: list[Tensor] = []
        fused = self._fused(below, t4, strips[0])
        for rows, following in zip(strips, [*strips[1:], None], strict=True):
            after = [] if following is None else [self._fused(below, t4, following)]
            parts = [*before, fused, *(strip[..., :1, :] for strip in after)]
            padded = _with_zeros(torch.cat(parts, dim=-2), not before, not after)
            below.whole[..., rows, :] = self.head2(_without_rows(self.fuse2, padded))
            before, fused = [fused[..., -1:, :]], after[0] if after else fused
        return below.whole

    def _fused(self, below: _Stacked, t4: Tensor, rows: slice) -> Tensor:
        """Some rows of what ``fuse2`` sees; arguments as of :meth:`_finest`."""
        own = self.across2(below.get(rows))
        # Each row is a mixture of the two nearest above; at a border, of the first or the last with itself.
        first, last = max(0, rows.start // 2 - 1), min(t4.shape[-2], rows.stop // 2 + 1)
        part = self.down2(t4[..., first:last, :])
        size = (2 * part.shape[-2], own.shape[-1])
        enlarged = F.interpolate(part, size=size, mode="bilinear", align_corners=False)
        return own.add_(enlarged[..., rows.start - 2 * first : rows.stop - 2 * first, :])  # type: ignore[no-any-return]

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


class _Stacked:
    """The finest map of a large image, and in the same memory what the way down gives of stride 2.

    That lies at the end of the memory. The map takes more a row, so that when its rows are written in their
    order none overwrites what has not been read; and until then most of its memory is not touched.

    Args:
        image: 1 x C x H x W.
        below, channels: of what the way down gives, and of the map.
    """

    def __init__(self, image: Tensor, below: int, channels: int) -> None:
        self._size = image.shape[-2] // 2, image.shape[-1] // 2
        self._channels = below, channels
        self._device = image.device
        self._made: tuple[Tensor, Tensor] | None = None

    def put(self, rows: slice, strip: Tensor) -> None:
        """Keep a strip of what the way down gives."""
        height, width = self._size
        below, channels = self._channels
        if self._made is None:  # in the precision that is computed in
            memory = torch.empty(height * width * channels, dtype=strip.dtype, device=self._device)
            kept = memory[height * width * (channels - below) :].view(1, height, width, below)
            whole = memory.view(1, height, width, channels)
            self._made = kept.permute(0, 3, 1, 2), whole.permute(0, 3, 1, 2)
        self._made[0][..., rows, :] = strip

    def get(self, rows: slice) -> Tensor:
        """A strip of it."""
        assert self._made is not None
        return self._made[0][..., rows, :]

    @property
    def whole(self) -> Tensor:
        """The map, 1 x C x H/2 x W/2."""
        assert self._made is not None
        return self._made[1]


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
        y: Tensor = self.second(self.first(x))
        return x + y if torch.is_grad_enabled() else y.add_(x)


def _grey(x: Tensor) -> Tensor:
    return x if x.shape[1] == 1 else x.mean(dim=1, keepdim=True)


def _strips(x: Tensor, stride: int = 2) -> list[slice]:
    """Rows of an image's map of that stride that are computed at once, even numbers of them."""
    height, width = x.shape[-2] // stride, x.shape[-1] // stride
    if height * width <= _WHOLE_CELLS.get(x.device.type, _WHOLE_ELSEWHERE):
        return [slice(0, height)]
    rows = max(2, _STRIP_CELLS.get(x.device.type, _STRIP_ELSEWHERE) // (2 * width) * 2)
    return [slice(start, min(height, start + rows)) for start in range(0, height, rows)]


def _with_zeros(x: Tensor, top: bool, bottom: bool) -> Tensor:
    """A row of zeros added where a strip ends with its map."""
    return F.pad(x, (0, 0, int(top), int(bottom))) if top or bottom else x


def _without_rows(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer of :func:`_conv` without the zeros it adds above and below."""
    convolution, norm, relu = layer.children()
    assert isinstance(convolution, nn.Conv2d)
    x = F.conv2d(x, convolution.weight, convolution.bias, stride=convolution.stride, padding=(0, 1))
    return relu(norm(x))  # type: ignore[no-any-return]


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class Compact(Backbone):
    """The compact network as a backbone; its full-resolution map is computed where it is asked for."""

    network_type: type[CompactNetwork] = CompactNetwork

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
        channels=(COMPACT.pixel, *COMPACT.descriptors),
        weights="gcm_compact",
        description="our own embedded network, descriptors of all levels",
        citation="this package",
        normalisation=PerImage(grey=True),  # all that the network sees of colour
    ),
)
