"""GCM as one matcher among others."""

from __future__ import annotations

from gcm.config import MatcherConfig
from gcm.matcher import Matcher

__all__ = ["create"]


def create(config: MatcherConfig | str | None = None) -> Matcher:
    """Our matcher; see :class:`gcm.matcher.Matcher`."""
    return Matcher(config)
