"""Which pairs of many photos to match."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcm.errors import UsageError
from gcm.storage.atomic import whole_file

__all__ = ["exhaustive", "nearest", "sequential", "similar", "write_pair_list"]

IndexPair = tuple[int, int]
"""Two photos by their places in a list, the lower first."""


def exhaustive(count: int) -> list[IndexPair]:
    """Every pair of so many photos."""
    return list(combinations(range(count), 2))


def sequential(count: int, window: int, *, loop: bool = False) -> list[IndexPair]:
    """Each photo with those that follow it, as in a video.

    Args:
        count: photos.
        window: how many following ones.
        loop: the last are followed by the first, as on a way that ends where it began.

    Raises:
        UsageError: a window that reaches nobody.
    """
    if window < 1:
        raise UsageError(f"window is {window}; each photo needs at least 1 that follows it")
    pairs = set()
    for i in range(count):
        for step in range(1, window + 1):
            j = i + step
            if loop:
                j %= count
            if j < count and i != j:
                pairs.add((min(i, j), max(i, j)))
    return sorted(pairs)


def similar(
    descriptors: NDArray[np.float32],
    most: int,
    asking: Collection[int] | None = None,
    compare: Callable[[NDArray[np.int64]], NDArray[np.float64]] | None = None,
) -> list[IndexPair]:
    """The pairs of photos that are likest, with several for each photo; at most ``N most`` in all.

    Half of them are given out in turns: a photo asks for the likest that it is not paired with already, so
    that none is left alone. The other half are the likest of all, since some photos have many that show the
    same and others have few. Work and memory grow with N, but for the products of all descriptors.

    Args:
        descriptors: N x D, unit length: how like two photos are is their product.
        most: pairs for each photo that asks, on average.
        asking: the photos that ask, without one of which no pair is made; all unless given.
        compare: looks at the likest more closely: of M x 2 photos, those that are likest to each photo that
            asks, it says how much they have in common; pairs are chosen by that.

    Raises:
        UsageError: fewer than 1.
    """
    if most < 1:
        raise UsageError(f"a photo needs at least 1 partner, not {most}")
    asks = sorted(range(len(descriptors)) if asking is None else set(asking))
    if len(descriptors) < 2 or not asks:
        return []
    pairs, worth = _likest_to_each(descriptors, asks, max(_CONSIDERED * most, _LEAST_CONSIDERED))
    if compare is not None:
        worth = compare(pairs)
    return sorted(_share_out(pairs, worth, most, asks))


_CONSIDERED, _LEAST_CONSIDERED = 3, 30
"""Photos that may become a photo's partners, for each that it asks for, and at least."""

_ROWS = 1024
"""Photos that are compared with all at once."""


def _likest_to_each(
    descriptors: NDArray[np.float32], asks: Sequence[int], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """M x 2 pairs, each once: of each photo that asks with those likest to it; and how like they are."""
    count = min(count, len(descriptors) - 1)
    found, values = [], []
    for start in range(0, len(asks), _ROWS):
        rows = np.array(asks[start : start + _ROWS])
        alike = descriptors[rows] @ descriptors.T
        alike[np.arange(len(rows)), rows] = -np.inf
        likest = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        found.append(np.stack([np.repeat(rows, count), likest.ravel()], axis=1))
        values.append(np.take_along_axis(alike, likest, axis=1).ravel())
    pairs, first = np.unique(np.sort(np.concatenate(found), axis=1), axis=0, return_index=True)
    return pairs.astype(np.int64), np.concatenate(values)[first].astype(np.float64)


def _share_out(
    pairs: NDArray[np.int64], worth: NDArray[np.float64], most: int, asks: Sequence[int]
) -> list[IndexPair]:
    """Choose of M pairs: half of them in turns, the others by their worth alone."""
    best_first = np.argsort(-worth, kind="stable").tolist()
    partners: dict[int, list[int]] = {photo: [] for photo in asks}
    for number in reversed(best_first):  # the best last, where it can be popped
        for photo in pairs[number].tolist():
            if photo in partners:
                partners[photo].append(number)
    chosen: set[int] = set()

    def best_left(photo: int) -> int | None:
        own = partners[photo]
        while own and own[-1] in chosen:
            own.pop()
        return own[-1] if own else None

    for _ in range(-(-most // 2)):
        best = {photo: number for photo in asks if (number := best_left(photo)) is not None}
        for photo in sorted(best, key=lambda photo: -worth[best[photo]]):
            number = best_left(photo)  # another may have asked for it meanwhile
            if number is not None:
                chosen.add(number)
    left = [number for number in best_first if number not in chosen]
    chosen.update(left[: max(0, most * len(asks) - len(chosen))])
    return [(i, j) for i, j in pairs[sorted(chosen)].tolist()]


def nearest(places: Sequence[tuple[float, float, float] | None], most: int) -> list[IndexPair]:
    """Each photo with the `most` taken nearest to it.

    Args:
        places: metres east, north and up, None where it is not known; those photos are left alone.
        most: partners that a photo asks for; it may be asked for by more.

    Raises:
        UsageError: fewer than 1.
    """
    if most < 1:
        raise UsageError(f"a photo needs at least 1 partner, not {most}")
    known = [k for k, place in enumerate(places) if place is not None]
    if len(known) < 2:
        return []
    points = np.array([places[k] for k in known], dtype=np.float64)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    chosen = np.argsort(distances, axis=1, kind="stable")[:, : min(most, len(known) - 1)]
    pairs = {(min(i, j), max(i, j)) for i, row in enumerate(chosen.tolist()) for j in row}
    return sorted((known[i], known[j]) for i, j in pairs)


def write_pair_list(file: Path, paths: Sequence[Path], pairs: Sequence[IndexPair]) -> None:
    """Write a list that :func:`gcm.benchmark.pairs.read_pairs` reads: a pair a line, relative to its folder.

    Names with spaces are parted by a tab, others by a space.

    Raises:
        UsageError: a name that no list can hold, as with a line break in it.
        OutputError: the file cannot be written.
    """
    # On Windows there is no way from one drive to another.
    folder = file.absolute().parent
    names = [_relative(path, folder) for path in paths]
    for name in names:
        if re.search(r"[\t\r\n\"\ud800-\udfff]", name) or name.startswith("#"):
            raise UsageError(f"{name!r}: a list of pairs cannot hold this name; rename the photo")
    between = "\t" if any(re.search(r"\s", name) for name in names) else " "
    with whole_file(file) as temporary:
        lines = [f"{names[i]}{between}{names[j]}\n" for i, j in pairs]
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path.absolute(), folder)).as_posix()
    except ValueError:
        return path.absolute().as_posix()
