"""From images to feature pyramids.

What needs features asks for them with a `Request` (:mod:`gcm.features.batching`); a `FeatureExtractor`
answers, several requests together, and remembers what it computed in a `FeatureCache` of bounded size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcm.features.batching import Request as Request
    from gcm.features.batching import run_alone as run_alone
    from gcm.features.batching import run_batched as run_batched
    from gcm.features.cache import FeatureCache as FeatureCache
    from gcm.features.device import choose_device as choose_device
    from gcm.features.extractor import FeatureExtractor as FeatureExtractor
    from gcm.features.pyramid import Pyramid as Pyramid

# Imported when first used: the cache is also for those who do without PyTorch.
_HOMES = {
    "FeatureCache": "gcm.features.cache",
    "FeatureExtractor": "gcm.features.extractor",
    "Pyramid": "gcm.features.pyramid",
    "Request": "gcm.features.batching",
    "choose_device": "gcm.features.device",
    "run_alone": "gcm.features.batching",
    "run_batched": "gcm.features.batching",
}

__all__ = [
    "FeatureCache",
    "FeatureExtractor",
    "Pyramid",
    "Request",
    "choose_device",
    "run_alone",
    "run_batched",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gcm.features' has no attribute '{name}'")
