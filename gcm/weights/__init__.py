"""Weights: which there are, where they lie on this machine, how they get there, and reading them safely.

    from gcm.weights import CATALOGUE, find_weights, fetch_weights
    find_weights(CATALOGUE["resnet18"])     # a path, or None
    fetch_weights(CATALOGUE["resnet18"])    # downloads and checks

Nothing here replaces missing weights by random ones. Only :func:`load_checkpoint` imports PyTorch, and only
when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcm.weights.catalogue import CATALOGUE, WeightEntry, get_entry
from gcm.weights.store import (
    bring_weights,
    cache_folder,
    embedded_folder,
    fetch_weights,
    find_weights,
    resolve_weights,
    verify_weights,
)

if TYPE_CHECKING:
    from gcm.weights.loading import load_checkpoint as load_checkpoint

__all__ = [
    "CATALOGUE",
    "WeightEntry",
    "bring_weights",
    "cache_folder",
    "embedded_folder",
    "fetch_weights",
    "find_weights",
    "get_entry",
    "load_checkpoint",
    "resolve_weights",
    "verify_weights",
]


def __getattr__(name: str) -> Any:
    if name == "load_checkpoint":
        from gcm.weights.loading import load_checkpoint

        return load_checkpoint
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
