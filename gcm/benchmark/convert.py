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
    name_of_matches,
    place_of,
    read_places,
    read_prediction,
)
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
    """Convert ``original_outputs/*_matches.npz`` to ``outputs/<subset>/<sequence>/*_matches.npz``.

    Evaluation does not need it: :func:`gcm.benchmark.evaluate.evaluate` reads what was extracted. A converted
    file is as old as its original; one that is so already is left alone. Where a file goes is known from
    extraction, or else read from its name as HPatches has them.

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


def _target(output_dir: Path, source: Path, places: Places) -> Path:
    name = name_of_matches(source)
    place = place_of(name, places)
    if place is None:
        raise DatasetError(
            f"{source.name}: not named as HPatches has it (v_adam_1_v_adam_2_matches.npz) and not "
            "extracted by gcm here; rename it"
        )
    return converted_path(output_dir, place, name)


def _convert_file(source: Path, target: Path, report: Conversion) -> None:
    try:
        prediction = read_prediction(source)
    except DatasetError as error:
        report.failed[source.name] = str(error)
        return
    stamp = source.stat().st_mtime_ns
    with whole_file(target) as temporary:
        np.savez(temporary, pointsA=prediction.points0, pointsB=prediction.points1, matches=prediction.rows)
        os.utime(temporary, ns=(stamp, stamp))
    report.done += 1
