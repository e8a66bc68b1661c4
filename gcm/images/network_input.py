"""From an image to the tensor a network sees."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from gcm.images.files import RGBImage

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "network_input", "normalise", "standardise"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """uint8 RGB, ... x 3 x H x W, to float32 less ImageNet's mean, over its deviation (matching.md, 1)."""
    shape = (3, 1, 1)
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(shape)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(shape)
    return (images.float() / 255 - mean) / std


def standardise(images: Tensor, like: Tensor | None = None) -> Tensor:
    """uint8 RGB, ... x 3 x H x W, to float32 with each image's own mean colour and contrast.

    Exposure and tint then no longer matter. The deviation is common to the three channels, so that a
    channel without signal is not blown up, and at least 4 grey levels, so that noise is not.

    Args:
        images: what to standardise.
        like: images whose mean and deviation to use instead (for a warped image, the one it came from).
    """
    measured = (images if like is None else like).float()
    mean = measured.mean(dim=(-2, -1), keepdim=True)
    variance = measured.var(dim=(-2, -1), keepdim=True, unbiased=False).mean(dim=-3, keepdim=True)
    return (images.float() - mean) / variance.sqrt().clamp(min=4.0)


def _standardised_by(images: Tensor, measured: RGBImage) -> Tensor:
    """:func:`standardise` by the measures of an H x W x 3 array, which OpenCV takes much faster."""
    mean, deviation = (torch.from_numpy(v).float().view(3, 1, 1) for v in cv2.meanStdDev(measured))
    scale = deviation.square().mean().sqrt().clamp(min=4.0)
    return (images.float() - mean.to(images.device)) / scale.to(images.device)


def _standardised_grey_by(image: RGBImage, measured: RGBImage, device: torch.device | str) -> Tensor:
    """The mean of :func:`standardise`'s three channels, by the measures of an array; 1 x 1 x H x W."""
    mean, deviation = cv2.meanStdDev(measured)
    scale = max(float(np.sqrt(np.mean(deviation**2))), 4.0)
    red, green, blue = cv2.split(image)
    total = cv2.add(cv2.add(red, green, dtype=cv2.CV_16S), blue, dtype=cv2.CV_16S)
    grey = torch.from_numpy(total).to(device).float()[None, None]
    return grey.mul_(1 / (3 * scale)).sub_(float(mean.mean()) / scale)


NORMALISATIONS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "imagenet": lambda images, _: normalise(images),
    "standardised": standardise,
    "standardised grey": lambda images, like: standardise(images, like).mean(dim=-3, keepdim=True),
}
"""What a backbone may ask for in ``BackboneInfo.normalisation``: images and the ones to measure -> input."""


def network_input(
    image: RGBImage,
    multiple: int,
    device: torch.device | str = "cpu",
    *,
    normalisation: str = "imagenet",
    like: RGBImage | None = None,
) -> Tensor:
    """1 x 3 x H' x W' float32 (1 x 1 of grey), zero-padded right and bottom up to multiples of `multiple`.

    Zero means zero after normalisation, that is, the mean colour.

    Args:
        image: H x W x 3 uint8 RGB.
        multiple: of which the sides become multiples.
        device: where the tensor lives.
        normalisation: a key of :data:`NORMALISATIONS`.
        like: measure this image instead, see :func:`standardise`.
    """
    if normalisation == "standardised grey":
        tensor = _standardised_grey_by(image, image if like is None else like, device)
    elif normalisation == "standardised":
        tensor = _standardised_by(_tensor(image, device), image if like is None else like)
    else:
        tensor = _tensor(image, device)
        tensor = NORMALISATIONS[normalisation](tensor, None if like is None else _tensor(like, device))
    height, width = image.shape[:2]
    return torch.nn.functional.pad(tensor, (0, -width % multiple, 0, -height % multiple))


def _tensor(image: RGBImage, device: torch.device | str) -> Tensor:
    """H x W x 3 array to 1 x 3 x H x W tensor."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"])).to(device).permute(2, 0, 1)[None]
