"""Many pairs in a Parquet file, a row a pair, for pandas, Polars, DuckDB, Spark and their like.

Columns: ``name``; ``count`` of matches; ``width0``, ``height0``, ``width1``, ``height1``; ``homography``
(nine numbers, image 0 to 1, row by row) and ``confidence``, both null where there is none; and lists of a
value a match: ``x0``, ``y0``, ``x1``, ``y1``, ``score`` and ``inlier`` (null where unknown). The metadata
say ``gcm.format`` and ``gcm.precision``. Positions of precision ``uint16`` are places on the grid of
:mod:`gcm.benchmark.stores.precision`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcm.benchmark.stores.parts import Entry, ReplacedError, damaged, stamp_of
from gcm.benchmark.stores.precision import decode_points, encode_points, score_type
from gcm.errors import DependencyError, to_install
from gcm.matches import Matches

__all__ = ["ParquetFormat"]

_FORMAT = "1"
_GROUP_MATCHES = 2**13
"""Matches from which on a group of rows is complete. A group is read as a whole, and its entry in the file's
directory takes a kilobyte and a half."""

_POSITIONS = ("x0", "y0", "x1", "y1")


class ParquetFormat:
    """Parquet files of many pairs.

    Raises:
        DependencyError: pyarrow is not installed.
    """

    kind = "parquet"
    suffix = ".parquet"

    def __init__(self) -> None:
        _load_pyarrow()

    def write(self, path: Path, precision: str, entries: Sequence[Entry], matches: Iterator[Matches]) -> None:
        """Write a file; see :class:`gcm.benchmark.stores.parts.PartFormat`."""
        pa, pq = _load_pyarrow()
        schema = _schema(pa, precision)
        # Codes of uint16 would take four bytes each: Parquet has no smaller whole numbers, but packs them.
        packed = [f"{name}.list.element" for name in _POSITIONS] if precision == "uint16" else []
        with (
            path.open("wb") as stream,
            pq.ParquetWriter(
                stream,
                schema,
                compression="none",
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
                column_encoding=dict.fromkeys(packed, "DELTA_BINARY_PACKED") or None,
            ) as writer,
        ):
            group: list[tuple[Entry, Matches]] = []
            for entry, found in zip(entries, matches, strict=True):
                group.append((entry, found))
                if sum(e.length for e, _ in group) >= _GROUP_MATCHES:
                    writer.write_table(_table(pa, schema, group, precision))
                    group = []
            if group:
                writer.write_table(_table(pa, schema, group, precision))

    def read(self, path: Path) -> ParquetPart:
        """Look at a file; raises FileNotFoundError, InputError."""
        with _open(path, None) as (file, stamp):
            told = (file.metadata.metadata or {}).get(b"gcm.format", b"").decode()
            if told != _FORMAT:
                raise ValueError(f"format '{told}', of another version of gcm")
            table = file.read(columns=["name", "count"])
            columns = table["name"].to_pylist(), table["count"].to_pylist()
            entries = [Entry(name, count) for name, count in zip(*columns, strict=True)]
            return ParquetPart(path, entries, file.metadata, stamp)


class ParquetPart:
    """A file of many pairs.

    Args:
        path: the file.
        entries: the pairs in it, in order.
        metadata: its directory, so that it is not read again for each pair.
        stamp: what tells the file from another of its name.
    """

    def __init__(self, path: Path, entries: Sequence[Entry], metadata: Any, stamp: tuple[int, int]) -> None:
        self.path = path
        self.entries = entries
        self._metadata, self._stamp = metadata, stamp
        groups = (
            (group, row)
            for group in range(metadata.num_row_groups)
            for row in range(metadata.row_group(group).num_rows)
        )
        self._places = {entry.name: place for entry, place in zip(entries, groups, strict=True)}

    def load(self, name: str) -> Matches:
        """The matches of a pair."""
        with self.opened() as load:
            return load(name)

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], Matches]]:
        """Loads pairs from the file, which is opened once; pairs that lie together are read together."""
        with _open(self.path, self._metadata) as (file, stamp):
            if stamp != self._stamp:
                raise ReplacedError(str(self.path))
            group, table = -1, None

            def load(name: str) -> Matches:
                nonlocal group, table
                wanted, row = self._places[name]
                if wanted != group:
                    group, table = wanted, file.read_row_group(wanted, use_threads=False)
                return _matches(table, row)

            yield load


def _schema(pa: Any, precision: str) -> Any:
    position, score = (pa.from_numpy_dtype(kind) for kind in (precision, score_type(precision)))
    fields = [
        pa.field("name", pa.string(), nullable=False),
        pa.field("count", pa.int32(), nullable=False),
        *(pa.field(f"{key}{k}", pa.int32(), nullable=False) for k in (0, 1) for key in ("width", "height")),
        pa.field("homography", _list(pa, pa.float64())),
        pa.field("confidence", pa.float64()),
        *(pa.field(name, _list(pa, position), nullable=False) for name in _POSITIONS),
        pa.field("score", _list(pa, score), nullable=False),
        pa.field("inlier", _list(pa, pa.bool_())),
    ]
    return pa.schema(fields, metadata={"gcm.format": _FORMAT, "gcm.precision": precision})


def _list(pa: Any, element: Any) -> Any:
    return pa.list_(pa.field("element", element, nullable=False))


def _table(pa: Any, schema: Any, group: Sequence[tuple[Entry, Matches]], precision: str) -> Any:
    found = [matches for _, matches in group]
    codes = [
        np.hstack([encode_points(points, size, precision) for points, size in _both(matches)])
        for matches in found
    ]
    arrays = {
        "name": pa.array([entry.name for entry, _ in group], pa.string()),
        "count": pa.array([len(m) for m in found], pa.int32()),
        "homography": _lists(pa, schema, "homography", [_flat(m.h_0_to_1) for m in found]),
        "confidence": pa.array([m.confidence for m in found], pa.float64()),
        "score": _lists(pa, schema, "score", [m.scores.astype(score_type(precision)) for m in found]),
        "inlier": _lists(pa, schema, "inlier", [m.inliers for m in found]),
    }
    for column, name in enumerate(_POSITIONS):
        arrays[name] = _lists(pa, schema, name, [code[:, column] for code in codes])
    for k in (0, 1):
        for axis, key in enumerate(("width", "height")):
            sizes = [(m.size0, m.size1)[k][axis] for m in found]
            arrays[f"{key}{k}"] = pa.array(sizes, pa.int32())
    return pa.table([arrays[name] for name in schema.names], schema=schema)


def _both(matches: Matches) -> tuple[tuple[NDArray[np.float64], tuple[int, int]], ...]:
    return (matches.points0, matches.size0), (matches.points1, matches.size1)


def _flat(matrix: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    return None if matrix is None else matrix.ravel()


def _lists(pa: Any, schema: Any, column: str, rows: Sequence[NDArray[Any] | None]) -> Any:
    """A column of lists, null where a row is None."""
    kind = schema.field(column).type
    ends = np.cumsum([0, *(0 if row is None else len(row) for row in rows)])
    whole = [row for row in rows if row is not None]
    values = pa.array(np.concatenate(whole) if whole else [], kind.value_type)
    missing = pa.array([row is None for row in rows], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values, type=kind, mask=missing)


def _matches(table: Any, row: int) -> Matches:
    def scalar(name: str) -> Any:
        return table[name][row].as_py()

    def values(name: str) -> NDArray[Any] | None:
        entry = table[name][row]
        return entry.values.to_numpy(zero_copy_only=False) if entry.is_valid else None

    x0, y0, x1, y1, scores = (values(name) for name in (*_POSITIONS, "score"))
    assert scores is not None
    sizes = [(scalar(f"width{k}"), scalar(f"height{k}")) for k in (0, 1)]
    homography = values("homography")
    return Matches(
        decode_points(np.column_stack([x0, y0]), sizes[0]),  # type: ignore[list-item]
        decode_points(np.column_stack([x1, y1]), sizes[1]),  # type: ignore[list-item]
        scores.astype(np.float64),
        sizes[0],
        sizes[1],
        None if homography is None else homography.reshape(3, 3).copy(),
        values("inlier"),
        confidence=scalar("confidence"),
    )


@contextmanager
def _open(path: Path, metadata: Any) -> Iterator[tuple[Any, tuple[int, int]]]:
    """The file for reading, and what tells it from another; what goes wrong with it is told as damage."""
    pa, pq = _load_pyarrow()
    try:
        with path.open("rb") as stream:
            stamp = stamp_of(os.fstat(stream.fileno()))
            with pq.ParquetFile(stream, metadata=metadata, page_checksum_verification=True) as file:
                yield file, stamp
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise damaged(path, error) from error


def _load_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DependencyError(
            f"matches in parquet need pyarrow ({error}); {to_install('parquet')}"
        ) from error
    return pyarrow, pyarrow.parquet
