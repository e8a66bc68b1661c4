"""``gcm match A B``."""

from __future__ import annotations

from gcm_cli.console import command

__all__ = ["match"]


@command
def match() -> None:
    """Match two photos."""
