"""From extracted matches to the files that IME's evaluation, and ours, read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gcm.benchmark.extract import CONVERTED_FOLDER, MATCHES_FOLDER, matches_name, read_places
from gcm.benchmark.layout import SUBSETS
from gcm.errors import DatasetError
from gcm.storage.atomic import clear_leftovers, whole_file
from gcm.storage.locks import only_writer
from gcm.storage.npz import Npz

__all__ = ["Conversion", "Prediction", "convert", "converted_path", "matched_index", "read_prediction"]

Prediction: TypeAlias = tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]
"""Points of image 0 (N x 2), points of image 1 (M x 2), K x 2 rows of both that match."""

_ARRAYS = ("pointsA", "pointsB", "keypoints0", "keypoints1", "matches")
_HPATCHES = re.compile(r"(?P<sequence>(?P<kind>[iv])_\w+?)_(\d+)_(?P=sequence)_(\d+)_matches")


@dataclass
class Conversion:
    """What :func:`convert` did."""

    files: int
    skipped: int = 0
    """Converted before and unchanged since."""
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Files that could not be converted, and why."""


def converted_path(output_dir: Path, subset: str, sequence: str, name: str) -> Path:
    """Where the converted matches of a pair lie."""
    return Path(output_dir, CONVERTED_FOLDER, subset, sequence, matches_name(name))


def convert(output_dir: Path, *, on_file: Callable[[Path], None] | None = None) -> Conversion:
    """Convert ``original_outputs/*_matches.npz`` to ``outputs/<subset>/<sequence>/*_matches.npz``.

    A converted file is as old as its original; one that is so already is left alone. Where a file goes is
    known from extraction, or else read from its name as HPatches has them.

    Raises:
        DatasetError: nothing to convert.
        OutputError: files cannot be written.
    """
    folder = output_dir / MATCHES_FOLDER
    sources = sorted(folder.glob(matches_name("*")))
    if not sources:
        raise DatasetError(
            f"{folder}: holds no *_matches.npz; run 'gcm extract' with this output folder first"
        )
    places = read_places(output_dir)
    report = Conversion(len(sources))
    pending: list[tuple[Path, Path]] = []
    for source in sources:
        try:
            target = _target(output_dir, source, places)
        except DatasetError as error:
            report.failed[source.name] = str(error)
            continue
        if target.is_file() and target.stat().st_mtime_ns == source.stat().st_mtime_ns:
            report.skipped += 1
        else:
            pending.append((source, target))
    if pending:
        with only_writer(output_dir):
            clear_leftovers({target.parent for _, target in pending}, {target.name for _, target in pending})
            for source, target in pending:
                _convert_file(source, target, report)
                if on_file is not None:
                    on_file(source)
    return report


def _target(output_dir: Path, source: Path, places: Mapping[str, Mapping[str, str]]) -> Path:
    name = source.name.removesuffix(matches_name(""))
    place = places.get(name)
    if place is not None:
        return converted_path(output_dir, place["subset"], place["sequence"], name)
    found = _HPATCHES.fullmatch(source.stem)
    if found is None:
        raise DatasetError(
            f"{source.name}: not named as HPatches has it (v_adam_1_v_adam_2_matches.npz) and not "
            "extracted by gcm here; rename it"
        )
    return converted_path(output_dir, SUBSETS[found["kind"]], found["sequence"], name)


def _convert_file(source: Path, target: Path, report: Conversion) -> None:
    try:
        points0, points1, index = read_prediction(source)
    except DatasetError as error:
        report.failed[source.name] = str(error)
        return
    stamp = source.stat().st_mtime_ns
    with whole_file(target) as temporary:
        np.savez(temporary, pointsA=points0, pointsB=points1, matches=index)
        os.utime(temporary, ns=(stamp, stamp))
    report.done += 1


def read_prediction(path: Path, archive: Npz | None = None) -> Prediction:
    """Read a file of matches, extracted or converted, of ours or of another IME algorithm.

    Args:
        path: the file.
        archive: its content, where it has been read already.

    Returns:
        Points of image 0 (N x 2) and image 1 (M x 2), and K x 2 rows of both that match.

    Raises:
        DatasetError: missing, damaged, or its arrays do not fit together.
    """
    try:
        arrays = (archive or Npz(path.read_bytes())).arrays(_ARRAYS)
        names = ("pointsA", "pointsB") if "pointsA" in arrays else ("keypoints0", "keypoints1")
        points = [arrays[name] for name in names]
        matches = arrays["matches"]
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file") from error
    except KeyError as error:
        raise DatasetError(f"{path}: lacks {error.args[0]}") from error
    except Exception as error:  # numpy and zipfile report damage in many ways
        raise DatasetError(f"{path}: not a file of matches ({error})") from error
    for number, array in enumerate(points):
        if array.size == 0:
            points[number] = array.reshape(0, 2)
        elif array.ndim != 2 or array.shape[1] != 2:
            raise DatasetError(f"{path}: points of shape {array.shape} where N x 2 is expected")
        elif not np.all(np.isfinite(array)):
            raise DatasetError(f"{path}: holds points that are not finite numbers")
    try:
        return points[0], points[1], matched_index(matches, len(points[0]), len(points[1]))
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error


def matched_index(matches: NDArray[Any], count0: int, count1: int) -> NDArray[np.int64]:
    """K x 2 rows of the two arrays of points that match.

    Args:
        matches: K x 2 already; or, for each of `count0` points, the row of its match, -1 for none.
        count0, count1: how many points there are.

    Raises:
        ValueError: another shape, or rows that are not there.
    """
    if matches.size == 0:
        return np.zeros((0, 2), dtype=np.int64)
    rows = matches.astype(np.int64, copy=False)
    if matches.dtype != np.int64 and not np.array_equal(rows, matches):
        raise ValueError("matches are not whole numbers")
    if rows.ndim == 1 and len(rows) == count0:
        rows = np.column_stack([np.arange(count0), rows])[rows >= 0]
    if rows.ndim != 2 or rows.shape[1] != 2:
        raise ValueError(f"matches of shape {matches.shape} for {count0} points; K x 2 or N is expected")
    if len(rows) and (rows.min() < 0 or rows[:, 0].max() >= count0 or rows[:, 1].max() >= count1):
        raise ValueError("matches name points that are not there")
    return rows
