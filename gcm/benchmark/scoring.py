"""Measuring predictions against the homographies of a data set, many pairs at a time."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcm.benchmark.layout import PAIR_LIST, Prediction
from gcm.benchmark.pairs import Pair, read_homography, read_pairs
from gcm.benchmark.predictions import Predictions
from gcm.benchmark.score_store import ScoreStore
from gcm.errors import DatasetError, ImageError, InputError
from gcm.images.files import read_size
from gcm.metrics.homography import score_homography
from gcm.metrics.matching import count_within, transfer_errors
from gcm.metrics.protocols import PairScore

__all__ = ["GroundTruth", "read_ground_truths", "score_all", "score_pair"]

_MOST_AT_A_TIME = 8
"""Pairs that a thread measures in one go."""


@dataclass(frozen=True)
class FirstImage:
    """Image 0 of one pair or several, opened once for all of them."""

    path: Path

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height, upright."""
        try:
            return read_size(self.path)
        except ImageError as error:
            raise DatasetError(str(error)) from error


@dataclass(frozen=True)
class GroundTruth:
    """A pair and what is known of it."""

    pair: Pair
    image0: FirstImage
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


def read_ground_truths(dataset_dir: Path) -> list[GroundTruth]:
    """The pairs of a data set with their homographies, in the order of its list.

    Raises:
        DatasetError: no list, or a pair without a homography.
    """
    list_file = dataset_dir / PAIR_LIST
    if not list_file.is_file():
        raise DatasetError(
            f"{list_file}: no such list; make it with 'gcm organize-hpatches', or give --dataset-dir"
        )
    pairs = read_pairs(list_file)
    images = {pair.image0: FirstImage(pair.image0) for pair in pairs}
    truths = []
    for pair in pairs:
        if pair.homography is None:
            raise DatasetError(
                f"{list_file}: tells no homography for {pair.name}; evaluation needs the third column"
            )
        truths.append(GroundTruth(pair, images[pair.image0], pair.homography))
    return truths


def score_all(
    truths: Sequence[GroundTruth],
    algorithm_dir: Path,
    store: ScoreStore,
    workers: int,
    report: Callable[[int], None],
) -> tuple[list[PairScore], list[str]]:
    """Scores of an algorithm in the order of the pairs, and what is missing or damaged.

    Args:
        truths: the pairs.
        algorithm_dir: the algorithm's folder.
        store: scores measured before; new ones are put in.
        workers: threads.
        report: called with the number of pairs done.
    """
    scores: list[PairScore] = []
    problems: list[str] = []
    try:
        predictions = Predictions(algorithm_dir)
    except (DatasetError, InputError) as error:
        return [], [str(error)]

    def score(truth: GroundTruth) -> PairScore | str:
        return _score(truth, predictions, store)

    for done, outcome in enumerate(_in_threads(score, truths, workers), start=1):
        if isinstance(outcome, str):
            problems.append(outcome)
        else:
            scores.append(outcome)
        report(done)
    return scores, problems


def _in_threads(
    score: Callable[[GroundTruth], PairScore | str], truths: Sequence[GroundTruth], workers: int
) -> Iterator[PairScore | str]:
    # OpenCV lets go of the interpreter while it searches, so threads do as well as processes here. Several
    # pairs at a time, because handing one over costs as much as reading it.
    size = max(1, min(_MOST_AT_A_TIME, len(truths) // (4 * workers)))
    parts = [truths[start : start + size] for start in range(0, len(truths), size)]
    with ThreadPoolExecutor(workers) as pool:
        yield from chain.from_iterable(pool.map(lambda part: [score(truth) for truth in part], parts))


def _score(truth: GroundTruth, predictions: Predictions, store: ScoreStore) -> PairScore | str:
    """The score of a pair, or what is wrong with its prediction."""
    try:
        found = predictions.find(truth.pair)
    except DatasetError as error:
        return str(error)
    if found is None:
        return truth.pair.name
    fingerprint = f"{found.fingerprint}-{truth.checksum:08x}"
    stored = store.get(truth.pair, fingerprint)
    if stored is not None:
        return stored
    try:
        prediction = found.read()
    except DatasetError as error:
        return str(error)
    measured = score_pair(truth.pair, prediction, truth.homography, truth.image0.size)
    store.put(measured, fingerprint)
    return measured


def score_pair(pair: Pair, prediction: Prediction, h_0_to_1: ArrayLike, size0: tuple[int, int]) -> PairScore:
    """Measure one pair.

    Args:
        pair: which one.
        prediction: as :func:`gcm.benchmark.layout.read_prediction` gives it.
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
