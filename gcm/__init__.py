"""GCM: precise point correspondences between two photos of the same thing.

    >>> import gcm
    >>> matches = gcm.match("left.png", "right.png")
    >>> matches.points0, matches.points1, matches.scores, matches.h_0_to_1

Names are imported when first used, so that ``import gcm`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gcm.backbones.registry import list_backbones as list_backbones
    from gcm.benchmark.evaluate import evaluate as evaluate
    from gcm.config import MatcherConfig as MatcherConfig
    from gcm.config import load_config as load_config
    from gcm.errors import GCMError as GCMError
    from gcm.matcher import Matcher as Matcher
    from gcm.matcher import match as match
    from gcm.matches import Matches as Matches

_HOMES = {
    "GCMError": "gcm.errors",
    "Matcher": "gcm.matcher",
    "MatcherConfig": "gcm.config",
    "Matches": "gcm.matches",
    "evaluate": "gcm.benchmark.evaluate",
    "list_backbones": "gcm.backbones.registry",
    "load_config": "gcm.config",
    "match": "gcm.matcher",
}

__all__ = [
    "GCMError",
    "Matcher",
    "MatcherConfig",
    "Matches",
    "__version__",
    "evaluate",
    "list_backbones",
    "load_config",
    "match",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gcm' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
