"""Matching all pairs of a list into a folder; can be stopped at any moment and started again.

What the folder holds is told in :mod:`gcm.benchmark.layout`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gcm.benchmark.layout import (
    CONFIG_FILE,
    CONVERTED_FOLDER,
    MATCHES_FOLDER,
    PAIRS_FILE,
    TIMES_FILE,
    Places,
    changed_files,
    describe_places,
    matches_name,
    read_places,
    same_pair,
)
from gcm.benchmark.pairs import Pair
from gcm.benchmark.stores import MatchStore, clear_store, store_for_writing
from gcm.benchmark.workers import Outcome, match_pairs
from gcm.errors import ConfigError, DatasetError, OutputError
from gcm.matchers import MatcherSpec
from gcm.storage.atomic import clear_leftovers, remove_files, write_if_changed
from gcm.storage.locks import only_writer
from gcm.storage.yaml_files import read_yaml

__all__ = ["Extraction", "ResultsFolder", "extract", "results_folder"]


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


def extract(
    pairs: Sequence[Pair],
    spec: MatcherSpec,
    output_dir: Path,
    *,
    workers: int | None = None,
    at_once: int | None = None,
    total: int | None = None,
    overwrite: bool = False,
    store: str | None = None,
    precision: str | None = None,
    on_begin: Callable[[int], None] | None = None,
    on_pair: Callable[[Outcome], None] | None = None,
) -> Extraction:
    """Match every pair that is not finished yet.

    Args:
        pairs: named pairs, as :func:`gcm.benchmark.pairs.read_pairs` gives them.
        spec: the matcher and its options.
        output_dir: folder of this matcher and configuration alone.
        workers, at_once, total: see :func:`gcm.benchmark.workers.match_pairs`; `total` as of a whole list.
        overwrite: remove what is there first, of whatever configuration.
        store, precision: how matches are kept, see :func:`gcm.benchmark.stores.store_for_writing`.
        on_begin: called with the number of pairs left to match, before the first.
        on_pair: called with each pair's outcome as it comes.

    Raises:
        ConfigError: the folder holds results of another configuration, or keeps them in another store.
        DatasetError: the folder's names stand for other images.
        GCMError: the matcher cannot be made, or the folder cannot be written.
    """
    folder = results_folder(output_dir, spec, store, precision, overwrite=overwrite)
    report = Extraction(len(pairs))
    pending = list(pairs)
    if not overwrite:
        folder.check()
        folder.check_pairs(pairs)
        pending = folder.missing(pairs)
        if not pending and folder.is_settled():
            report.skipped = len(pairs)
            report.total_seconds, report.mean_seconds = folder.times()
            return report
    with only_writer(output_dir):
        outcomes = match_pairs(spec, pending, workers=workers, at_once=at_once, total=total or len(pairs))
        if overwrite:  # not before the matcher could be made
            folder.clear()
        report.skipped = len(pairs) - len(pending)
        try:
            folder.begin(pairs)
            if on_begin is not None:
                on_begin(len(pending))
            for outcome in outcomes:
                _keep(outcome, folder, report)
                if on_pair is not None:
                    on_pair(outcome)
            folder.settle()
        finally:
            folder.remove_without_results()
    report.total_seconds, report.mean_seconds = folder.times()
    return report


def results_folder(
    output_dir: Path,
    spec: MatcherSpec,
    store: str | None = None,
    precision: str | None = None,
    *,
    overwrite: bool = False,
) -> ResultsFolder:
    """A folder of results, which need not be there yet, of a matcher and configuration.

    `store`, `precision`, `overwrite` and further errors as of
    :func:`gcm.benchmark.stores.store_for_writing`.

    Raises:
        OutputError: it is a file.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise OutputError(f"{output_dir}: is a file; give a folder for the matches")
    return ResultsFolder(
        output_dir, spec, store_for_writing(output_dir, store, precision, overwrite=overwrite)
    )


def _keep(outcome: Outcome, folder: ResultsFolder, report: Extraction) -> None:
    if outcome.matches is None:
        report.failed[outcome.pair.name] = outcome.error or "failed"
        return
    # The time first: a finished pair always has one, also when killed between the two.
    folder.note(outcome.pair, outcome.seconds, outcome.matches.confidence)
    folder.store.save(outcome.pair.name, outcome.matches)
    report.done += 1


class ResultsFolder:
    """An output folder and the files in it.

    Args:
        path: the folder; it need not be there yet.
        spec: the matcher whose results it holds.
        store: where it keeps them.
    """

    def __init__(self, path: Path, spec: MatcherSpec, store: MatchStore) -> None:
        self.path = path
        self.store = store
        self.results = path / MATCHES_FOLDER
        # Through YAML and back, so that it compares equal to what was read.
        self.record: dict[str, Any] = yaml.safe_load(yaml.safe_dump(spec.describe()))
        self.spec = spec

    def check(self, like: Path | None = None) -> None:
        """Refuse a folder of another configuration, or of one that is not known.

        Args:
            like: the folder of results whose configuration it should have, where that is where it is from.
        """
        config = self.path / CONFIG_FILE
        if not config.is_file():
            if self.store.names():
                raise ConfigError(
                    f"{self.path}: holds matches but no {CONFIG_FILE} that says how they were made; "
                    "use another folder, or --overwrite"
                )
            return
        earlier = read_yaml(config)
        now, than, mend = "now", "", "use another folder, or --overwrite to replace them"
        if like is not None:
            now, than, mend = f"in {like}", f" than {like}", "put together those of one"
        differing = _differences({key: earlier.get(key) for key in self.record}, self.record, now=now)
        if differing:
            raise ConfigError(
                f"{self.path}: holds results of another configuration{than} "
                f"({'; '.join(differing[:4])}); {mend}"
            )

    def check_pairs(self, pairs: Sequence[Pair]) -> None:
        """Refuse a list in which a name stands for other images than those matched here."""
        known, there = read_places(self.path), set(self.store.names())
        for name, place in describe_places(pairs).items():
            entry = known.get(name)
            if entry is None or entry == place:
                continue
            if any(entry.get(key) != place[key] for key in ("image0", "image1")):
                raise DatasetError(
                    f"{self.path}: '{name}' already stands for {entry['image0']} and {entry['image1']}; "
                    "use another folder for this list"
                )
            was = ""
            if not same_pair(entry, place):
                was = "with other masks, or without"
            elif name in there and (changed := changed_files(place, entry)):
                was = f"when {' and '.join(changed)} had another size"
            if was:
                raise DatasetError(
                    f"{self.path}: '{name}' was matched {was}; use another folder, or --overwrite to "
                    "match again"
                )

    def missing(self, pairs: Sequence[Pair]) -> list[Pair]:
        """The pairs that are not there, or not whole."""
        there = set(self.store.names())
        return [pair for pair in pairs if pair.name not in there or not self.store.has(pair.name)]

    def is_settled(self) -> bool:
        """Whether the closing lines have been written."""
        config = self.path / CONFIG_FILE
        return config.is_file() and "total_time" in read_yaml(config)

    def clear(self) -> None:
        """Remove every result; the configuration last, so that a kill on the way leaves it to be seen."""
        clear_store(self.path)
        stale = [*(self.path / CONVERTED_FOLDER).rglob(matches_name("*"))]
        remove_files([*stale, self.path / PAIRS_FILE, self.path / TIMES_FILE, self.path / CONFIG_FILE])

    def remove_without_results(self) -> None:
        """Leave nothing of a call that matched no pair at all."""
        if self.store.names():
            return
        self.clear()
        with suppress(OSError):  # something else lies there
            self.results.rmdir()

    def begin(self, pairs: Sequence[Pair]) -> None:
        """Write what must be there before the first result."""
        self.begin_at(describe_places(pairs))

    def begin_at(self, added: Places) -> None:
        """As :meth:`begin`, of pairs of which only what a folder remembers of them is known."""
        clear_leftovers([self.path], [CONFIG_FILE, PAIRS_FILE, TIMES_FILE])
        if not (self.path / CONFIG_FILE).is_file():
            self._write_config({})
        self.store.begin(list(added))
        self._write_times()  # a line that a kill cut short must not run into the next
        places = read_places(self.path) | {name: dict(place) for name, place in added.items()}
        text = json.dumps(dict(sorted(places.items())), indent=1, ensure_ascii=False) + "\n"
        write_if_changed(self.path / PAIRS_FILE, text.encode())

    def note(self, pair: Pair, seconds: float, confidence: float | None) -> None:
        """Seconds a pair took, and how sure its matcher is, where it says."""
        self.note_rows({pair.name: (seconds, [] if confidence is None else [f"{confidence:.4f}"])})

    def note_rows(self, rows: Mapping[str, tuple[float, list[str]]]) -> None:
        """The same of pairs that :meth:`rows` of another folder told."""
        path = self.path / TIMES_FILE
        try:
            with path.open("a", newline="", encoding="utf-8") as file:
                file.write(_as_csv(rows))
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error

    def unsettle(self) -> None:
        """Take the closing lines back: what is added now is not in them."""
        self._write_config({})

    def settle(self) -> None:
        """Put matches and times in order, and the sums into the configuration file."""
        self.store.settle()
        self._write_times()
        total, mean = self.times()
        closing = {"pairs": len(self.rows()), "total_time": round(total, 4), "mean_time": round(mean, 4)}
        self._write_config(closing)

    def _write_times(self) -> None:
        rows = self.rows()
        if rows or (self.path / TIMES_FILE).is_file():
            write_if_changed(self.path / TIMES_FILE, _as_csv(rows).encode())

    def times(self) -> tuple[float, float]:
        """Total and mean seconds of the finished pairs."""
        times = [seconds for seconds, _ in self.rows().values()]
        total = sum(times)
        return total, total / len(times) if times else 0.0

    def rows(self) -> dict[str, tuple[float, list[str]]]:
        """Of each finished pair, by name, its seconds and, where told, its confidence as it is written.

        A line that a kill cut short is passed over.
        """
        path = self.path / TIMES_FILE
        times: dict[str, tuple[float, list[str]]] = {}
        if not path.is_file():
            return times
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                try:
                    name, seconds, *told = row
                    times[name] = float(seconds), told
                except ValueError:
                    continue
        return {name: times[name] for name in self.store.names() if name in times}

    def _write_config(self, closing: dict[str, Any]) -> None:
        text = yaml.safe_dump(self.record | closing, sort_keys=False, allow_unicode=True)
        write_if_changed(self.path / CONFIG_FILE, text.encode())


def _as_csv(rows: Mapping[str, tuple[float, list[str]]]) -> str:
    """Lines of ``times.csv``."""
    text = io.StringIO()
    written = [[name, f"{seconds:.4f}", *told] for name, (seconds, told) in rows.items()]
    csv.writer(text, lineterminator="\n").writerows(written)
    return text.getvalue()


def _differences(earlier: Any, record: Any, key: str = "", *, now: str) -> list[str]:
    if isinstance(earlier, dict) and isinstance(record, dict):
        return [
            line
            for name in dict.fromkeys([*record, *earlier])
            for line in _differences(earlier.get(name), record.get(name), name, now=now)
        ]
    return [] if earlier == record else [f"{key}: {earlier!r} there, {record!r} {now}"]
