"""Files: written whole or not at all, and hashed."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gcm.errors import OutputError

__all__ = ["clear_leftovers", "remove_files", "sha256_of", "whole_file", "write_if_changed"]

_LONGEST_STEM = 200
"""Bytes of a name that go into the temporary one; all of a long stem would not fit."""


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed to it when the block succeeds.

    An interrupted or failed write leaves neither half a file nor a temporary one, and an older file
    stays as it was. Missing parent folders are made. The temporary name keeps the suffix, for
    writers that look at it. A symbolic link stays one: the file it points to is replaced.

    Raises:
        OutputError: the file cannot be written (no permission, disk full, a folder of that name).
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        target = path.resolve()
        if target.is_dir():
            raise OutputError(f"{path}: is a folder; give a file name")
        if target.exists() and not target.is_file():
            raise OutputError(f"{path}: is no regular file; give another name")
        target.parent.mkdir(parents=True, exist_ok=True)
        # Opened like any new file (unlike tempfile's, which are private).
        name = f".{_shortened(target.stem)}.{secrets.token_hex(4)}{target.suffix}"
        candidate = target.with_name(name)
        candidate.open("xb").close()
        temporary = candidate
        yield temporary
        temporary.replace(target)
        temporary = None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _shortened(stem: str) -> str:
    """As much of a name as fits, cut between characters: file systems limit its bytes."""
    while len(os.fsencode(stem)) > _LONGEST_STEM:
        stem = stem[:-1]
    return stem


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_if_changed(path: Path, content: bytes, *, alone: bool = False) -> bool:
    """Write a file whole, unless it holds just that already; say whether it was written.

    Args:
        path: the file.
        content: what it is to hold.
        alone: nobody else writes this file meanwhile, so what a killed call left of it is removed.

    Raises:
        OutputError: the file cannot be written.
    """
    if path.is_file() and path.read_bytes() == content:
        return False
    if alone:
        clear_leftovers([path.parent], [path.name])
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return True


_LEFTOVER = re.compile(r"\.(?P<stem>.+)\.[0-9a-f]{8}(?P<suffix>\.[\w-]+)?")


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files, one after the other; those that are not there are passed over.

    Raises:
        OutputError: one cannot be removed, and those after it were not tried.
    """
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{error.filename}: cannot be removed ({error.strerror})") from error


def clear_leftovers(folders: Iterable[Path], names: Iterable[str]) -> None:
    """Remove the temporary files that a killed :func:`whole_file` left of those names in those folders.

    Only for folders that nobody else is writing into.
    """
    known = {f"{_shortened(Path(name).stem)}{Path(name).suffix}" for name in names}
    for folder in folders:
        if not folder.is_dir():
            continue
        for path in folder.iterdir():
            match = _LEFTOVER.fullmatch(path.name)
            if match and match["stem"] + (match["suffix"] or "") in known:
                path.unlink(missing_ok=True)
