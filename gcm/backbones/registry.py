"""Backbones and fine models by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeAlias

import torch
from torch import nn

from gcm.backbones import (
    compact,
    context,
    crestereo,
    efficientnet,
    efficientnet_lite,
    mobilenet,
    pyramid_stereo,
    r2d2,
    resnet,
    segmentation,
    small,
    swin,
    timm_models,
    vgg,
)
from gcm.backbones.attention import AttentionNetwork
from gcm.backbones.base import Backbone, BackboneInfo, load_strictly
from gcm.backbones.fine import FINE_MODELS, FineInfo
from gcm.errors import ConfigError, WeightsError, did_you_mean
from gcm.weights.catalogue import CATALOGUE, WeightEntry
from gcm.weights.loading import load_checkpoint
from gcm.weights.store import resolve_weights

__all__ = [
    "FINE_MODELS",
    "backbone_info",
    "build_backbone",
    "check_weights",
    "create_attention",
    "create_backbone",
    "create_fine_model",
    "known_weights",
    "list_backbones",
    "list_fine_models",
]

BackboneFactory = Callable[[BackboneInfo], Backbone]

_Family: TypeAlias = tuple[tuple[BackboneInfo, ...], BackboneFactory]

_FAMILIES: tuple[_Family, ...] = (
    (vgg.INFOS, vgg.create),
    (resnet.INFOS, resnet.create),
    (efficientnet.INFOS, efficientnet.create),
    (mobilenet.INFOS, mobilenet.create),
    (segmentation.INFOS, segmentation.create),
    (swin.INFOS, swin.Swin),
    (pyramid_stereo.INFOS, pyramid_stereo.PyramidStereo),
    (crestereo.INFOS, crestereo.CREStereo),
    (r2d2.INFOS, r2d2.R2D2),
    (compact.INFOS, compact.Compact),
    (small.INFOS, small.Small),
    (context.INFOS, context.Context),
    (efficientnet_lite.INFOS, efficientnet_lite.EfficientNetLite),
)

_ENTRY_POINTS = "gcm.backbones"
"""Packages outside add a backbone by an entry point of this group that is (INFOS, factory)."""


@dataclass(frozen=True)
class _Registered:
    info: BackboneInfo
    factory: BackboneFactory


def _by_name(families: Iterable[_Family]) -> dict[str, _Registered]:
    return {info.name.upper(): _Registered(info, factory) for infos, factory in families for info in infos}


_OURS = _by_name(_FAMILIES)


@cache
def _registry() -> dict[str, _Registered]:
    """Our backbones and those of other packages, which are imported for that; ours keep their names."""
    others = _by_name(_families_of_others())
    return _OURS | {name: entry for name, entry in others.items() if name not in _OURS}


def _families_of_others() -> list[_Family]:
    families = []
    for point in entry_points(group=_ENTRY_POINTS):
        try:
            infos, factory = point.load()
        except Exception as error:  # whatever the other package raises, name it instead of failing obscurely
            raise ConfigError(
                f"the backbone '{point.name}' of another package ({point.value}) cannot be used "
                f"({type(error).__name__}: {error}); mend or uninstall that package"
            ) from error
        families.append((infos, factory))
    return families


def list_backbones() -> list[BackboneInfo]:
    """All backbones, ours and those other packages registered; not timm's, which are too many to list."""
    return [entry.info for entry in _registry().values()]


def list_fine_models() -> list[FineInfo]:
    """All fine models."""
    return list(FINE_MODELS.values())


def _lookup(name: str) -> _Registered:
    if name.lower().startswith(timm_models.PREFIX):
        info = timm_models.timm_info(timm_models.PREFIX + name[len(timm_models.PREFIX) :])
        return _Registered(info, timm_models.Timm)
    if name.upper() in _OURS:
        return _OURS[name.upper()]
    registry = _registry()
    try:
        return registry[name.upper()]
    except KeyError:
        raise ConfigError(
            f"no backbone named '{name}'{did_you_mean(name, registry)}; "
            f"known: {', '.join(registry)}, or timm:<name> for a model of timm"
        ) from None


def backbone_info(name: str) -> BackboneInfo:
    """What a backbone says about itself; the name's case does not matter.

    Raises:
        ConfigError: no such backbone.
        DependencyError: a timm model, and timm is not installed.
    """
    return _lookup(name).info


def build_backbone(name: str) -> Backbone:
    """Build a backbone up to its last tap without weights or memory (on PyTorch's meta device).

    To look at its structure, or to fill with :meth:`Backbone.load_file`.

    Raises:
        ConfigError: no such backbone.
        DependencyError: a package it needs is not installed.
    """
    entry = _lookup(name)
    with torch.device("meta"):
        # float32, whatever PyTorch's default type is.
        return entry.factory(entry.info).eval().float()


def create_backbone(name: str, *, weights: Path | str | None = None) -> Backbone:
    """Build a backbone up to its last tap and load its weights, on the CPU, in evaluation mode.

    Args:
        name: as in the configuration; case does not matter.
        weights: a file or catalogue name in place of the default weights.

    Raises:
        ConfigError: no such backbone.
        DependencyError: a package it needs is not installed.
        WeightsError, DownloadError: weights missing, damaged or of another network.
    """
    info = backbone_info(name)
    source = weights or info.weights
    if source is None:
        raise WeightsError(f"{info.name} has no default weights; set weights_path in the configuration")
    return _loaded(name, resolve_weights(source, check=lambda path: _loaded(name, path)))


def _loaded(name: str, path: Path) -> Backbone:
    backbone = build_backbone(name)  # no memory and no time for weights about to be replaced
    backbone.load_file(path)
    return backbone.eval().requires_grad_(False).fused()


def create_attention() -> AttentionNetwork:
    """Our attention network with its weights, on the CPU, in evaluation mode."""
    network = AttentionNetwork()
    load_strictly(network, load_checkpoint(resolve_weights("gcm_attention")), "gcm_attention")
    return network.eval().requires_grad_(False)


def create_fine_model(name: str, *, weights: Path | str | None = None) -> nn.Module:
    """Build a fine model: B x 3 x H x W input -> B x C x H x W, not normalised over channels.

    How the input must be normalised is its attribute `normalisation`, see :class:`FineInfo`.

    Args:
        name: as in the configuration; case does not matter.
        weights: a file or catalogue name in place of the default weights.

    Raises:
        ConfigError: no such fine model.
        DependencyError: a package it needs is not installed.
        WeightsError, DownloadError: weights missing, damaged or of another network.
    """
    try:
        info = FINE_MODELS[name.upper()]
    except KeyError:
        raise ConfigError(
            f"no fine model named '{name}'{did_you_mean(name, FINE_MODELS)}; "
            f"known: {', '.join(FINE_MODELS)}, or leave it empty for none"
        ) from None
    path = resolve_weights(weights or info.weights, check=info.load)
    network = info.load(path).eval().float().requires_grad_(False)
    network.normalisation = info.normalisation  # type: ignore[assignment]
    return network


def known_weights(name: str | None = None) -> dict[str, WeightEntry]:
    """Weights by name: the catalogue's and those that other packages' backbones bring.

    Args:
        name: of one weight file, or of a backbone or fine model, meaning its default weights; all when None.

    Raises:
        ConfigError: no such name.
        WeightsError: a backbone without default weights.
    """
    known = dict(CATALOGUE)
    known.update({e.name: e for info in list_backbones() if (e := info.weights_entry) is not None})
    if name is None:
        return known
    if name.lower() in known:
        return {name.lower(): known[name.lower()]}
    if name.upper() in FINE_MODELS:
        entry: WeightEntry | None = FINE_MODELS[name.upper()].weights_entry
    elif name.upper() in _registry() or name.lower().startswith(timm_models.PREFIX):
        entry = backbone_info(name).weights_entry
    else:
        choices = [*known, *_registry()]
        raise ConfigError(
            f"no weights named '{name}'{did_you_mean(name, choices)}; gcm fetch-weights --list names all"
        )
    if entry is None:
        raise WeightsError(f"{name} has no default weights; set weights_path in the configuration")
    return {entry.name: entry}


def check_weights(entry: WeightEntry, path: Path) -> None:
    """Load a file into the network that an entry is for.

    Raises:
        WeightsError: it does not fit.
        DependencyError: a package the network needs is not installed.
    """
    if entry.name.startswith(timm_models.PREFIX):
        _loaded(entry.name, path)
        return
    for info in list_backbones():
        if info.weights_entry == entry:
            _loaded(info.name, path)
            return
    for fine in FINE_MODELS.values():
        if fine.weights == entry.name:
            fine.load(path)
            return
