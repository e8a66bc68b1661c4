"""Running a patch network strip by strip, and at chosen pixels only.

A patch network keeps full resolution, so its layers' outputs are large: one of a 600 x 800 image takes
246 MB. Here an image runs through all layers in strips of a few rows, of which each layer keeps just those
the next strip still needs: nothing is computed twice, and what lies between layers stays small.

The last two layers are the dearest, and a refinement asks for descriptors of only some 7 % of the
pixels. These layers have no ReLU and few taps far apart, so they can be computed for chosen pixels
alone, as matrix products of gathered rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gcm.refinement.maps import all_cells

__all__ = ["FoldedLayer", "SampledDescriptors", "run_dense"]

STRIP_PIXELS = {"cpu": 2**15}
"""Pixels computed at once, by device; more of them fill a GPU better."""
_STRIP_ELSEWHERE = 2**21

SPARSE_LAYERS = 2
"""Layers at the end that are computed only where they are wanted."""

KEPT_BYTES = 2**30
"""Most that is kept of an image that may come again, so that it need not run through the network again."""

BAND_PIXELS = 2**17
"""Pixels whose sparse layers are computed at once: what two bands share is computed twice."""

_GATHERED = 2**13
"""Descriptors whose taps are gathered at once."""


@dataclass(frozen=True)
class FoldedLayer:
    """A convolution with its batch norm folded in: relu(weight * x + bias), of the size of x."""

    weight: Tensor
    bias: Tensor
    dilation: int
    relu: bool

    @property
    def reach(self) -> int:
        """Pixels the kernel reaches to each side; it must be symmetric."""
        return (self.weight.shape[-1] - 1) * self.dilation // 2

    def rows(self, x: Tensor, top: int, bottom: int) -> Tensor:
        """Rows of output from rows of input, B x C x h x W; first adds `top` and `bottom` rows of zeros."""
        if top or bottom:
            x = F.pad(x, (0, 0, top, bottom))
        y = F.conv2d(x, self.weight, self.bias, padding=(0, self.reach), dilation=self.dilation)
        return y.relu_() if self.relu else y

    def at(self, x: Tensor, places: Tensor, outside: Tensor) -> Tensor:
        """Output at N pixels, N x C, from gathered input.

        Args:
            x: M x C_in, rows of input.
            places: N x (kernel squared) int64, the row of `x` that each tap reads.
            outside: the same shape; taps beyond the image, which read zero instead.
        """
        weight = self.weight.permute(2, 3, 1, 0).reshape(-1, len(self.weight))
        if not len(x):  # every tap lies beyond the image
            x = x.new_zeros(1, x.shape[1])
        out = x.new_empty(len(places), len(self.weight))
        for start in range(0, len(places), _GATHERED):
            part = slice(start, start + _GATHERED)
            taps = x.index_select(0, places[part].flatten())
            if bool(outside[part].any()):
                taps[outside[part].flatten()] = 0
            torch.addmm(self.bias, taps.view(-1, len(weight)), weight, out=out[part])
        return out.relu_() if self.relu else out

    def taps(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns of the pixels that N pixels of output read, each N x (kernel squared)."""
        size = self.weight.shape[-1]
        steps = torch.arange(size, device=rows.device) * self.dilation - self.reach
        y = (rows[:, None] + steps)[:, :, None].expand(-1, -1, size)
        x = (columns[:, None] + steps)[:, None, :].expand(-1, size, -1)
        return y.flatten(1), x.flatten(1)


def strips(layers: Sequence[FoldedLayer], x: Tensor) -> Iterator[Tensor]:
    """Rows of the last layer's output, in order and without gaps.

    Args:
        layers: run one after another.
        x: B x C x H x W.
    """
    height, width = x.shape[-2:]
    at_once = max(8, STRIP_PIXELS.get(x.device.type, _STRIP_ELSEWHERE) // max(1, width))
    # Of each layer: input rows still needed, of which the first is max(0, done - reach); output rows given.
    kept: list[Tensor | None] = [None] * len(layers)
    done = [0] * len(layers)
    for start in range(0, height, at_once):
        rows, end = x[..., start : start + at_once, :], min(height, start + at_once)
        for k, layer in enumerate(layers):
            old, reach = kept[k], layer.reach
            rows = rows if old is None else torch.cat([old, rows], dim=-2)
            first = max(0, done[k] - reach)
            last = height if end == height else end - reach
            if last <= done[k]:  # too few for a row of output
                kept[k] = rows
                break
            keep = max(0, last - reach)
            kept[k] = None if end == height else rows[..., keep - first :, :].clone()
            rows = layer.rows(rows, max(0, reach - done[k]), reach if end == height else 0)
            done[k] = end = last
        else:
            yield rows


def run_dense(layers: Sequence[FoldedLayer], x: Tensor) -> Tensor:
    """Output of all layers, B x C x H x W, channels last.

    Args:
        layers: run one after another.
        x: B x C_in x H x W.
    """
    out: Tensor | None = None
    done = 0
    for rows in strips(layers, x):
        if out is None:
            shape = (*rows.shape[:2], *x.shape[-2:])
            out = torch.empty(shape, dtype=rows.dtype, device=x.device, memory_format=torch.channels_last)
        out[..., done : done + rows.shape[-2], :] = rows
        done += rows.shape[-2]
    assert out is not None
    return out


class SampledDescriptors:
    """A patch network's full-resolution map of an image, of which only what is asked for is computed.

    Args:
        layers: of the network.
        shape: channels, height and width of the map.
        image: gives the network's input, 1 x 3 x H x W; called when descriptors are asked for.
        keep: whether the image may come again; then the output of the dense layers is kept if it is not
            larger than :data:`KEPT_BYTES`.
    """

    stride = 1
    cheaper_at_once = True

    def __init__(
        self,
        layers: Sequence[FoldedLayer],
        shape: tuple[int, int, int],
        image: Callable[[], Tensor],
        *,
        keep: bool,
    ) -> None:
        split = max(1, len(layers) - SPARSE_LAYERS)
        self._dense, self._sparse = layers[:split], layers[split:]
        self.shape = shape
        self.image = image
        self._trunk: Tensor | None = None
        width = len(self._dense[-1].weight)
        size = layers[0].weight.element_size() * width * shape[1] * shape[2]
        self._keep = keep and size <= KEPT_BYTES
        self.nbytes = size if self._keep else 0
        """Memory that is kept, at the latest once descriptors have been asked for."""

    def _input(self) -> Tensor:
        return self.image().to(self._dense[0].weight.dtype)

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self._dense[0].weight.device

    def at(self, cells: Tensor) -> Tensor:
        """Unit descriptors, ... x C float32, of ... x 2 int64 pixels (x, y) inside the map."""
        return F.normalize(self.descriptors(cells), dim=-1)

    def flat(self) -> Tensor:
        """All unit descriptors, (H W) x C, row by row."""
        return self.at(all_cells(self))

    def prepared(self) -> SampledDescriptors:
        """Itself: it keeps what is worth keeping."""
        return self

    def descriptors(self, cells: Tensor) -> Tensor:
        """Descriptors, ... x C float32 and not of unit length, at pixels.

        Args:
            cells: ... x 2 int64, (x, y), inside the map.
        """
        width = self.shape[2]
        out = torch.empty(*cells.shape[:-1], self.shape[0], dtype=torch.float32, device=cells.device)
        if not cells.numel():
            return out
        # Each pixel once, row by row, however many matches share it.
        flat = cells[..., 1].flatten() * width + cells[..., 0].flatten()
        order, back = torch.unique(flat, return_inverse=True)
        rows, columns = order // width, order % width
        computed = torch.empty(len(order), self.shape[0], dtype=torch.float32, device=cells.device)
        reach = sum(layer.reach for layer in self._sparse)
        for buffer, origin, low, high in self._buffers(int(rows[0]), int(rows[-1]), reach):
            part = slice(*torch.searchsorted(rows, torch.tensor([low, high], device=rows.device)).tolist())
            if part.start < part.stop:
                computed[part] = self._tail(buffer, origin, rows[part], columns[part])
        return torch.index_select(computed, 0, back, out=out.view(-1, self.shape[0])).view(out.shape)

    def _buffers(self, first: int, last: int, reach: int) -> Iterator[tuple[Tensor, int, int, int]]:
        """Rows of the dense layers' output that suffice for descriptors of successive rows `first` to `last`.

        Yields h x W x C rows, the image row they begin with, and the range of rows they suffice for.
        """
        _, height, width = self.shape
        at_once = max(8, BAND_PIXELS // width)
        if self._keep and self._trunk is None:
            self._trunk = run_dense(self._dense, self._input())[0].permute(1, 2, 0)
        if self._trunk is not None:
            for low in range(first, last + 1, at_once):
                origin, high = max(0, low - reach), min(low + at_once, last + 1)
                yield self._trunk[origin : high + reach], origin, low, high
            return
        # Only the rows that what is wanted can see.
        sight = reach + sum(layer.reach for layer in self._dense)
        top, bottom = max(0, first - sight), min(height, last + 1 + sight)
        pieces: list[Tensor] = []
        origin, low, end = top, first, top
        for strip in strips(self._dense, self._input()[..., top:bottom, :]):
            pieces.append(strip[0].permute(1, 2, 0))
            end += strip.shape[-2]
            high = min(last + 1, end if end == height else end - reach)
            if high - low >= at_once or high > last:
                buffer = torch.cat(pieces)
                yield buffer, origin, low, high
                if high > last:
                    return
                drop = max(0, high - reach - origin)
                pieces, origin, low = [buffer[drop:].clone()], origin + drop, high

    def _tail(self, buffer: Tensor, origin: int, rows: Tensor, columns: Tensor) -> Tensor:
        """The last layers at N pixels (each once, sorted row by row), from h x W x C rows: N x C."""
        _, height, width = self.shape
        # Which pixels each layer must give: what the next one reads, back from what is wanted.
        wanted = [(rows, columns)]
        for layer in reversed(self._sparse[1:]):
            wanted.append(_seen_by(layer, *wanted[-1], height, width))
        values = buffer.reshape(-1, buffer.shape[2])
        place: Tensor | None = None  # of each pixel from row `origin` on among `values`; None: all are there
        for layer, pixels in zip(self._sparse, reversed(wanted), strict=True):
            y, x = layer.taps(*pixels)
            outside = (y < 0) | (y >= height) | (x < 0) | (x >= width)
            index = ((y - origin) * width + x).masked_fill_(outside, 0)
            values = layer.at(values, index if place is None else place[index], outside)
            place = torch.zeros(len(buffer) * width, dtype=torch.int64, device=buffer.device)
            place[(pixels[0] - origin) * width + pixels[1]] = torch.arange(len(values), device=buffer.device)
        index = (rows - origin) * width + columns
        return values[index if place is None else place[index]].float()


def _seen_by(
    layer: FoldedLayer, rows: Tensor, columns: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """The pixels inside the image that a layer reads for its output at some pixels; each once, sorted."""
    if not len(rows):
        return rows, columns
    low, high = max(0, int(rows[0]) - layer.reach), min(height, int(rows[-1]) + layer.reach + 1)
    mask = torch.zeros(high - low, width, dtype=torch.bool, device=rows.device)
    steps = range(-layer.reach, layer.reach + 1, layer.dilation)
    for dy in steps:
        for dx in steps:
            y, x = rows + dy, columns + dx
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            mask[y[inside] - low, x[inside]] = True
    y, x = mask.nonzero(as_tuple=True)
    return y + low, x
