"""Pairs of two photos each, with what is known of where places of one lie in the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gcm.distillation.recipe import AugmentationRecipe
from gcm.images.files import RGBImage

__all__ = [
    "NO_REAL_PAIRS",
    "Pair",
    "PairSource",
    "RealPairs",
    "best_attempt",
    "cell_centres",
    "is_known",
    "some_pairs",
    "spread",
]

Item = TypeVar("Item")

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """Two views, and where the cells of each lie in the other."""

    views: tuple[RGBImage, RGBImage]
    """S x S x 3 uint8 RGB each."""
    positions: tuple[Array, Array]
    """K x 2 (x, y) each, pixels: where each cell's centre of view 0 lies in view 1, and the other way round;
    nan where it is hidden, outside or unknown."""
    known: tuple[Mask, Mask] | None = None
    """K each: whether that was seen; where not, a nan says nothing. None: of all cells."""


class PairSource(Protocol):
    """Where pairs come from."""

    def draw(self, recipe: AugmentationRecipe, centres: Array, rng: np.random.Generator) -> Pair:
        """A pair.

        Args:
            recipe: how views are cut and moved.
            centres: K x 2, pixels of a view: its cells.
            rng: draws everything.
        """


@dataclass(frozen=True)
class RealPairs:
    """Sources, each with its share of all pairs; what is left of them is made of single photos."""

    sources: tuple[tuple[float, PairSource], ...] = ()

    def choose(self, rng: np.random.Generator) -> PairSource | None:
        """A source, or None for single photos. Without sources nothing is drawn."""
        if not self.sources:
            return None
        left = rng.random()
        for share, source in self.sources:
            if left < share:
                return source
            left -= share
        return None


NO_REAL_PAIRS = RealPairs()


_ATTEMPTS = 8


def best_attempt(attempt: Callable[[], tuple[Pair, float]], enough: float) -> Pair:
    """The first pair that shows enough, or of a few the one that shows most.

    Args:
        attempt: gives a pair, another each time, and how much it shows.
        enough: of that.
    """
    best, most = attempt()
    for _ in range(_ATTEMPTS - 1):
        if most >= enough:
            break
        pair, shown = attempt()
        if shown > most:
            best, most = pair, shown
    return best


def cell_centres(width: int, cell: int, height: int | None = None) -> Array:
    """K x 2 (x, y), pixels: the centres of an image's cells, row by row; square unless a height is given."""
    x, y = (
        np.arange(side // cell) * cell + (cell - 1) / 2
        for side in (width, width if height is None else height)
    )
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def is_known(places: Array) -> Mask:
    """Which of N x 2 places are not nan."""
    return np.asarray(np.isfinite(places).all(axis=1))


def some_pairs(count: int, most: int) -> list[tuple[int, int]]:
    """Pairs of the numbers below `count`, the smaller first: all, or `most` that lie near each other and far;
    always the same."""
    if count * (count - 1) // 2 <= most:
        return list(itertools.combinations(range(count), 2))
    rng = np.random.default_rng(0)
    first = rng.integers(count, size=2 * most)
    gap = np.exp(rng.uniform(0, np.log(count), 2 * most)).astype(int)
    pairs = {(int(k), int(k + g)) for k, g in zip(first, gap, strict=True) if k + g < count}
    chosen = sorted(pairs)
    return spread(chosen, most)


def spread(items: list[Item], most: int) -> list[Item]:
    """At most so many, from all over the list."""
    if len(items) <= most:
        return items
    return [items[k] for k in np.linspace(0, len(items) - 1, most).round().astype(int)]
