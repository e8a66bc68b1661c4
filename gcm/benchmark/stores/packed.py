"""Many pairs a file, by way of files of single pairs.

What is saved goes first into a file of its own, as in the npz store. From time to time these are packed: a
part that holds them all is written whole beside them, and only then are they removed. Parts are never
changed; several of like size become one larger in the same way, and in the end all are one (but those of a
gigabyte, which stay as they are). So a kill, a full disk or a crash at any moment loses nothing that was
saved, and readers find each pair in a whole file, at the latest when they look a second time.

HDF5's own way to append (one writer, many readers) was not taken: a file whose writer was killed must be
mended by a tool before anybody can write to it again. And Parquet knows no appending at all.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from gcm.benchmark.stores.base import StoreBase
from gcm.benchmark.stores.npz import NpzStore
from gcm.benchmark.stores.parts import Entry, Part, PartFormat, ReplacedError
from gcm.benchmark.stores.precision import rounded
from gcm.errors import InputError
from gcm.matches import Matches
from gcm.storage.atomic import clear_leftovers, remove_files, whole_file, write_if_changed

__all__ = ["RECORD", "PackedStore", "part_files"]

PACKED_PAIRS, PACKED_BYTES = 256, 2**25
"""Single files, or bytes of them, that are packed."""

_ALIKE = 8
"""Parts of like size that become one; also how many times larger another size is."""

_LARGE = 2**30
"""Bytes of a part that is not made larger any more."""

RECORD = "store.json"
"""In the folder of the files: their kind and precision."""

_PART = re.compile(r"part-(\d{4,})\.(?:h5|parquet)")
_LOOKS = 5
"""How often a pair is looked for that a writer keeps moving."""


def part_files(folder: Path) -> list[Path]:
    """The parts in a folder, of any kind, oldest first."""
    try:
        parts = [path for path in folder.iterdir() if _PART.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(parts, key=_part_number)


class PackedStore(StoreBase):
    """Matches of many pairs a file.

    Args:
        folder: of the files; it need not exist.
        form: what files are written and read as.
        precision: of positions.
        mend: damaged parts count as missing, and :meth:`begin` removes them; otherwise they raise InputError.
    """

    def __init__(self, folder: Path, form: PartFormat, precision: str, *, mend: bool = False) -> None:
        self.folder = folder
        self.kind = form.kind
        self.precision = precision
        self._form = form
        self._mend = mend
        self._single = NpzStore(folder)
        self._unpacked: dict[str, int] = {}
        """Bytes of the single files written since parts were."""
        self._lock = threading.RLock()
        self._parts: dict[Path, Part] = {}
        self._damaged: set[Path] = set()
        self._where: dict[str, Part] = {}

    # -- reading ------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The pairs that are there, sorted; raises InputError."""
        # Single files first: what is packed in between is then found in its part.
        single = self._single.names()
        with self._lock:
            self._look()
            return sorted({*single, *self._where})

    def has(self, name: str) -> bool:
        """Whether a pair is there; raises InputError."""
        return name in self._where or self._single.has(name) or self._part_of(name) is not None

    def load(self, name: str) -> Matches:
        """The matches of a pair; raises InputError."""
        for _ in range(_LOOKS):
            if self._single.path(name).is_file():
                try:
                    return self._single.load(name)
                except InputError:
                    if self._single.path(name).is_file():
                        raise
            part = self._part_of(name)
            if part is None:
                break
            try:
                return part.load(name)
            except (FileNotFoundError, ReplacedError):
                self.close()  # packed anew meanwhile
        raise InputError(f"{self.folder}: holds no matches of '{name}'")

    def modified(self, name: str) -> int:
        """When the file that holds a pair was written, nanoseconds; raises InputError."""
        for _ in range(_LOOKS):
            with suppress(InputError):
                return self._single.modified(name)
            part = self._part_of(name)
            if part is None:
                break
            with suppress(FileNotFoundError):
                return part.path.stat().st_mtime_ns
            self.close()
        raise InputError(f"{self.folder}: holds no matches of '{name}'")

    def close(self) -> None:
        """Forget what was remembered of the files."""
        with self._lock:
            self._parts, self._where = {}, {}

    def _part_of(self, name: str) -> Part | None:
        with self._lock:
            if name not in self._where:
                self._look()
            return self._where.get(name)

    def _look(self) -> None:
        """Bring what is known of the parts up to date.

        A file that goes while the folder is looked at has become part of another: so until nothing changes.
        """
        for _ in range(100):
            listed = part_files(self.folder)
            listed = [path for path in listed if path.suffix == self._form.suffix]
            if self._parts.keys() | self._damaged == set(listed):
                return
            self._damaged &= set(listed)
            parts = {}
            for path in listed:
                with suppress(FileNotFoundError):
                    part = self._parts.get(path) or self._read(path)
                    if part is not None:
                        parts[path] = part
            self._parts = parts
            self._where = {entry.name: part for part in parts.values() for entry in part.entries}
        raise InputError(f"{self.folder}: its files change faster than they can be read; try again")

    def _read(self, path: Path) -> Part | None:
        try:
            return self._form.read(path)
        except InputError:
            if not self._mend:
                raise
            self._damaged.add(path)
            return None

    # -- writing ------------------------------------------------------------------------------

    def save(self, name: str, matches: Matches) -> None:
        """Keep the matches of a pair; raises OutputError."""
        self._single.save(name, rounded(matches, self.precision))
        self._unpacked[name] = self._single.path(name).stat().st_size
        if len(self._unpacked) >= PACKED_PAIRS or sum(self._unpacked.values()) >= PACKED_BYTES:
            self._pack([], list(self._unpacked))
            alike: dict[int, list[Part]] = {}
            for part in self._growing():
                alike.setdefault(_rank(part), []).append(part)
            for parts in alike.values():
                if len(parts) >= _ALIKE:
                    self._pack(parts, [])

    def begin(self, names: Iterable[str]) -> None:
        """Say what store it is, and put in order what a killed writer left; raises OutputError."""
        told = {"format": 1, "store": self.kind, "precision": self.precision}
        write_if_changed(self.folder / RECORD, (json.dumps(told) + "\n").encode(), alone=True)
        self._single.begin(names)
        last = max((_part_number(path) for path in part_files(self.folder)), default=0)
        clear_leftovers([self.folder], [self._part_name(k) for k in range(1, last + 2)])
        with self._lock:
            self._look()
            remove_files(self._damaged)
            self._damaged = set()
            # Killed between writing what it packed and removing it:
            seen: set[str] = set()
            for part in sorted(self._parts.values(), key=lambda part: -len(part.entries)):
                held = {entry.name for entry in part.entries}
                if held <= seen:
                    remove_files([part.path])
                seen |= held
            self._single.remove(name for name in self._single.names() if name in seen)
            self._unpacked = {
                name: self._single.path(name).stat().st_size
                for name in self._single.names()
                if self._single.has(name)
            }
            self.close()

    def settle(self) -> None:
        """Make one part of all, but of those that are large; raises OutputError."""
        growing = self._growing()
        if self._unpacked or len(growing) > 1:
            self._pack(growing, list(self._unpacked))

    def _growing(self) -> list[Part]:
        with self._lock:
            self._look()
            return [part for part in self._parts.values() if part.path.stat().st_size < _LARGE]

    def _pack(self, parts: Sequence[Part], single: Sequence[str]) -> None:
        """Write a part that holds what those parts and single files do, and remove them."""
        loaded: dict[str, Matches] = {}
        for name in single:
            with suppress(InputError):  # damaged: it stays, to be told of by whoever reads it
                loaded[name] = self._single.load(name)
        with ExitStack() as stack:
            sources: dict[str, tuple[int, Callable[[], Matches]]] = {}
            for part in parts:
                load = stack.enter_context(part.opened())
                sources |= {entry.name: (entry.length, partial(load, entry.name)) for entry in part.entries}
            sources |= {name: (len(found), partial(loaded.get, name)) for name, found in loaded.items()}  # type: ignore[misc]
            if sources:
                self._write(sources)
        remove_files(part.path for part in parts)
        self._single.remove(loaded)
        self._unpacked = {name: size for name, size in self._unpacked.items() if name not in loaded}

    def _write(self, sources: dict[str, tuple[int, Callable[[], Matches]]]) -> None:
        number = max((_part_number(path) for path in part_files(self.folder)), default=0) + 1
        entries = [Entry(name, sources[name][0]) for name in sorted(sources)]
        matches: Iterator[Matches] = (sources[entry.name][1]() for entry in entries)
        with whole_file(self.folder / self._part_name(number)) as temporary:
            self._form.write(temporary, self.precision, entries, matches)
            # What it replaces is removed next: by then it must be on the disk.
            with temporary.open("rb") as file:
                os.fsync(file.fileno())

    def _part_name(self, number: int) -> str:
        return f"part-{number:04d}{self._form.suffix}"


def _part_number(path: Path) -> int:
    """The number in a part's name."""
    found = _PART.fullmatch(path.name)
    return int(found[1]) if found else 0


def _rank(part: Part) -> int:
    """Equal for parts of like size."""
    return max(0, int(math.log(max(1, part.path.stat().st_size) / PACKED_BYTES, _ALIKE)) + 1)
