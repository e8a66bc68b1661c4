"""Backbones and fine models by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import torch

from gcm.backbones import r2d2, resnet, vgg
from gcm.backbones.base import Backbone, BackboneInfo
from gcm.backbones.r2d2 import PatchNetwork, patch_network_from_state
from gcm.errors import ConfigError, WeightsError, did_you_mean
from gcm.weights.loading import load_checkpoint
from gcm.weights.store import resolve_weights

__all__ = ["FINE_MODELS", "backbone_info", "create_backbone", "create_fine_model", "list_backbones"]

BackboneFactory = Callable[[BackboneInfo], Backbone]

_FAMILIES: tuple[tuple[tuple[BackboneInfo, ...], BackboneFactory], ...] = (
    (vgg.INFOS, vgg.VGG),
    (resnet.INFOS, resnet.ResNet),
    (r2d2.INFOS, r2d2.R2D2),
)

_ENTRY_POINTS = "gcm.backbones"
"""Packages outside add a backbone by an entry point of this group that is (INFOS, factory)."""


@dataclass(frozen=True)
class _Registered:
    info: BackboneInfo
    factory: BackboneFactory


@cache
def _registry() -> dict[str, _Registered]:
    families = list(_FAMILIES)
    families += [point.load() for point in entry_points(group=_ENTRY_POINTS)]
    return {info.name: _Registered(info, factory) for infos, factory in families for info in infos}


def list_backbones() -> list[BackboneInfo]:
    """All backbones, ours and those other packages registered."""
    return [entry.info for entry in _registry().values()]


def _lookup(name: str) -> _Registered:
    registry = _registry()
    try:
        return registry[name.upper()]
    except KeyError:
        raise ConfigError(
            f"no backbone named '{name}'{did_you_mean(name, registry)}; known: {', '.join(registry)}"
        ) from None


def backbone_info(name: str) -> BackboneInfo:
    """What a backbone says about itself; the name's case does not matter.

    Raises:
        ConfigError: no such backbone.
    """
    return _lookup(name).info


def create_backbone(name: str, *, weights: Path | str | None = None) -> Backbone:
    """Build a backbone up to its last tap and load its weights, on the CPU, in evaluation mode.

    Args:
        name: as in the configuration; case does not matter.
        weights: a file or catalogue name in place of the default weights.

    Raises:
        ConfigError: no such backbone.
        WeightsError, DownloadError: weights missing, damaged or of another network.
    """
    entry = _lookup(name)
    source = weights or entry.info.weights
    if source is None:
        raise WeightsError(f"{entry.info.name} has no default weights; set weights_path in the configuration")
    state = load_checkpoint(path := resolve_weights(source))
    with torch.device("meta"):  # no memory and no time for weights about to be replaced
        backbone = entry.factory(entry.info)
    backbone.load_weights(state, str(path))
    return backbone.eval().requires_grad_(False)


FINE_MODELS: dict[str, str] = {"R2D2": "r2d2", "R2D2_STU": "r2d2_student", "GCM_PATCH": "gcm_patch"}
"""Patch descriptors by name, with the catalogue name of their default weights."""


def create_fine_model(name: str, *, weights: Path | str | None = None) -> PatchNetwork:
    """Build a patch descriptor: B x 3 x H x W normalised input -> B x C x H x W, not normalised.

    Teacher or student follows from the shapes in the checkpoint, as in the published code.

    Raises:
        ConfigError: no such fine model.
        WeightsError, DownloadError: weights missing, damaged or of another network.
    """
    try:
        default = FINE_MODELS[name.upper()]
    except KeyError:
        raise ConfigError(
            f"no fine model named '{name}'{did_you_mean(name, FINE_MODELS)}; "
            f"known: {', '.join(FINE_MODELS)}, or leave it empty for none"
        ) from None
    path = resolve_weights(weights or default)
    return patch_network_from_state(load_checkpoint(path), str(path))
