"""An algorithm's matches as evaluation and conversion take them: of any store, extracted or converted."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gcm.benchmark.layout import (
    Place,
    Prediction,
    converted_path,
    place_of,
    prediction_path,
    read_places,
    read_prediction,
)
from gcm.benchmark.pairs import Pair
from gcm.benchmark.stores import MatchStore, NpzStore, open_store
from gcm.errors import DatasetError, InputError
from gcm.matches import Matches
from gcm.storage.npz import Npz

__all__ = ["FoundPrediction", "Predictions", "extracted_prediction"]


@dataclass(frozen=True)
class FoundPrediction:
    """The matches of a pair."""

    fingerprint: str
    """Changes with them."""
    read: Callable[[], Prediction]
    """Gives them; raises DatasetError."""


class Predictions:
    """The matches in an algorithm's folder.

    Args:
        output_dir: the folder.

    Raises:
        DatasetError, InputError: what the folder says of itself is damaged.
        DependencyError: its store needs a package that is not installed.
    """

    def __init__(self, output_dir: Path) -> None:
        self._folder = output_dir
        self._places = read_places(output_dir)
        self._store = open_store(output_dir)

    def find(self, pair: Pair) -> FoundPrediction | None:
        """The matches of a pair, None where there are none; which of two is told by :func:`prediction_path`.

        Raises:
            DatasetError: they cannot be read.
        """
        try:
            if self._is_packed(pair):
                return _of_matches(self._store.load(pair.name))
        except InputError as error:
            raise DatasetError(str(error)) from error
        path = prediction_path(self._folder, pair, self._places)
        try:
            archive = Npz(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
        # A checksum will do: it is to notice change, not malice, and is several times faster than a hash.
        fingerprint = f"{len(archive.content)}-{archive.checksum:08x}"
        return FoundPrediction(fingerprint, lambda: read_prediction(path, archive))

    def _is_packed(self, pair: Pair) -> bool:
        """Whether the matches are those that the store has among those of other pairs."""
        store, place = self._store, Place(pair.subset, pair.sequence)
        if isinstance(store, NpzStore) or place_of(pair.name, self._places) != place:
            return False
        if not store.has(pair.name):
            return False
        try:
            converted = converted_path(self._folder, place, pair.name).stat().st_mtime_ns
        except OSError:
            return True
        return store.modified(pair.name) >= converted


def extracted_prediction(store: MatchStore, name: str) -> Prediction:
    """The matches of a pair as ``gcm extract`` put them into a store.

    Raises:
        DatasetError: missing or damaged.
    """
    if isinstance(store, NpzStore):
        return read_prediction(store.path(name))
    try:
        return _of_matches(store.load(name)).read()
    except InputError as error:
        raise DatasetError(str(error)) from error


def _of_matches(matches: Matches) -> FoundPrediction:
    rows = matches.to_arrays()["matches"]
    checksum = zlib.crc32(np.ascontiguousarray(np.hstack([matches.points0, matches.points1])).tobytes())
    prediction = Prediction(matches.points0, matches.points1, rows)
    return FoundPrediction(f"packed-{len(matches)}-{checksum:08x}", lambda: prediction)
