"""Files: written whole or not at all, and hashed."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from gcm.errors import OutputError

__all__ = ["clear_leftovers", "only_writer", "sha256_of", "whole_file", "write_if_changed"]


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed to it when the block succeeds.

    An interrupted or failed write leaves neither half a file nor a temporary one, and an older file
    stays as it was. Missing parent folders are made. The temporary name keeps the suffix, for
    writers that look at it.

    Raises:
        OutputError: the file cannot be written (no permission, disk full, a folder of that name).
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give a file name")
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files private; a result should have the rights any new file gets.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_if_changed(path: Path, content: bytes) -> bool:
    """Write a file whole, unless it holds just that already; say whether it was written.

    Raises:
        OutputError: the file cannot be written.
    """
    if path.is_file() and path.read_bytes() == content:
        return False
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return True


_LEFTOVER = re.compile(r"\.(?P<stem>.+)\.[a-z0-9_]{8}(?P<suffix>\.\w+)?")


def clear_leftovers(folders: Iterable[Path], names: Iterable[str]) -> None:
    """Remove the temporary files that a killed :func:`whole_file` left of those names in those folders.

    Only for folders that nobody else is writing into.
    """
    known = set(names)
    for folder in folders:
        if not folder.is_dir():
            continue
        for path in folder.iterdir():
            found = _LEFTOVER.fullmatch(path.name)
            if found and found["stem"] + (found["suffix"] or "") in known:
                path.unlink(missing_ok=True)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep other processes that use this function from writing into a folder meanwhile.

    Raises:
        OutputError: another process is at it, or the folder cannot be written into.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"{folder}: another gcm is writing there; wait for it, or use another folder"
        ) from error
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    try:
        yield
    finally:
        lock.release()
