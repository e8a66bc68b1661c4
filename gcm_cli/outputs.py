"""Files a command is to write, checked before the work that fills them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path

from gcm.errors import OutputError, UsageError

__all__ = ["check_outputs"]


def check_outputs(
    outputs: Mapping[str, Path | None], inputs: Iterable[str | os.PathLike[str] | None] = ()
) -> None:
    """Refuse files that could not be written in the end, or that would destroy something.

    Nothing is written and no folder is made.

    Args:
        outputs: by the option that names them; None where an option was not given.
        inputs: files the command reads; ``-`` is standard input. They are not opened.

    Raises:
        UsageError: an output is one of the inputs, by whatever name, or another output.
        OutputError: a folder of that name, a folder that cannot be written into, an impossible name.
    """
    chosen = {option: Path(path) for option, path in outputs.items() if path is not None}
    for option, path in chosen.items():
        target = _resolve(option, path)
        for source in inputs:
            if source is not None and _same_file(target, source):
                raise UsageError(f"{option} {path}: is an input and would be overwritten; give another name")
        _check_writable(option, path, target)
    for (first, a), (second, b) in combinations(chosen.items(), 2):
        if _resolve(first, a) == _resolve(second, b) or _same_file(a, b):
            raise UsageError(f"{first} and {second} both name {b}; give each a file of its own")
        for inner, outer in ((a, b), (b, a)):
            if _resolve(second, outer) in _resolve(first, inner).parents:
                raise UsageError(f"{outer} is to be a file, and {inner} lies in it; give another name")


def _resolve(option: str, path: Path) -> Path:
    try:
        resolved = path.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL byte, a circle of links
        raise OutputError(f"{option} {path}: no file can have that name ({_reason(error)})") from error
    if os.path.islink(resolved):  # noqa: PTH114 (of a name too long the method raises)
        # Python from 3.13 on resolves a circle to itself.
        raise OutputError(f"{option} {path}: no file can have that name (a circle of links)")
    return resolved


def _same_file(path: Path, other: str | os.PathLike[str]) -> bool:
    """Whether two names lead to one file that is there, by symbolic or hard links, too."""
    try:
        there = os.fstat(0) if other == "-" else Path(other).stat()
        return os.path.samestat(path.stat(), there)
    except (OSError, ValueError):
        return False


def _check_writable(option: str, path: Path, target: Path) -> None:
    folder = target.parent
    missing = [target.name]
    try:
        # Folders that are missing are made when the file is written; whatever is above them must be there.
        while not _exists(folder):
            missing.append(folder.name)
            folder = folder.parent
        for name in missing:
            _exists(folder / name)  # a name too long for the file system raises
        if target.is_dir():
            raise OutputError(f"{option} {path}: is a folder; give a file name")
        if target.exists() and not target.is_file():
            raise OutputError(f"{option} {path}: is no regular file; give another name")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise OutputError(f"{option} {path}: cannot be written ({_reason(error)})") from error


def _exists(path: Path) -> bool:
    """As :meth:`pathlib.Path.exists`, but names that no file can have raise."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
