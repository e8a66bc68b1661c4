"""A file a pair, ``<name>_matches.npz``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from gcm.benchmark.layout import matches_name, name_of_matches
from gcm.benchmark.stores.base import StoreBase
from gcm.benchmark.stores.precision import FULL
from gcm.errors import InputError
from gcm.matches import Matches
from gcm.storage.atomic import clear_leftovers, remove_files

__all__ = ["NpzStore"]

_END_BYTES = 22
"""Of the record that ends a zip archive without a comment, which is how numpy writes it."""
_END_MARK = b"PK\5\6"


class NpzStore(StoreBase):
    """Matches in a file a pair.

    Args:
        folder: of the files; it need not exist.
    """

    kind = "npz"
    precision = FULL

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """The file of a pair."""
        return self.folder / matches_name(name)

    def names(self) -> list[str]:
        """The pairs that are there, sorted."""
        end = matches_name("")
        try:
            with os.scandir(self.folder) as entries:
                return sorted(name_of_matches(Path(e.name)) for e in entries if e.name.endswith(end))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def has(self, name: str) -> bool:
        """Whether a pair's file is there, and has its end: a crash of the machine may leave less of it."""
        try:
            with self.path(name).open("rb") as file:
                if file.seek(0, os.SEEK_END) < _END_BYTES:
                    return False
                file.seek(-_END_BYTES, os.SEEK_END)
                return file.read(len(_END_MARK)) == _END_MARK
        except OSError:
            return False

    def load(self, name: str) -> Matches:
        """The matches of a pair; raises InputError."""
        return Matches.load(self.path(name))

    def modified(self, name: str) -> int:
        """When a pair's file was written, nanoseconds; raises InputError."""
        try:
            return self.path(name).stat().st_mtime_ns
        except OSError as error:
            raise InputError(f"{self.path(name)}: no such file") from error

    def save(self, name: str, matches: Matches) -> None:
        """Write a pair's file; raises OutputError."""
        matches.save(self.path(name))

    def begin(self, names: Iterable[str]) -> None:
        """Remove what a killed writer left half-written of those pairs."""
        clear_leftovers([self.folder], [matches_name(name) for name in names])

    def settle(self) -> None:
        """Nothing: each file is in its final form."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove the files of some pairs; raises OutputError."""
        remove_files(self.path(name) for name in names)
