"""From extracted matches to files in the layout of Image Matching Evaluation (IME), for its tools."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gcm.benchmark.layout import (
    MATCHES_FOLDER,
    Places,
    converted_path,
    matches_name,
    place_of,
    read_places,
)
from gcm.benchmark.predictions import extracted_prediction
from gcm.benchmark.stores import MatchStore, open_store
from gcm.errors import DatasetError
from gcm.storage.atomic import clear_leftovers, whole_file
from gcm.storage.locks import only_writer

__all__ = ["Conversion", "convert"]


@dataclass
class Conversion:
    """What :func:`convert` did."""

    files: int
    skipped: int = 0
    """Converted before and unchanged since."""
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Files that could not be converted, and why."""


def convert(output_dir: Path, *, on_file: Callable[[Path], None] | None = None) -> Conversion:
    """Convert what was extracted, of any store, to ``outputs/<subset>/<sequence>/*_matches.npz``.

    Evaluation does not need it: :func:`gcm.benchmark.evaluate.evaluate` reads what was extracted. A converted
    file is as old as its original; one that is so already is left alone. Where a file goes is known from
    extraction, or else read from its name as HPatches has them.

    Raises:
        DatasetError: nothing to convert.
        InputError, DependencyError: the store cannot be read.
        OutputError: files cannot be written.
    """
    store = open_store(output_dir)
    names = store.names()
    if not names:
        raise DatasetError(
            f"{output_dir / MATCHES_FOLDER}: holds no matches; run 'gcm extract' with this folder first"
        )
    places = read_places(output_dir)
    report = Conversion(len(names))
    pending: list[tuple[str, Path]] = []
    for name in names:
        try:
            target = _target(output_dir, name, places)
        except DatasetError as error:
            report.failed[matches_name(name)] = str(error)
            continue
        if target.is_file() and target.stat().st_mtime_ns == store.modified(name):
            report.skipped += 1
        else:
            pending.append((name, target))
    if pending:
        with only_writer(output_dir):
            clear_leftovers({target.parent for _, target in pending}, {target.name for _, target in pending})
            for name, target in pending:
                _convert_pair(store, name, target, report)
                if on_file is not None:
                    on_file(target)
    return report


def _target(output_dir: Path, name: str, places: Places) -> Path:
    place = place_of(name, places)
    if place is None:
        raise DatasetError(
            f"{matches_name(name)}: not named as HPatches has it (v_adam_1_v_adam_2_matches.npz) and not "
            "extracted by gcm here; rename it"
        )
    return converted_path(output_dir, place, name)


def _convert_pair(store: MatchStore, name: str, target: Path, report: Conversion) -> None:
    try:
        prediction = extracted_prediction(store, name)
    except DatasetError as error:
        report.failed[matches_name(name)] = str(error)
        return
    stamp = store.modified(name)
    with whole_file(target) as temporary:
        np.savez(temporary, pointsA=prediction.points0, pointsB=prediction.points1, matches=prediction.rows)
        os.utime(temporary, ns=(stamp, stamp))
    report.done += 1
