"""A small network that matches keypoints of two images by looking at both.

Descriptors are compared after a few rounds in which each keypoint attends to those of its own image and to
those of the other; what it is like alone matters less than what it stands among. The architecture is
LightGlue's (Lindenberger et al., ICCV 2023) in the size of XFeat's LighterGlue (Potje et al., CVPR 2024,
Apache-2.0), whose weights it starts from (recipe ``configs/distill/attention.yml``).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcm.backbones.context import ContextStream

__all__ = ["AttentionMatcher", "AttentionNetwork", "KeypointHeads", "KeypointNetwork"]

_INPUTS, _CHANNELS, _LAYERS = 64, 96, 6
_CELL = 8


class KeypointNetwork(Protocol):
    """What finds keypoints and matches them: :class:`AttentionNetwork`, whatever computes it."""

    def detect(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`AttentionNetwork.detect`."""

    def matcher(
        self, points0: Tensor, points1: Tensor, descriptors0: Tensor, descriptors1: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`AttentionMatcher`."""


class KeypointHeads(nn.Module):
    """Where keypoints are, and how well each can be relied on; on top of :class:`ContextStream`."""

    def __init__(self) -> None:
        super().__init__()
        self.reliability = _pointwise(64, 64, 64, 1)
        self.place = _pointwise(64, 64, 64, 64, 65)

    def forward(self, x: Tensor, coarse: Tensor) -> Tensor:
        """B x 1 x H x W scores of every pixel, 0 to 1.

        Args:
            x: B x 1 x H x W standardised grey, sides multiples of 8.
            coarse: B x 64 x H/8 x W/8, of the stream.
        """
        # Of the 65 outcomes the last is that a cell holds no keypoint.
        places = self.place(F.pixel_unshuffle(x, _CELL)).float().softmax(dim=1)[:, :-1]
        reliability = self.reliability(coarse).float().sigmoid()
        return F.pixel_shuffle(places, _CELL) * F.interpolate(
            reliability, scale_factor=_CELL, mode="bilinear", align_corners=False
        )


def _pointwise(*channels: int) -> nn.Sequential:
    """1 x 1 convolutions with ReLU between them."""
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        modules += [nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules[:-1])


class AttentionMatcher(nn.Module):
    """Keypoints and descriptors of two images to the logarithms of the probabilities that they match."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(_INPUTS, _CHANNELS)
        self.frequencies = nn.Linear(2, _CHANNELS // 2, bias=False)
        self.layers = nn.ModuleList(_Layer() for _ in range(_LAYERS))
        self.matchability = nn.Linear(_CHANNELS, 1)
        self.compare = nn.Linear(_CHANNELS, _CHANNELS)

    def forward(
        self, points0: Tensor, points1: Tensor, descriptors0: Tensor, descriptors1: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Match.

        Args:
            points0, points1: B x M x 2 and B x N x 2: -1 to 1 along the longer side, 0 in the middle.
            descriptors0, descriptors1: B x M x 64 and B x N x 64, unit length.

        Returns:
            B x M x N log probability that two keypoints match; B x M and B x N logits that a keypoint has a
            match at all.
        """
        turns = [self._rotation(points) for points in (points0, points1)]
        states = [self.project(d) for d in (descriptors0, descriptors1)]
        for layer in self.layers:
            states = layer(states, turns)
        a, b = (self.compare(state) / _CHANNELS**0.25 for state in states)
        similarity = a.float() @ b.float().transpose(1, 2)
        logits = [self.matchability(state).float()[..., 0] for state in states]
        certain = F.logsigmoid(logits[0])[:, :, None] + F.logsigmoid(logits[1])[:, None]
        log_probability = similarity.log_softmax(dim=2) + similarity.log_softmax(dim=1) + certain
        return log_probability, logits[0], logits[1]

    def _rotation(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, B x N x C, by which pairs of channels are turned: position as a phase."""
        angles = self.frequencies(points).repeat_interleave(2, dim=-1)
        return angles.cos(), angles.sin()


class _Layer(nn.Module):
    """Attention within each image, then across."""

    def __init__(self) -> None:
        super().__init__()
        self.within_qkv = nn.Linear(_CHANNELS, 3 * _CHANNELS)
        self.within_out = nn.Linear(_CHANNELS, _CHANNELS)
        self.within_update = _update()
        self.across_key = nn.Linear(_CHANNELS, _CHANNELS)
        self.across_value = nn.Linear(_CHANNELS, _CHANNELS)
        self.across_out = nn.Linear(_CHANNELS, _CHANNELS)
        self.across_update = _update()

    def forward(self, states: list[Tensor], turns: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        states = [self._within(state, turn) for state, turn in zip(states, turns, strict=True)]
        keys = [self.across_key(state) for state in states]
        values = [self.across_value(state) for state in states]
        messages = [_attended(keys[k], keys[1 - k], values[1 - k]) for k in (0, 1)]
        return [
            state + self.across_update(torch.cat([state, self.across_out(message)], dim=-1))
            for state, message in zip(states, messages, strict=True)
        ]

    def _within(self, state: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        # The three of each channel lie together.
        query, key, value = self.within_qkv(state).view(*state.shape, 3).unbind(dim=-1)
        # PyTorch's fast attention takes no strided values.
        message = _attended(_turned(query, turn), _turned(key, turn), value.contiguous())
        update: Tensor = self.within_update(torch.cat([state, self.within_out(message)], dim=-1))
        return state + update


def _update() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2 * _CHANNELS, 2 * _CHANNELS),
        nn.LayerNorm(2 * _CHANNELS),
        nn.GELU(),
        nn.Linear(2 * _CHANNELS, _CHANNELS),
    )


def _attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of one head, B x N x C; PyTorch's exporter to ONNX wants an axis of heads."""
    return F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair of channels by an angle (rotary position encoding)."""
    first, second = x.reshape(*x.shape[:-1], -1, 2).unbind(dim=-1)
    other = torch.stack([-second, first], dim=-1).flatten(-2)
    return x * turn[0].to(x.dtype) + other * turn[1].to(x.dtype)


class AttentionNetwork(nn.Module):
    """Keypoints, descriptors and the matcher of both, in one."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = ContextStream()
        self.heads = KeypointHeads()
        self.matcher = AttentionMatcher()

    def detect(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Coarse descriptors, B x 64 x H/8 x W/8 (not unit length), and scores of all pixels, B x 1 x H x W.

        Args:
            x: B x 1 x H x W standardised grey, sides multiples of 8.
        """
        maps = self.stream(x)
        return maps, self.heads(x, maps)
