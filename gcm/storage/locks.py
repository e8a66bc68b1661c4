"""Locks between processes, whose files and folders are gone when nobody holds them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gcm.errors import OutputError

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["LockHeldError", "exclusive_lock", "only_writer"]

_FOLDER_ATTEMPTS = 100
"""How often a folder is made again that another process, giving up its own lock, has just removed."""


class LockHeldError(Exception):
    """Another process holds the lock."""


@contextmanager
def exclusive_lock(lock_file: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock that one process at a time can hold; make its folder and clean up after.

    When the block ends, the lock file is removed, and so are those of its parent folders that were made for
    it and are still empty.

    Args:
        lock_file: a file for this purpose alone.
        wait: wait for a process that holds the lock; otherwise raise.

    Raises:
        LockHeldError: another process holds the lock, and `wait` is False.
        OSError: the lock file cannot be made.
    """
    folder = lock_file.parent
    made_folders = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        lock = _acquire(lock_file, wait)
        try:
            yield
        finally:
            _release(lock, lock_file)
    finally:
        with suppress(OSError):  # not empty, or gone already
            for parent in made_folders:
                parent.rmdir()


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep other processes that use this function from writing into a folder meanwhile.

    Raises:
        OutputError: another process is at it, or the folder cannot be written into.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(folder / ".lock", wait=False))
        except LockHeldError as error:
            raise OutputError(
                f"{folder}: another gcm is writing there; wait for it, or use another folder"
            ) from error
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error
        yield


def _acquire(lock_file: Path, wait: bool) -> BaseFileLock:
    from filelock import FileLock, Timeout  # takes 30 ms, which importing gcm should not

    lock = FileLock(lock_file)
    for attempt in range(_FOLDER_ATTEMPTS):
        try:
            lock_file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=-1 if wait else 0)
        except (FileNotFoundError, FileExistsError):  # mkdir: it was there, and gone when it was looked at
            if attempt == _FOLDER_ATTEMPTS - 1:
                raise
        except Timeout as error:
            raise LockHeldError(str(lock_file)) from error
        else:
            break
    return lock


def _release(lock: BaseFileLock, lock_file: Path) -> None:
    """Give up a lock and remove its file so that no two processes ever hold the lock at once.

    POSIX: the file goes while the lock is still held. A process that opened it before waits for the lock of
    a file that has no name any more; filelock (since 3.21) sees that when it gets the lock, and opens anew.
    Windows refuses to remove a file that is open anywhere, so it goes after the lock has been given up,
    unless another process has opened it by then. Where a filesystem knows no locks, filelock takes the
    file's existence for the lock, and removes it by itself.
    """
    from filelock import SoftFileLock

    try:
        if os.name == "posix" and not isinstance(lock, SoftFileLock):
            with suppress(OSError):
                lock_file.unlink()
    finally:
        lock.release()
    if os.name == "nt":
        with suppress(OSError):
            lock_file.unlink()
