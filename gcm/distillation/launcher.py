"""What a launcher (`torchrun`, `accelerate launch`) tells its processes, read without torch."""

from __future__ import annotations

import os

__all__ = ["is_leader"]


def is_leader() -> bool:
    """Whether this process is the one of those a launcher started that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"
