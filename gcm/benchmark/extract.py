"""Matching all pairs of a list into a folder; can be stopped at any moment and started again.

The folder holds, besides one ``original_outputs/<name>_matches.npz`` a pair:

- ``config.yml``: the algorithm and its configuration, and at the end the total and mean time;
- ``pairs.json``: which images each name stands for, and where :mod:`gcm.benchmark.convert` puts it;
- ``times.csv``: seconds each pair took, written as they finish.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gcm.benchmark.pairs import Pair
from gcm.benchmark.workers import Outcome, match_pairs
from gcm.errors import ConfigError, DatasetError, OutputError
from gcm.matchers import AlgorithmSpec
from gcm.storage.atomic import clear_leftovers, write_if_changed
from gcm.storage.locks import only_writer

__all__ = ["MATCHES_FOLDER", "PAIRS_FILE", "Extraction", "extract", "matches_name"]

MATCHES_FOLDER = "original_outputs"
CONVERTED_FOLDER = "outputs"
PAIRS_FILE = "pairs.json"
CONFIG_FILE = "config.yml"
TIMES_FILE = "times.csv"


@dataclass
class Extraction:
    """What :func:`extract` did."""

    pairs: int
    skipped: int = 0
    """Finished before."""
    done: int = 0
    """Matched in this call."""
    failed: dict[str, str] = field(default_factory=dict)
    """Pairs that could not be matched, and why."""
    total_seconds: float = 0.0
    """Of matching, over all finished pairs of the folder, also of earlier calls."""
    mean_seconds: float = 0.0


def matches_name(name: str) -> str:
    """File name of a pair's matches."""
    return f"{name}_matches.npz"


def extract(
    pairs: Sequence[Pair],
    spec: AlgorithmSpec,
    output_dir: Path,
    *,
    workers: int | None = None,
    at_once: int | None = None,
    overwrite: bool = False,
    on_begin: Callable[[int], None] | None = None,
    on_pair: Callable[[Outcome], None] | None = None,
) -> Extraction:
    """Match every pair that is not finished yet.

    Args:
        pairs: named pairs, as :func:`gcm.benchmark.pairs.read_pairs` gives them.
        spec: the algorithm and its options.
        output_dir: folder of this algorithm and configuration alone.
        workers: processes to match in; :func:`gcm.benchmark.workers.default_workers` unless given.
        at_once: pairs matched side by side in one process, see :func:`gcm.benchmark.workers.match_pairs`.
        overwrite: remove what is there first, of whatever configuration.
        on_begin: called with the number of pairs left to match, before the first.
        on_pair: called with each pair's outcome as it comes.

    Raises:
        ConfigError: the folder holds results of another configuration.
        DatasetError: the folder's names stand for other images.
        GCMError: the algorithm cannot be made, or the folder cannot be written.
    """
    folder = _Folder(output_dir, spec)
    report = Extraction(len(pairs))
    pending = list(pairs)
    if not overwrite:
        folder.check()
        folder.check_pairs(pairs)
        pending = [pair for pair in pairs if not folder.matches(pair).is_file()]
        if not pending and folder.is_settled():
            report.skipped = len(pairs)
            report.total_seconds, report.mean_seconds = folder.times()
            return report
    with only_writer(output_dir):
        outcomes = match_pairs(spec, pending, workers=workers, at_once=at_once)
        if overwrite:  # not before the algorithm could be made
            folder.clear()
        report.skipped = len(pairs) - len(pending)
        folder.begin(pairs)
        if on_begin is not None:
            on_begin(len(pending))
        for outcome in outcomes:
            if outcome.matches is None:
                report.failed[outcome.pair.name] = outcome.error or "failed"
            else:
                # The time first: a finished pair always has one, also when killed between the two.
                folder.note_time(outcome.pair, outcome.seconds)
                outcome.matches.save(folder.matches(outcome.pair))
                report.done += 1
            if on_pair is not None:
                on_pair(outcome)
        folder.settle()
    report.total_seconds, report.mean_seconds = folder.times()
    return report


class _Folder:
    """An output folder and the files in it."""

    def __init__(self, path: Path, spec: AlgorithmSpec) -> None:
        self.path = path
        self.results = path / MATCHES_FOLDER
        # Through YAML and back, so that it compares equal to what was read.
        self.record: dict[str, Any] = yaml.safe_load(yaml.safe_dump(spec.describe()))
        self.name = spec.name

    def matches(self, pair: Pair) -> Path:
        return self.results / matches_name(pair.name)

    def check(self) -> None:
        """Refuse a folder of another configuration, or of one that is not known."""
        config = self.path / CONFIG_FILE
        if not config.is_file():
            if self.path.is_dir() and any(self.results.glob(matches_name("*"))):
                raise ConfigError(
                    f"{self.path}: holds matches but no {CONFIG_FILE} that says how they were made; "
                    "use another folder, or --overwrite"
                )
            return
        found = _read_yaml(config)
        differing = _differences({key: found.get(key) for key in self.record}, self.record)
        if differing:
            raise ConfigError(
                f"{self.path}: holds results of another configuration ({'; '.join(differing[:4])}); "
                "use another folder, or --overwrite to replace them"
            )

    def check_pairs(self, pairs: Sequence[Pair]) -> None:
        """Refuse a list in which a name stands for other images than those matched here."""
        known = read_places(self.path)
        for pair in pairs:
            entry = known.get(pair.name)
            if entry is not None and entry != _place(pair):
                raise DatasetError(
                    f"{self.path}: '{pair.name}' already stands for {entry['image0']} and {entry['image1']}; "
                    "use another folder for this list"
                )

    def is_settled(self) -> bool:
        """Whether the closing lines have been written."""
        config = self.path / CONFIG_FILE
        return config.is_file() and "total_time" in _read_yaml(config)

    def clear(self) -> None:
        """Remove every result; the configuration last, so that a kill on the way leaves it to be seen."""
        stale = [
            *self.results.glob(matches_name("*")),
            *(self.path / CONVERTED_FOLDER).rglob(matches_name("*")),
        ]
        stale += [self.path / PAIRS_FILE, self.path / TIMES_FILE, self.path / CONFIG_FILE]
        try:
            for path in stale:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{error.filename}: cannot be removed ({error.strerror})") from error

    def begin(self, pairs: Sequence[Pair]) -> None:
        """Write what must be there before the first result."""
        clear_leftovers([self.path], [CONFIG_FILE, PAIRS_FILE, TIMES_FILE])
        clear_leftovers([self.results], [matches_name(pair.name) for pair in pairs])
        if not (self.path / CONFIG_FILE).is_file():
            self._write_config({})
        self._write_times()  # a line that a kill cut short must not run into the next
        places = read_places(self.path) | {pair.name: _place(pair) for pair in pairs}
        text = json.dumps(dict(sorted(places.items())), indent=1, ensure_ascii=False) + "\n"
        write_if_changed(self.path / PAIRS_FILE, text.encode())

    def note_time(self, pair: Pair, seconds: float) -> None:
        path = self.path / TIMES_FILE
        try:
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerow([pair.name, f"{seconds:.4f}"])
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error

    def settle(self) -> None:
        """Put the times in order and the sums into the configuration file."""
        self._write_times()
        total, mean = self.times()
        closing = {"pairs": len(self._times()), "total_time": round(total, 4), "mean_time": round(mean, 4)}
        self._write_config(closing)

    def _write_times(self) -> None:
        text = io.StringIO()
        rows = [[name, f"{seconds:.4f}"] for name, seconds in self._times().items()]
        csv.writer(text, lineterminator="\n").writerows(rows)
        if rows or (self.path / TIMES_FILE).is_file():
            write_if_changed(self.path / TIMES_FILE, text.getvalue().encode())

    def times(self) -> tuple[float, float]:
        """Total and mean seconds of the finished pairs."""
        times = self._times()
        total = sum(times.values())
        return total, total / len(times) if times else 0.0

    def _times(self) -> dict[str, float]:
        """Seconds of each finished pair, by name; a line that a kill cut short is passed over."""
        path = self.path / TIMES_FILE
        times: dict[str, float] = {}
        if not path.is_file():
            return times
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                try:
                    name, seconds = row
                    times[name] = float(seconds)
                except ValueError:
                    continue
        return {name: times[name] for name in sorted(times) if (self.results / matches_name(name)).is_file()}

    def _write_config(self, closing: dict[str, Any]) -> None:
        text = yaml.safe_dump(self.record | closing, sort_keys=False, allow_unicode=True)
        write_if_changed(self.path / CONFIG_FILE, text.encode())


def read_places(output_dir: Path) -> dict[str, dict[str, str]]:
    """What each name in an output folder stands for; empty where :func:`extract` has not been at work."""
    path = output_dir / PAIRS_FILE
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise DatasetError(f"{path}: damaged ({error}); remove it, or extract with --overwrite") from error


def _place(pair: Pair) -> dict[str, str]:
    # The last two folders say enough, and stay the same when the data set is moved.
    image0, image1 = ("/".join(image.absolute().parts[-3:]) for image in (pair.image0, pair.image1))
    return {"image0": image0, "image1": image1, "subset": pair.subset, "sequence": pair.sequence}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    return found if isinstance(found, dict) else {}


def _differences(found: Any, wanted: Any, key: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        return [
            line
            for name in dict.fromkeys([*wanted, *found])
            for line in _differences(found.get(name), wanted.get(name), name)
        ]
    return [] if found == wanted else [f"{key}: {found!r} there, {wanted!r} now"]
