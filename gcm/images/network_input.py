"""From an image to the tensor a network sees. (The only module of this room that imports torch.)"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from gcm.images.loaded import RGBImage
from gcm.images.normalisation import IMAGENET, MeanDeviation, Normalisation

__all__ = ["Moments", "measure", "network_input", "standardise"]

_LEAST_DEVIATION = 4.0
"""Grey levels; an image of less contrast holds mostly noise, which must not be blown up."""


@dataclass(frozen=True)
class Moments:
    """Mean colour and contrast by which an image is standardised."""

    mean: Tensor
    """... x 3 x 1 x 1, in 0..255."""
    deviation: Tensor
    """... x 1 x 1 x 1, in grey levels, at least 4. It is common to the three channels, so that a channel
    without signal is not blown up: the root of the mean of their variances."""


def measure(images: Tensor) -> Moments:
    """Moments of each of several images, uint8 RGB, ... x 3 x H x W."""
    values = images.float()
    mean = values.mean(dim=(-2, -1), keepdim=True)
    variance = values.var(dim=(-2, -1), keepdim=True, unbiased=False).mean(dim=-3, keepdim=True)
    return Moments(mean, variance.sqrt().clamp(min=_LEAST_DEVIATION))


def standardise(images: Tensor, normalisation: Normalisation, moments: Moments | None = None) -> Tensor:
    """uint8 RGB, ... x 3 x H x W, to float32 as a network wants it (of one channel where that is grey).

    Args:
        images: what to standardise.
        normalisation: how.
        moments: for :class:`~gcm.images.PerImage`, the mean and contrast to go by instead of the images' own
            (for a warped image, those of the one it came from).
    """
    if isinstance(normalisation, MeanDeviation):
        mean, deviation = (
            torch.tensor(values, device=images.device, dtype=torch.float32).view(3, 1, 1)
            for values in (normalisation.mean, normalisation.deviation)
        )
        return (images.float() / 255 - mean) / deviation
    if moments is None:
        moments = measure(images)
    if normalisation.grey:
        return _standardised_grey(images.sum(dim=-3, keepdim=True, dtype=torch.float32), moments)
    return (images.float() - moments.mean.float().to(images.device)) / moments.deviation.float().to(
        images.device
    )


def _standardised_grey(total: Tensor, moments: Moments) -> Tensor:
    """The mean of the standardised channels, from their sum before; ... x 1 x H x W, written in place."""
    factor = 1 / (3 * moments.deviation)
    offset = moments.mean.mean(dim=-3, keepdim=True) / moments.deviation
    return total.mul_(factor.float().to(total.device)).sub_(offset.float().to(total.device))


def network_input(
    image: RGBImage,
    multiple: int,
    device: torch.device | str = "cpu",
    *,
    normalisation: Normalisation = IMAGENET,
    like: RGBImage | None = None,
) -> Tensor:
    """1 x 3 x H' x W' float32 (1 x 1 of grey), zero-padded right and bottom up to multiples of `multiple`.

    Zero means zero after normalisation, that is, the mean colour.

    Args:
        image: H x W x 3 uint8 RGB.
        multiple: of which the sides become multiples.
        device: where the tensor lives.
        normalisation: as the network declares it.
        like: measure this image instead, see :func:`standardise`.
    """
    if isinstance(normalisation, MeanDeviation):
        tensor = standardise(_tensor(image, device), normalisation)
    else:
        moments = _measure_array(image if like is None else like)
        if normalisation.grey:
            tensor = _standardised_grey(_channel_sums(image).to(device).float(), moments)
        else:
            tensor = standardise(_tensor(image, device), normalisation, moments)
    height, width = image.shape[:2]
    return torch.nn.functional.pad(tensor, (0, -width % multiple, 0, -height % multiple))


def _measure_array(image: RGBImage) -> Moments:
    """:func:`measure` of one H x W x 3 array by OpenCV, which is many times faster; in float64."""
    mean, deviation = cv2.meanStdDev(image)
    common = max(float(np.sqrt(np.mean(deviation**2))), _LEAST_DEVIATION)
    return Moments(
        torch.from_numpy(mean).view(3, 1, 1), torch.tensor(common, dtype=torch.float64).view(1, 1, 1)
    )


def _channel_sums(image: RGBImage) -> Tensor:
    """1 x 1 x H x W int16, red + green + blue; by OpenCV in less than half of PyTorch's time."""
    red, green, blue = cv2.split(image)
    total = cv2.add(cv2.add(red, green, dtype=cv2.CV_16S), blue, dtype=cv2.CV_16S)
    return torch.from_numpy(total)[None, None]


def _tensor(image: RGBImage, device: torch.device | str) -> Tensor:
    """H x W x 3 array to 1 x 3 x H x W tensor."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"])).to(device).permute(2, 0, 1)[None]
