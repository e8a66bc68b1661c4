"""Confidence intervals that know pairs of one sequence stand or fall together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "bootstrap_means", "interval"]

LEVEL = 0.95
"""Confidence."""
SAMPLES = 2000
SEED = 0


def bootstrap_means(
    values: NDArray[np.float64], sequences: Sequence[str], *, samples: int = SAMPLES, seed: int = SEED
) -> NDArray[np.float64]:
    """Means over pairs when whole sequences are drawn with replacement (cluster bootstrap).

    The draws depend on the sequences and the seed alone: on the same pairs, two calls draw alike.

    Args:
        values: P x M, one row a pair.
        sequences: P, the sequence of each pair.

    Returns:
        samples x M.
    """
    names, index = np.unique(np.asarray(sequences), return_inverse=True)
    counts = np.bincount(index, minlength=len(names)).astype(np.float64)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, index, values)
    drawn = np.random.default_rng(seed).integers(0, len(names), size=(samples, len(names)))
    means: NDArray[np.float64] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)[:, None]
    return means


def interval(
    means: NDArray[np.float64], level: float = LEVEL
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends of the percentile interval of bootstrap means, M each."""
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high
