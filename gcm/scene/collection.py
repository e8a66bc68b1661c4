"""What ``gcm extract`` found of the photos of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcm.benchmark.layout import (
    PAIRS_FILE,
    Places,
    read_places,
    remembered,
)
from gcm.benchmark.stores import open_store
from gcm.errors import DatasetError
from gcm.estimation import estimate_fundamental
from gcm.geometry import Points, epipolar_distances
from gcm.matches import Matches
from gcm.scene.photos import Photo

__all__ = ["Collection", "MatchedPair", "read_collection", "read_results", "verify_pairs"]


@dataclass(frozen=True)
class MatchedPair:
    """The matches of two photos."""

    points0: Points
    """N x 2, pixels of the upright photo that comes first in the collection."""
    points1: Points
    scores: NDArray[np.float64]
    fundamental: NDArray[np.float64] | None = None
    """3 x 3, the epipolar geometry that all of them share; None where it was not asked."""


@dataclass(frozen=True)
class Collection:
    """Photos and the matches of their pairs."""

    photos: Sequence[Photo]
    pairs: dict[tuple[int, int], MatchedPair]
    """By the places of both photos in `photos`, the lower first."""
    doubtful: int = 0
    """Pairs that were matched but show too little in common to be used."""
    unmatched: int = 0
    """Pairs that are listed but have not been matched yet."""


def read_collection(
    results: Path, photos: Sequence[Photo], *, min_confidence: float = 0.5, fewest: int = 15
) -> Collection:
    """Read a folder of results.

    Args:
        results: where ``gcm extract`` put the matches.
        photos: of the folder that these are of.
        min_confidence: pairs of which the matcher was less sure are left out; those of matchers that do not
            say stay.
        fewest: matches below which a pair is left out.

    Raises:
        DatasetError: no folder of results, photos that are not there, or are of another size.
        InputError: damaged matches.
        DependencyError: what the folder's store needs is not installed.
    """
    pairs: dict[tuple[int, int], MatchedPair] = {}
    doubtful = unmatched = 0
    for _, i, j, matches in read_results(results, photos):
        if matches is None:
            unmatched += 1
            continue
        sure = matches.confidence is None or matches.confidence >= min_confidence
        if i == j or not sure or len(matches) < fewest:
            doubtful += 1
            continue
        ends = (matches.points0, matches.points1) if i < j else (matches.points1, matches.points0)
        pairs[min(i, j), max(i, j)] = MatchedPair(*ends, matches.scores)
    return Collection(photos, pairs, doubtful, unmatched)


def read_results(results: Path, photos: Sequence[Photo]) -> Iterator[tuple[str, int, int, Matches | None]]:
    """Every pair of a folder of results: its name, the places of its photos in `photos`, and its matches.

    Matches are None where the pair has not been matched yet. Errors are those of :func:`read_collection`.
    """
    places = read_places(results)
    if not places:
        raise DatasetError(f"{results}: has no {PAIRS_FILE}; give the folder that gcm extract wrote into")
    index = _Index(photos)
    store = open_store(results)
    there = set(store.names())
    for name, place in sorted(places.items()):
        i, j = (index.find(place, key, results) for key in ("image0", "image1"))
        matches = store.load(name) if name in there else None
        for k, size in () if matches is None else ((i, matches.size0), (j, matches.size1)):
            if photos[k].size != size:
                raise DatasetError(
                    f"{photos[k].path}: is {_text(photos[k].size)}, but was {_text(size)} when it was "
                    f"matched into {results}; give the folder of photos that was matched"
                )
        yield name, i, j, matches


def verify_pairs(collection: Collection, *, tolerance: float = 2.0, fewest: int = 15) -> Collection:
    """Keep of each pair the matches that share an epipolar geometry.

    Args:
        collection: what was read.
        tolerance: pixels off their epipolar lines, for photos of 1024 pixels; more for larger ones.
        fewest: matches below which a pair is left out.
    """
    kept: dict[tuple[int, int], MatchedPair] = {}
    for (i, j), pair in collection.pairs.items():
        scale = max(1.0, *(max(collection.photos[k].size) / 1024 for k in (i, j)))
        matrix = estimate_fundamental(pair.points0, pair.points1, threshold=scale).matrix
        if matrix is None:
            continue
        off = np.maximum(*epipolar_distances(matrix, pair.points0, pair.points1))
        good = off < tolerance * scale
        if good.sum() >= fewest:
            kept[i, j] = MatchedPair(pair.points0[good], pair.points1[good], pair.scores[good], matrix)
    lost = len(collection.pairs) - len(kept)
    return Collection(collection.photos, kept, collection.doubtful + lost, collection.unmatched)


class _Index:
    """Finds photos by what a folder of results remembers of their paths."""

    def __init__(self, photos: Sequence[Photo]) -> None:
        self._exact: dict[str, list[int]] = {}
        self._by_name: dict[str, list[int]] = {}
        for k, photo in enumerate(photos):
            self._exact.setdefault(remembered(photo.path), []).append(k)
            self._by_name.setdefault(photo.path.name, []).append(k)

    def find(self, place: Places | dict[str, str], key: str, results: Path) -> int:
        told = str(place[key])
        exact, named = self._exact.get(told, []), self._by_name.get(told.rsplit("/", 1)[-1], [])
        # By the name alone where the folder was moved or renamed.
        for found in (exact, named):
            if len(found) == 1:
                return found[0]
        why = "several photos have that name" if named else "it is not there"
        raise DatasetError(
            f"{results}: was matched with the photo {told}, but in the folder of photos given {why}"
        )


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
