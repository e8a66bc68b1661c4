"""What a store of matches is to everything that uses one."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Protocol

import numpy as np

from gcm.matches import Matches

__all__ = ["STORES", "MatchStore", "StoreBase", "same_matches"]

STORES = ("npz", "h5", "parquet")
"""Kinds of store."""


class MatchStore(Protocol):
    """The matches of many pairs, by the pairs' names.

    One process may write while others read: what has been saved is seen by all, whole. No file stays open
    between two calls. Several threads may use one store.
    """

    @property
    def kind(self) -> str:
        """One of :data:`STORES`."""
        ...

    @property
    def precision(self) -> str:
        """Of positions, see :mod:`gcm.benchmark.stores.precision`."""
        ...

    def names(self) -> list[str]:
        """The pairs that are there, sorted.

        Raises:
            InputError: a damaged file, whose pairs are not known any more.
        """
        ...

    def has(self, name: str) -> bool:
        """Whether a pair is there, its file not cut short; errors as of :meth:`names`."""
        ...

    def load(self, name: str) -> Matches:
        """The matches of a pair.

        Raises:
            InputError: it is not there, or damaged.
        """
        ...

    def modified(self, name: str) -> int:
        """When the file that holds a pair was written, nanoseconds as of :func:`os.stat`.

        Raises:
            InputError: it is not there.
        """
        ...

    def save(self, name: str, matches: Matches) -> None:
        """Keep the matches of a pair, whole or not at all; afterwards they are seen by every reader.

        Raises:
            OutputError: they cannot be written. What was there before still is.
        """
        ...

    def begin(self, names: Iterable[str]) -> None:
        """Say in the folder what store it is, and put in order what a killed writer left.

        Only for the one writer, before its first :meth:`save`.

        Args:
            names: pairs that an earlier writer may have been at.

        Raises:
            OutputError: the folder cannot be written.
        """
        ...

    def settle(self) -> None:
        """Bring the files into their final form, once no more is to be saved for now.

        Raises:
            OutputError: they cannot be written. No pair is lost; the next call goes on.
        """
        ...

    def close(self) -> None:
        """Forget what was remembered of the files."""
        ...

    def __enter__(self) -> MatchStore: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class StoreBase:
    """A store in a ``with`` statement."""

    def close(self) -> None:
        """Forget what was remembered of the files."""

    def __enter__(self) -> MatchStore:
        return self  # type: ignore[return-value]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def same_matches(first: Matches, second: Matches) -> bool:
    """Whether all that is kept of two pairs' matches is the same, to the last bit."""
    arrays, others = first.to_arrays(), second.to_arrays()
    return arrays.keys() == others.keys() and all(np.array_equal(arrays[key], others[key]) for key in arrays)
