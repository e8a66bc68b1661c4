"""GCM as one matcher among others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gcm.config import MatcherConfig
    from gcm.matcher import Matcher

__all__ = ["create"]


def create(
    config: MatcherConfig | str | None = None, features: str | None = None, features_size: float = 10.0
) -> Matcher:
    """Our matcher; see :class:`gcm.matcher.Matcher`."""
    from gcm.matcher import Matcher  # PyTorch, which takes seconds: not before all else is found to be right

    return Matcher(config, features=features, features_size=features_size)
