"""Keypoints of an image and their descriptors, from the coarse stream of our network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gcm.backbones.attention import KeypointNetwork

__all__ = ["Keypoints", "compare_batch", "compare_keypoints", "detect_keypoints", "mutual_pairs"]

_APART = 5
"""Pixels a side of the window in which a keypoint must be the best."""

_LEAST = 0.02
"""Score below which nothing is a keypoint: noise over a sky reaches 0.01, rooms have 0.03 and more."""

_LEAST_DEVIATION = 1e-3
"""Of an image by which it is divided: one of a single colour stays flat."""


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of one image, the best first."""

    points: Tensor
    """N x 2 (x, y), pixels."""
    descriptors: Tensor
    """N x 64, unit length."""
    scores: Tensor
    """N, 0 to 1."""
    size: tuple[int, int]
    """Width and height of the image, pixels."""

    @property
    def nbytes(self) -> int:
        """Memory they take."""
        return int(self.points.nbytes + self.descriptors.nbytes + self.scores.nbytes)

    @property
    def normalised(self) -> Tensor:
        """N x 2: -1 to 1 along the longer side, 0 in the middle."""
        size = torch.tensor(self.size, dtype=torch.float32, device=self.points.device)
        return (self.points - size / 2) / (size.max() / 2)


def detect_keypoints(network: KeypointNetwork, x: Tensor, most: int) -> list[Keypoints]:
    """The keypoints of a batch of images.

    Args:
        network: ours.
        x: B x 1 x H x W grey, of any brightness and contrast.
        most: keypoints of an image that are kept.
    """
    height, width = x.shape[-2:]
    deviation, mean = torch.std_mean(x, dim=(1, 2, 3), keepdim=True)
    x = (x - mean) / deviation.clamp(min=_LEAST_DEVIATION)
    x = F.pad(x, (0, -width % 8, 0, -height % 8), mode="replicate")
    maps, scores = network.detect(x)
    scores = scores[..., :height, :width]
    peaks = scores == _highest_about(scores)
    scores = torch.where(peaks & (scores > _LEAST), scores, 0.0).flatten(1)
    maps = F.normalize(maps.float(), dim=1)
    found = []
    for k in range(len(x)):
        number = min(most, int((scores[k] > 0).sum()))
        best = scores[k].topk(number)
        points = torch.stack([best.indices % width, best.indices // width], dim=-1).float()
        padded = torch.tensor([x.shape[-1], x.shape[-2]], device=x.device)
        places = 2 * (points + 0.5) / padded - 1
        sampled = F.grid_sample(maps[k : k + 1], places[None, None], mode="bicubic", align_corners=False)
        descriptors = F.normalize(sampled[0, :, 0].T, dim=-1)
        found.append(Keypoints(points, descriptors, best.values, (width, height)))
    return found


def _highest_about(scores: Tensor) -> Tensor:
    """The highest score in the window of :data:`_APART` pixels about each, B x 1 x H x W.

    Rows and columns by turns, with shifted copies: a thirtieth of the time of PyTorch's pooling on a CPU.
    """
    half = _APART // 2
    for dim, padding in ((-1, (half, half, 0, 0)), (-2, (0, 0, half, half))):
        padded, size = F.pad(scores, padding, value=-torch.inf), scores.shape[dim]
        scores = padded.narrow(dim, 0, size)
        for shift in range(1, _APART):
            scores = torch.maximum(scores, padded.narrow(dim, shift, size))
    return scores


BELIEVED = 0.1
"""Probability from which a pair of keypoints is a match."""


def compare_keypoints(
    network: KeypointNetwork, first: Keypoints, second: Keypoints
) -> tuple[Tensor, Tensor, Tensor]:
    """What the matcher of the network says of the keypoints of two images.

    Returns:
        As :meth:`gcm.backbones.attention.AttentionMatcher.forward`, without the batch: M x N, M and N.
    """
    log_probability, logits0, logits1 = compare_batch(network, [first], [second])
    return log_probability[0], logits0[0], logits1[0]


def compare_batch(
    network: KeypointNetwork, firsts: Sequence[Keypoints], seconds: Sequence[Keypoints]
) -> tuple[Tensor, Tensor, Tensor]:
    """The same of several pairs at once: all first images have as many keypoints, and all second ones.

    Returns:
        As :meth:`gcm.backbones.attention.AttentionMatcher.forward`.
    """
    sides = (firsts, seconds)
    return network.matcher(
        *(torch.stack([found.normalised for found in side]) for side in sides),
        *(torch.stack([found.descriptors for found in side]) for side in sides),
    )


def mutual_pairs(log_probability: Tensor) -> tuple[Tensor, Tensor]:
    """Which of M keypoints have a match among N, and the likeliest of those for each of the M.

    Args:
        log_probability: M x N, neither of them 0.
    """
    value, best1 = log_probability.max(dim=1)
    best0 = log_probability.argmax(dim=0)
    own = torch.arange(len(best1), device=best1.device)
    return (best0[best1] == own) & (value > math.log(BELIEVED)), best1
