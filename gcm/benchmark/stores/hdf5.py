"""Many pairs in an HDF5 file, one after the other in a few long arrays.

A group a pair, as is common, takes some 10 KB and a dozen seeks each. Here the file holds

- ``pairs``: a row a pair, by name: ``name``, ``first`` and ``count`` (its rows in the arrays below),
  ``size0`` and ``size1`` (width, height), ``homography`` (3 x 3, image 0 to 1) and ``confidence`` (NaN where
  there is none), ``has_inliers``, ``checksum`` (CRC-32 of its rows in the arrays below);
- ``keypoints0``, ``keypoints1``: M x 2, row k of both a match; ``scores``: M; ``inliers``: M;
- attributes ``format`` and ``precision``. Positions of precision ``uint16`` are places on the grid of
  :mod:`gcm.benchmark.stores.precision`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gcm.benchmark.stores.parts import Entry, ReplacedError, damaged, stamp_of
from gcm.benchmark.stores.precision import decode_points, encode_points, score_type
from gcm.errors import DependencyError, to_install
from gcm.matches import Matches

__all__ = ["Hdf5Format"]

_FORMAT = 1
_ARRAYS = ("keypoints0", "keypoints1", "scores", "inliers")
_AT_ONCE = 2**16
"""Matches that are written in one go."""


class Hdf5Format:
    """HDF5 files of many pairs.

    Raises:
        DependencyError: h5py is not installed.
    """

    kind = "h5"
    suffix = ".h5"

    def __init__(self) -> None:
        _load_h5py()

    def write(self, path: Path, precision: str, entries: Sequence[Entry], matches: Iterator[Matches]) -> None:
        """Write a file; see :class:`gcm.benchmark.stores.parts.PartFormat`."""
        # HDF5 cannot give up a file that it failed to write to the end, so the file is Python's to close.
        with path.open("w+b") as stream:
            try:
                with _load_h5py().File(stream, "w") as file:
                    _fill(file, precision, entries, matches)
            except (RuntimeError, ValueError) as error:
                raise OSError(f"HDF5: {error}") from error

    def read(self, path: Path) -> Hdf5Part:
        """Look at a file; raises FileNotFoundError, InputError."""
        stamp = stamp_of(path.stat())
        with _damage_told(path), _load_h5py().File(path, "r", locking=False) as file:
            if file.attrs["format"] != _FORMAT:
                raise ValueError(f"format {file.attrs['format']}, of another version of gcm")
            table = file["pairs"]
            names = [name.decode() for name in table.fields("name")[:].tolist()]
            counts = table.fields("count")[:].tolist()
            total = sum(counts)
            if any(len(file[array]) != total for array in _ARRAYS):
                raise ValueError("arrays of other lengths than its pairs say")
            entries = [Entry(name, count) for name, count in zip(names, counts, strict=True)]
            columns = {name: _Column.of(file[name]) for name in ("pairs", *_ARRAYS)}
        return Hdf5Part(path, entries, columns, stamp)


class _Column(NamedTuple):
    """Where an array lies in its file, whole and row by row."""

    offset: int
    dtype: np.dtype[Any]
    width: int
    """Values a row."""

    @classmethod
    def of(cls, dataset: Any) -> _Column:
        """That of a dataset."""
        offset = dataset.id.get_offset()
        if offset is None and len(dataset):
            raise ValueError(f"{dataset.name} does not lie in one piece")
        return cls(offset or 0, dataset.dtype, dataset.shape[1] if dataset.ndim > 1 else 1)

    def rows(self, file: BinaryIO, first: int, count: int) -> NDArray[Any]:
        """Some rows, read from the file; N x 2 where a row has two values."""
        row = self.width * self.dtype.itemsize
        file.seek(self.offset + first * row)
        content = file.read(count * row)
        if len(content) != count * row:
            raise ValueError("cut short")
        values = np.frombuffer(content, self.dtype)
        return values.reshape(count, self.width) if self.width > 1 else values


class Hdf5Part:
    """A file of many pairs.

    Its arrays lie in one piece each, so that a pair's rows are read without HDF5, in a tenth of the time.

    Args:
        path: the file.
        entries: the pairs in it, in order.
        columns: where its arrays lie.
        stamp: what tells the file from another of its name.
    """

    def __init__(
        self, path: Path, entries: Sequence[Entry], columns: dict[str, _Column], stamp: tuple[int, int]
    ) -> None:
        self.path = path
        self.entries = entries
        self._columns, self._stamp = columns, stamp
        self._rows = {entry.name: row for row, entry in enumerate(entries)}

    def load(self, name: str) -> Matches:
        """The matches of a pair."""
        with self.opened() as load:
            return load(name)

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], Matches]]:
        """Loads pairs from the file, which is opened once."""
        with _damage_told(self.path), self.path.open("rb", buffering=0) as file:
            if stamp_of(os.fstat(file.fileno())) != self._stamp:
                raise ReplacedError(str(self.path))
            yield lambda name: self._load(file, name)

    def _load(self, file: BinaryIO, name: str) -> Matches:
        (pair,) = self._columns["pairs"].rows(file, self._rows[name], 1)
        first, count = int(pair["first"]), int(pair["count"])
        values = [self._columns[array].rows(file, first, count) for array in _ARRAYS]
        if pair["name"].decode() != name or _checksum(values) != pair["checksum"]:
            raise ValueError(f"'{name}' is not as it was written")
        width0, height0 = pair["size0"].tolist()
        width1, height1 = pair["size1"].tolist()
        homography, confidence = pair["homography"], float(pair["confidence"])
        return Matches(
            decode_points(values[0], (width0, height0)),
            decode_points(values[1], (width1, height1)),
            values[2].astype(np.float64),
            (width0, height0),
            (width1, height1),
            None if np.isnan(homography).any() else homography.copy(),
            values[3].astype(bool) if pair["has_inliers"] else None,
            confidence=None if np.isnan(confidence) else confidence,
        )


def _fill(file: Any, precision: str, entries: Sequence[Entry], matches: Iterator[Matches]) -> None:
    total = sum(entry.length for entry in entries)
    types = {
        "keypoints0": precision,
        "keypoints1": precision,
        "scores": score_type(precision),
        "inliers": bool,
    }
    arrays = [
        file.create_dataset(name, (total, 2) if name.startswith("keypoints") else (total,), types[name])
        for name in _ARRAYS
    ]
    table = _table(entries)
    start, waiting = 0, []
    for row, found in enumerate(matches):
        values = _values(found, precision)
        _describe(table[row : row + 1], found, values)
        waiting.append(values)
        count = int(table["first"][row] + table["count"][row]) - start
        if count >= _AT_ONCE or row == len(entries) - 1:
            for array, parts in zip(arrays, zip(*waiting, strict=True), strict=True):
                array[start : start + count] = np.concatenate(parts)
            start, waiting = start + count, []
    file.create_dataset("pairs", data=table)
    file.attrs.update({"format": _FORMAT, "precision": precision})


def _table(entries: Sequence[Entry]) -> NDArray[Any]:
    names = [entry.name.encode() for entry in entries]
    longest = max(map(len, names), default=1)
    fields: list[Any] = [
        ("name", _load_h5py().string_dtype("utf-8", longest)),
        ("first", np.int64),
        ("count", np.int32),
        ("size0", np.int32, 2),
        ("size1", np.int32, 2),
        ("homography", np.float64, (3, 3)),
        ("confidence", np.float64),
        ("has_inliers", np.bool_),
        ("checksum", np.uint32),
    ]
    table = np.zeros(len(entries), fields)
    table["name"] = names
    table["count"] = counts = [entry.length for entry in entries]
    table["first"] = list(accumulate(counts, initial=0))[:-1]
    return table


def _values(matches: Matches, precision: str) -> list[NDArray[Any]]:
    """What each of the long arrays gets of a pair."""
    inliers = matches.inliers if matches.inliers is not None else np.zeros(len(matches), bool)
    return [
        encode_points(matches.points0, matches.size0, precision),
        encode_points(matches.points1, matches.size1, precision),
        matches.scores.astype(score_type(precision)),
        inliers,
    ]


def _describe(row: NDArray[Any], matches: Matches, values: Sequence[NDArray[Any]]) -> None:
    """Fill in what the table says of a pair besides its name and place."""
    row["size0"], row["size1"] = matches.size0, matches.size1
    row["homography"] = np.nan if matches.h_0_to_1 is None else matches.h_0_to_1
    row["confidence"] = np.nan if matches.confidence is None else matches.confidence
    row["has_inliers"] = matches.inliers is not None
    row["checksum"] = _checksum(values)


def _checksum(values: Sequence[NDArray[Any]]) -> int:
    checksum = 0
    for array in values:
        checksum = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, checksum)
    return checksum


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """What goes wrong with a file that is there is told as damage.

    HDF5's own locks, which not every file system has, are left out: these files never change.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        if not path.exists():  # removed while HDF5 was opening it, which has no word for that
            raise FileNotFoundError(path) from error
        raise damaged(path, error) from error


def _load_h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise DependencyError(f"matches in h5 need h5py ({error}); {to_install('h5')}") from error
    return h5py
