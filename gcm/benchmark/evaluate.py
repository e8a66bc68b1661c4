"""Scores of matches against the homographies of a data set, as pandas tables and IME's CSV files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gcm.benchmark.frames import algorithms_frame, pairs_frame, sequences_frame, subsets_frame
from gcm.benchmark.ime_csv import overall_csv, rows_csv
from gcm.benchmark.layout import CONVERTED_FOLDER, MATCHES_FOLDER
from gcm.benchmark.score_store import ScoreStore
from gcm.benchmark.scoring import read_ground_truths, score_all, score_pair
from gcm.errors import DatasetError, UsageError, did_you_mean
from gcm.metrics.protocols import PairScore, Protocol
from gcm.storage.atomic import clear_leftovers, write_if_changed
from gcm.storage.locks import only_writer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Evaluation", "evaluate", "score_pair"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of several algorithms on one data set, in the order the algorithms were named in.

    `pairs`, `sequences`, `subsets` and `algorithms` are pandas tables, made when first asked for::

        >>> result.algorithms.loc["SIFT", ["mma_3", "ha_3", "auc_5"]]
        >>> result.pairs.loc["SIFT"].sort_values("corner_error")
    """

    protocol: Protocol
    folder: Path
    """Where the files are."""
    scores: dict[str, list[PairScore]] = field(default_factory=dict)
    """Of the algorithms whose predictions are complete, pairs in the order of the list."""
    problems: dict[str, list[str]] = field(default_factory=dict)
    """Of the other algorithms: what is missing or damaged."""

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """A row an algorithm and pair; see :func:`gcm.benchmark.frames.pairs_frame`."""
        return pairs_frame(self.scores, self.protocol)

    @cached_property
    def sequences(self) -> pd.DataFrame:
        """A row an algorithm and sequence; see :func:`gcm.benchmark.frames.sequences_frame`."""
        return sequences_frame(self.scores, self.protocol)

    @cached_property
    def subsets(self) -> pd.DataFrame:
        """A row an algorithm and subset; see :func:`gcm.benchmark.frames.subsets_frame`."""
        return subsets_frame(self.scores, self.protocol)

    @cached_property
    def algorithms(self) -> pd.DataFrame:
        """A row an algorithm, over all pairs; see :func:`gcm.benchmark.frames.algorithms_frame`."""
        return algorithms_frame(self.scores, self.protocol)

    def __repr__(self) -> str:
        pairs = max((len(scores) for scores in self.scores.values()), default=0)
        unusable = f", problems with {', '.join(self.problems)}" if self.problems else ""
        names = ", ".join(self.scores) or "nothing"
        return f"<Evaluation of {names} on {pairs} pairs, protocol {self.protocol.value}{unusable}>"


def evaluate(
    algorithms: str | Iterable[str],
    *,
    result_directory: str | os.PathLike[str] = "Results",
    dataset_name: str = "hpatches",
    dataset_dir: str | os.PathLike[str] = "Datasets/hpatches",
    protocol: Protocol | str = Protocol.FIXED,
    write_files: bool = True,
    workers: int | None = None,
    on_pair: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Score algorithms on every pair of a data set.

    Reads of each ``<result_directory>/<dataset_name>/<algorithm>`` what ``gcm extract`` wrote, or the
    converted files where there are only those, see :mod:`gcm.benchmark.layout`. Writes beside the algorithms'
    folders ``<algorithm>_mma.csv`` and ``<algorithm>_homography.csv`` (a row a pair),
    ``overall_results_mma.csv`` and ``overall_results_homography.csv``, and ``<algorithm>_pairs.json``, with
    which a second call measures only what changed. An algorithm that lacks a prediction is named in
    `problems` and gets no results: a mean over other pairs than the rest misleads.

    Args:
        algorithms: names of folders, in the order of the tables.
        result_directory: folder of all results.
        dataset_name: its folder for this data set.
        dataset_dir: organised data set, with ``image_pairs.txt``.
        protocol: ``fixed`` or ``ime``, see :mod:`gcm.metrics.protocols`.
        write_files: write the files; what is there is used either way.
        workers: threads to measure in; as many as there are processors by default.
        on_pair: called with the algorithm, pairs done, pairs in all.

    Raises:
        UsageError: unknown protocol, or an algorithm's name that is a path.
        DatasetError: no data set, no ground truth, or no such algorithm.
        OutputError: results cannot be written.
    """
    protocol = _checked_protocol(protocol)
    folder = Path(result_directory, dataset_name)
    wanted = [algorithms] if isinstance(algorithms, str) else algorithms
    names = [_checked_name(name, folder) for name in dict.fromkeys(wanted)]
    truths = read_ground_truths(Path(dataset_dir))
    result = Evaluation(protocol, folder)
    stores: dict[str, ScoreStore] = {}
    for name in names:
        stores[name] = ScoreStore(folder / f"{name}_pairs.json")

        def report(done: int, name: str = name) -> None:
            if on_pair is not None:
                on_pair(name, done, len(truths))

        threads = workers or os.cpu_count() or 1
        scores, problems = score_all(truths, folder / name, stores[name], threads, report)
        if problems:
            result.problems[name] = problems
        else:
            result.scores[name] = scores
    if write_files and result.scores:
        _write(result, stores)
    return result


def _checked_protocol(protocol: Protocol | str) -> Protocol:
    try:
        return Protocol(protocol)
    except ValueError:
        known = [choice.value for choice in Protocol]
        raise UsageError(
            f"no protocol named '{protocol}'{did_you_mean(str(protocol), known)}; known: {', '.join(known)}"
        ) from None


def _checked_name(name: str, folder: Path) -> str:
    if not name or Path(name).name != name:
        raise UsageError(f"'{name}': name an algorithm's folder below {folder}, without its path")
    kinds = (MATCHES_FOLDER, CONVERTED_FOLDER)
    if not any((folder / name / kind).is_dir() for kind in kinds):
        known = sorted({path.parent.name for kind in kinds for path in folder.glob(f"*/{kind}")})
        raise DatasetError(
            f"{folder / name}: no predictions (folder {' or '.join(kinds)}){did_you_mean(name, known)}; "
            f"run 'gcm extract' first. There: {', '.join(known) or 'none'}"
        )
    return name


def _write(result: Evaluation, stores: dict[str, ScoreStore]) -> None:
    texts: dict[str, str] = {}
    for name, scores in result.scores.items():
        rows = result.pairs.loc[[name]]
        texts[f"{name}_pairs.json"] = stores[name].text([score.name for score in scores])
        texts[f"{name}_mma.csv"] = rows_csv(rows, "matching")
        texts[f"{name}_homography.csv"] = rows_csv(rows, "homography")
    means = result.subsets, result.algorithms
    texts["overall_results_mma.csv"] = overall_csv(*means, result.protocol, "matching")
    texts["overall_results_homography.csv"] = overall_csv(*means, result.protocol, "homography")
    content = {result.folder / name: text.encode() for name, text in texts.items()}
    changed = {p: data for p, data in content.items() if not p.is_file() or p.read_bytes() != data}
    if changed:
        with only_writer(result.folder):
            clear_leftovers([result.folder], texts)
            for path, data in changed.items():
                write_if_changed(path, data)
