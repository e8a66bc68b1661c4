"""Files that hold many pairs, written whole and never changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from gcm.errors import InputError
from gcm.matches import Matches

__all__ = ["Entry", "Part", "PartFormat", "ReplacedError", "damaged", "stamp_of"]


class Entry(NamedTuple):
    """A pair that a part holds."""

    name: str
    length: int
    """How many matches."""


class ReplacedError(Exception):
    """A file holds other pairs than it did when it was looked at."""


class Part(Protocol):
    """A file of many pairs, whose names are known; it is open only while something is read."""

    path: Path
    entries: Sequence[Entry]

    def load(self, name: str) -> Matches:
        """The matches of a pair.

        Raises:
            FileNotFoundError, ReplacedError: the file has gone, or another has its name.
            InputError: damage.
        """
        ...

    def opened(self) -> AbstractContextManager[Callable[[str], Matches]]:
        """Something that loads as :meth:`load` does, but opens the file once for many pairs."""
        ...


class PartFormat(Protocol):
    """How such files are written and read."""

    kind: str
    suffix: str

    def write(self, path: Path, precision: str, entries: Sequence[Entry], matches: Iterator[Matches]) -> None:
        """Write a file.

        Args:
            path: an empty file that is there.
            precision: of positions.
            entries: the pairs.
            matches: of each, in the same order.

        Raises:
            OSError: it cannot be written.
        """
        ...

    def read(self, path: Path) -> Part:
        """Look at a file.

        Raises:
            FileNotFoundError: it has gone.
            InputError: it is damaged.
        """
        ...


def damaged(path: Path, error: object) -> InputError:
    """What is said of a file that cannot be read."""
    reason = " ".join(str(error).split())
    return InputError(f"{path}: damaged ({reason}); the gcm extract that wrote it, run again, mends it")


def stamp_of(status: os.stat_result) -> tuple[int, int]:
    """What tells a file from another of its name."""
    return status.st_ino, status.st_mtime_ns
