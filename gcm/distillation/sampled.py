"""Run a dilated patch network at a sparse grid of positions, exactly and cheaply.

A patch network computes every layer at full resolution, but neighbouring descriptors are nearly
the same, so training on all of them wastes most of the work. Its layers are dilated by the strides
they stand for; an output grid of step S therefore needs, layer by layer from the end, inputs only on
a grid of step gcd(S, dilation). Each layer then becomes an ordinary convolution of smaller dilation
and larger stride, with the same values at the positions that remain: at S = 4 the student costs a
thirteenth. Convolutions are unpadded here, so no sample sees the border.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from gcm.backbones.r2d2 import PatchNetwork

__all__ = ["sampled_forward"]


def sampled_forward(network: PatchNetwork, x: Tensor, step: int) -> Tensor:
    """Descriptors at every `step`-th pixel, starting ``network.margins[0]`` pixels from the top left.

    Args:
        x: B x 3 x H x W normalised RGB.
        step: grid step in pixels.

    Returns:
        B x C x h x w; element (i, j) equals ``network(x)[..., before + step * i, before + step * j]``
        up to rounding (in evaluation mode), where the receptive field lies inside.
    """
    # Grid step of each layer's input, found from the last layer backwards; the last entry is the output's.
    steps = [step]
    for layer in reversed(network.layers):
        steps.append(math.gcd(steps[-1], layer.dilation) if layer.kernel > 1 else steps[-1])
    if steps[-1] != 1:
        x = x[..., :: steps[-1], :: steps[-1]]
    per_layer = iter(zip(network.layers, pairwise(reversed(steps)), strict=True))
    for op in network.ops:
        if isinstance(op, nn.Conv2d):
            layer, (step_in, step_out) = next(per_layer)
            x = F.conv2d(
                x, op.weight, op.bias, stride=step_out // step_in, dilation=max(layer.dilation // step_in, 1)
            )
        else:
            x = op(x)
    return x
