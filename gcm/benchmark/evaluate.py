"""Scores of converted matches against the homographies of a data set.

What is measured on a pair does not depend on the protocol. It is kept in ``<algorithm>_pairs.json`` with a
fingerprint of what it was measured on, so that only what changed is measured again.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, UnidentifiedImageError

from gcm.benchmark.convert import Prediction, converted_path, read_prediction
from gcm.benchmark.ime_csv import overall_csv, rows_csv
from gcm.benchmark.layout import PAIR_LIST
from gcm.benchmark.pairs import Pair, read_homography, read_pairs
from gcm.errors import DatasetError, UsageError, did_you_mean
from gcm.metrics.homography import score_homography
from gcm.metrics.matching import count_within, transfer_errors
from gcm.metrics.protocols import PairScore, Protocol
from gcm.storage.atomic import clear_leftovers, write_if_changed
from gcm.storage.locks import only_writer
from gcm.storage.npz import Npz

__all__ = ["Evaluation", "evaluate", "score_pair"]

_FORMAT = 2
"""Raised when what is measured changes, so that older files are not used."""

_MOST_AT_A_TIME = 8
"""Pairs that a thread measures in one go."""


@dataclass
class Evaluation:
    """Scores of several algorithms on one data set."""

    protocol: Protocol
    folder: Path
    """Where the files are."""
    scores: dict[str, list[PairScore]] = field(default_factory=dict)
    """Of the algorithms whose predictions are complete, pairs in the order of the list."""
    problems: dict[str, list[str]] = field(default_factory=dict)
    """Of the other algorithms: what is missing or damaged."""


@dataclass(frozen=True)
class _FirstImage:
    """Image 0 of one pair or several, opened once for all of them."""

    path: Path

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height, upright."""
        try:
            with Image.open(self.path) as image:
                turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                return (image.height, image.width) if turned else (image.width, image.height)
        except (OSError, UnidentifiedImageError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DatasetError(f"{self.path}: cannot be read ({reason})") from error


@dataclass(frozen=True)
class _Truth:
    """A pair and what is known of it."""

    pair: Pair
    image0: _FirstImage
    homography_file: Path

    @cached_property
    def _text(self) -> bytes:
        try:
            return self.homography_file.read_bytes()
        except OSError as error:
            raise DatasetError(f"{self.homography_file}: cannot be read ({error.strerror})") from error

    @cached_property
    def homography(self) -> NDArray[np.float64]:
        """``h_0_to_1``, 3 x 3."""
        return read_homography(self.homography_file, self._text)

    @cached_property
    def checksum(self) -> int:
        """Of what a score depends on besides the prediction: the homography and image 0's size."""
        return zlib.crc32(self._text + repr(self.image0.size).encode())


def evaluate(
    algorithms: Sequence[str],
    *,
    result_directory: Path,
    dataset_name: str,
    dataset_dir: Path,
    protocol: Protocol = Protocol.FIXED,
    workers: int | None = None,
    on_pair: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Score algorithms on every pair of a data set and write the results.

    Reads ``<result_directory>/<dataset_name>/<algorithm>/outputs/<subset>/<sequence>/*_matches.npz`` and
    writes beside the algorithms' folders ``<algorithm>_mma.csv`` and ``<algorithm>_homography.csv`` (a row a
    pair), ``overall_results_mma.csv`` and ``overall_results_homography.csv``. An algorithm that lacks a
    prediction is named in `problems` and gets no results: a mean over other pairs than the rest misleads.

    Args:
        algorithms: names of folders, in the order of the tables.
        protocol: see :mod:`gcm.metrics.protocols`.
        workers: threads to measure in; as many as there are processors by default.
        on_pair: called with the algorithm, pairs done, pairs in all.

    Raises:
        DatasetError: no data set, no ground truth, or no such algorithm.
        OutputError: results cannot be written.
    """
    folder = result_directory / dataset_name
    names = [_checked(name, folder) for name in dict.fromkeys(algorithms)]
    truths = _truths(dataset_dir)
    result = Evaluation(protocol, folder)
    files: dict[str, str] = {}
    for name in names:
        memory = _Memory(folder / f"{name}_pairs.json")

        def report(done: int, name: str = name) -> None:
            if on_pair is not None:
                on_pair(name, done, len(truths))

        scores, problems = _score_all(truths, folder / name, memory, workers or os.cpu_count() or 1, report)
        if problems:
            result.problems[name] = problems
            continue
        result.scores[name] = scores
        files[f"{name}_pairs.json"] = memory.text([truth.pair.name for truth in truths])
        files[f"{name}_mma.csv"] = rows_csv(scores, protocol, "matching")
        files[f"{name}_homography.csv"] = rows_csv(scores, protocol, "homography")
    if result.scores:
        files["overall_results_mma.csv"] = overall_csv(result.scores, protocol, "matching")
        files["overall_results_homography.csv"] = overall_csv(result.scores, protocol, "homography")
    _write(folder, files)
    return result


def _checked(name: str, folder: Path) -> str:
    if not name or Path(name).name != name:
        raise UsageError(f"'{name}': name an algorithm's folder below {folder}, without its path")
    if not (folder / name / "outputs").is_dir():
        known = sorted(path.parent.name for path in folder.glob("*/outputs"))
        raise DatasetError(
            f"{folder / name}: no predictions (folder outputs){did_you_mean(name, known)}; "
            f"run 'gcm extract' and 'gcm convert' first. There: {', '.join(known) or 'none'}"
        )
    return name


def _truths(dataset_dir: Path) -> list[_Truth]:
    list_file = dataset_dir / PAIR_LIST
    if not list_file.is_file():
        raise DatasetError(
            f"{list_file}: no such list; make it with 'gcm organize-hpatches', or give --dataset-dir"
        )
    pairs = read_pairs(list_file)
    images = {pair.image0: _FirstImage(pair.image0) for pair in pairs}
    truths = []
    for pair in pairs:
        if pair.homography is None:
            raise DatasetError(
                f"{list_file}: tells no homography for {pair.name}; evaluation needs the third column"
            )
        truths.append(_Truth(pair, images[pair.image0], pair.homography))
    return truths


def _score_all(
    truths: Sequence[_Truth],
    algorithm_dir: Path,
    memory: _Memory,
    workers: int,
    report: Callable[[int], None],
) -> tuple[list[PairScore], list[str]]:
    """Scores in order, and what is missing or damaged."""
    scores: list[PairScore] = []
    problems: list[str] = []

    def score(truth: _Truth) -> PairScore | str:
        path = converted_path(algorithm_dir, truth.pair.subset, truth.pair.sequence, truth.pair.name)
        try:
            archive = Npz(path.read_bytes())
        except FileNotFoundError:
            return truth.pair.name
        except OSError as error:
            return f"{path}: cannot be read ({error.strerror})"
        # A checksum will do: it is to notice change, not malice, and is several times faster than a hash.
        fingerprint = f"{len(archive.content)}-{archive.checksum:08x}-{truth.checksum:08x}"
        known = memory.recall(truth.pair, fingerprint)
        if known is not None:
            return known
        try:
            prediction = read_prediction(path, archive)
        except DatasetError as error:
            return str(error)
        found = score_pair(truth.pair, prediction, truth.homography, truth.image0.size)
        memory.keep(found, fingerprint)
        return found

    # OpenCV lets go of the interpreter while it searches, so threads do as well as processes here. Several
    # pairs at a time, because handing one over costs as much as reading it.
    size = max(1, min(_MOST_AT_A_TIME, len(truths) // (4 * workers)))
    parts = [truths[start : start + size] for start in range(0, len(truths), size)]
    with ThreadPoolExecutor(workers) as pool:
        outcomes = chain.from_iterable(pool.map(lambda part: [score(truth) for truth in part], parts))
        for done, found in enumerate(outcomes, start=1):
            (problems if isinstance(found, str) else scores).append(found)  # type: ignore[arg-type]
            report(done)
    return scores, problems


def score_pair(pair: Pair, prediction: Prediction, h_0_to_1: ArrayLike, size0: tuple[int, int]) -> PairScore:
    """Measure one pair.

    Args:
        pair: which one.
        prediction: as :func:`gcm.benchmark.convert.read_prediction` gives it.
        h_0_to_1: 3 x 3 ground truth.
        size0: width and height of image 0.
    """
    points0, points1, index = prediction
    matched0, matched1 = points0.take(index[:, 0], axis=0), points1.take(index[:, 1], axis=0)
    homography = score_homography(matched0, matched1, h_0_to_1, size0)
    return PairScore(
        name=pair.name,
        subset=pair.subset,
        sequence=pair.sequence,
        keypoints=(len(points0) + len(points1)) / 2,
        matches=len(index),
        within=tuple(count_within(transfer_errors(matched0, matched1, h_0_to_1)).tolist()),
        inliers=homography.inliers,
        error=homography.error,
        error_swapped=homography.error_swapped,
    )


class _Memory:
    """Scores kept from earlier calls."""

    def __init__(self, path: Path) -> None:
        self._entries: dict[str, dict[str, Any]] = {}
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if (document["format"], document["opencv"]) == (_FORMAT, cv2.__version__):
                self._entries = dict(document["pairs"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none yet, or damaged: everything is measured anew

    def recall(self, pair: Pair, fingerprint: str) -> PairScore | None:
        entry = self._entries.get(pair.name)
        if entry is None or entry.get("fingerprint") != fingerprint:
            return None
        values = {key: value for key, value in entry.items() if key != "fingerprint"}
        for key in ("error", "error_swapped"):
            values[key] = math.inf if values[key] is None else values[key]
        values["within"] = tuple(values["within"])
        return PairScore(**(values | {"name": pair.name, "subset": pair.subset, "sequence": pair.sequence}))

    def keep(self, score: PairScore, fingerprint: str) -> None:
        values = vars(score) | {"fingerprint": fingerprint}
        for key in ("error", "error_swapped"):
            values[key] = values[key] if math.isfinite(values[key]) else None
        self._entries[score.name] = values

    def text(self, names: Sequence[str]) -> str:
        """The file's content, a line a pair."""
        lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(self._entries[name])}" for name in names)
        start = f'{{"format": {_FORMAT}, "opencv": {json.dumps(cv2.__version__)}, "pairs": {{\n'
        return f"{start}{lines}\n}}}}\n"


def _write(folder: Path, files: dict[str, str]) -> None:
    content = {folder / name: text.encode() for name, text in files.items()}
    changed = {p: data for p, data in content.items() if not p.is_file() or p.read_bytes() != data}
    if changed:
        with only_writer(folder):
            clear_leftovers([folder], files)
            for path, data in changed.items():
                write_if_changed(path, data)
