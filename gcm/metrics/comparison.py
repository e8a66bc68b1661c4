"""How sure a mean is, and whether two algorithms differ by more than the choice of sequences explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gcm.metrics.bootstrap import bootstrap_means, interval
from gcm.metrics.homography import auc_terms
from gcm.metrics.protocols import (
    AUC_LIMITS,
    PairScore,
    Protocol,
    corner_errors,
    homography_rows,
    matching_rows,
)

__all__ = ["MEASURES", "Interval", "compare", "confidence_intervals"]

MEASURES = ("MMA@1", "MMA@3", "MMA@5", "HA@1", "HA@3", "HA@5", "AUC@3", "AUC@5", "AUC@10")
"""What intervals are given for: matching accuracy, share of right homographies, area under their curve."""


@dataclass(frozen=True)
class Interval:
    """A mean over all pairs and its 95 % interval, sequences drawn with replacement."""

    measure: str
    value: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        return self.low <= 0.0 <= self.high


def _measures(scores: Sequence[PairScore]) -> NDArray[np.float64]:
    """P x 9, in the order of :data:`MEASURES`, protocol `fixed`."""
    columns = [0, 2, 4]
    matching = matching_rows(scores, Protocol.FIXED)[:, columns]
    homography = homography_rows(scores, Protocol.FIXED)[:, columns]
    return np.column_stack(
        [matching, homography, auc_terms(corner_errors(scores, Protocol.FIXED), AUC_LIMITS)]
    )


def confidence_intervals(scores: Sequence[PairScore]) -> list[Interval]:
    """Each measure over all pairs with its interval (protocol `fixed`)."""
    return _intervals(_measures(scores), scores)


def compare(scores: Sequence[PairScore], others: Sequence[PairScore]) -> list[Interval]:
    """Differences between two algorithms on the same pairs, first minus second, with their intervals.

    A difference whose interval holds zero could as well come from the choice of sequences.

    Raises:
        ValueError: not the same pairs in the same order.
    """
    if [score.name for score in scores] != [score.name for score in others]:
        raise ValueError("only results on the same pairs can be compared")
    return _intervals(_measures(scores) - _measures(others), scores)


def _intervals(values: NDArray[np.float64], scores: Sequence[PairScore]) -> list[Interval]:
    means = bootstrap_means(values, [f"{score.subset}/{score.sequence}" for score in scores])
    low, high = interval(means)
    return [
        Interval(name, float(value), float(a), float(b))
        for name, value, a, b in zip(MEASURES, values.mean(axis=0), low, high, strict=True)
    ]
