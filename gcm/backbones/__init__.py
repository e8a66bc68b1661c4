"""Backbones: networks that turn an image into maps, from fine to coarse; one file a family.

    from gcm.backbones import backbone_info, create_backbone
    backbone_info("RESNET18").strides       # (2, 4, 8, 16); no network is built for this
    create_backbone("RESNET18")             # with its default weights

A family declares its backbones (:class:`BackboneInfo`: taps, strides, channels, normalisation, weights) and
builds them; `registry` finds both by name, those of other packages (docs/add-a-backbone.md) and timm's
included. torchvision and timm are imported when a backbone needs them. Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcm.backbones.base import Backbone as Backbone
    from gcm.backbones.base import BackboneInfo as BackboneInfo
    from gcm.backbones.cost import Cost as Cost
    from gcm.backbones.cost import backbone_cost as backbone_cost
    from gcm.backbones.fine import FINE_MODELS as FINE_MODELS
    from gcm.backbones.fine import FineInfo as FineInfo
    from gcm.backbones.registry import backbone_info as backbone_info
    from gcm.backbones.registry import build_backbone as build_backbone
    from gcm.backbones.registry import create_backbone as create_backbone
    from gcm.backbones.registry import create_fine_model as create_fine_model
    from gcm.backbones.registry import known_weights as known_weights
    from gcm.backbones.registry import list_backbones as list_backbones
    from gcm.backbones.registry import list_fine_models as list_fine_models

_HOMES = {
    "Backbone": "base",
    "BackboneInfo": "base",
    "Cost": "cost",
    "FINE_MODELS": "fine",
    "FineInfo": "fine",
    "backbone_cost": "cost",
    "backbone_info": "registry",
    "build_backbone": "registry",
    "create_backbone": "registry",
    "create_fine_model": "registry",
    "known_weights": "registry",
    "list_backbones": "registry",
    "list_fine_models": "registry",
}

__all__ = [
    "FINE_MODELS",
    "Backbone",
    "BackboneInfo",
    "Cost",
    "FineInfo",
    "backbone_cost",
    "backbone_info",
    "build_backbone",
    "create_backbone",
    "create_fine_model",
    "known_weights",
    "list_backbones",
    "list_fine_models",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
