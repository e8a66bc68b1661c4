"""Whether the disk has room, and what to say when it has not."""

from __future__ import annotations

import errno
import math
import os
import shutil
from pathlib import Path

__all__ = ["disk_shortage", "is_disk_full", "megabytes", "try_room"]

HEADROOM = 16 << 20
"""Bytes of disk to leave free."""
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def disk_shortage(folder: Path, needed: int, remaining: int | None = None) -> str | None:
    """Say, in words that go on after "path: ", what is short on the disk of `folder`; None when it has room.

    Args:
        folder: where files are to be written; it need not exist yet.
        needed: bytes that must fit now.
        remaining: bytes, as far as one can tell, that will be needed in all, for the message.
    """
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed <= 0 or free >= needed + HEADROOM:
        return None
    amount = megabytes(max(needed, remaining or 0) + HEADROOM)
    return (
        f"needs {'' if remaining is None else 'about '}{amount} of disk, {math.floor(free / 1e6)} MB are "
        "free; free some space or choose another folder"
    )


def try_room(file: Path, size: int) -> None:
    """Find out whether a file of so many bytes can be written: for writers that end badly where it cannot.

    Args:
        file: is made, filled and emptied again; what it held is lost.
        size: bytes.

    Raises:
        OSError: the disk, a quota or the largest file allowed leaves no room.
    """
    with file.open("wb") as opened:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), 0, max(1, size))
            opened.truncate(0)
        elif shutil.disk_usage(file.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_disk_full(error: BaseException | None) -> bool:
    """Whether a write failed for want of room: disk, quota or the largest file allowed."""
    return isinstance(error, OSError) and error.errno in _FULL


def megabytes(size: int) -> str:
    """Bytes as whole megabytes, rounded up: never "0 MB" of something."""
    return f"{math.ceil(size / 1e6)} MB"
