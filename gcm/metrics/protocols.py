"""The two protocols: `ime` as Image Matching Evaluation computes it, quirks and all, and `fixed`.

Both turn per-pair scores into rows (one a pair, 12 columns) and means of rows over groups of pairs:

- matching: share of matches within 1..10 px, keypoints (mean of the two images), matches;
- homography: corner error at most 1..10 px (0 or 1), matches, inliers.

Protocol `ime` rounds a pair's shares to 3 decimals, swaps the corners' axes, leaves the last pair of the list
out of the last subset and of `all`, and truncates mean counts. Protocol `fixed` does none of that.
Source: https://github.com/ufukefe/IME.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from gcm.metrics.homography import auc_terms
from gcm.metrics.matching import THRESHOLDS

__all__ = [
    "AUC_LIMITS",
    "Group",
    "PairScore",
    "Protocol",
    "Summary",
    "corner_errors",
    "group_pairs",
    "group_sequences",
    "homography_rows",
    "matching_rows",
    "summarise",
]

AUC_LIMITS = (3.0, 5.0, 10.0)
"""Pixels up to which the curve of corner errors is integrated."""


class Protocol(str, Enum):
    """Which protocol."""

    FIXED = "fixed"
    IME = "ime"


@dataclass(frozen=True)
class PairScore:
    """What was measured on one pair; enough for both protocols."""

    name: str
    subset: str
    sequence: str
    keypoints: float
    """Mean number of keypoints of the two images."""
    matches: int
    within: tuple[int, ...]
    """Matches within 1..10 px."""
    inliers: int
    error: float
    """Mean corner error, pixels; inf when no homography was found."""
    error_swapped: float
    """The same at IME's corners."""


@dataclass(frozen=True)
class Group:
    """Pairs that are averaged together."""

    name: str
    index: slice | NDArray[np.intp]
    """Which rows."""


@dataclass(frozen=True)
class Summary:
    """Means over one group of pairs."""

    group: str
    pairs: int
    matching: NDArray[np.float64]
    """12 columns; nan when the group is empty."""
    homography: NDArray[np.float64]
    """12 columns."""
    auc: NDArray[np.float64]
    """Area under the curve of corner errors up to :data:`AUC_LIMITS`."""


def matching_rows(scores: Sequence[PairScore], protocol: Protocol) -> NDArray[np.float64]:
    """P x 12: matching accuracy at 1..10 px, keypoints, matches."""
    counts = np.array([score.matches for score in scores], dtype=np.float64)
    within = np.array([score.within for score in scores], dtype=np.float64).reshape(-1, len(THRESHOLDS))
    shares = within / np.maximum(counts, 1.0)[:, None]
    if protocol is Protocol.IME:
        shares = np.around(shares, 3)
    return np.column_stack([shares, [score.keypoints for score in scores], counts])


def homography_rows(scores: Sequence[PairScore], protocol: Protocol) -> NDArray[np.float64]:
    """P x 12: corner error at most 1..10 px, matches, inliers."""
    errors = corner_errors(scores, protocol)
    correct = (errors[:, None] <= THRESHOLDS).astype(np.float64)
    return np.column_stack(
        [correct, [score.matches for score in scores], [score.inliers for score in scores]]
    )


def corner_errors(scores: Sequence[PairScore], protocol: Protocol) -> NDArray[np.float64]:
    """P: mean corner error of each pair at the protocol's corners, pixels; inf where none was found."""
    ime = protocol is Protocol.IME
    return np.array([score.error_swapped if ime else score.error for score in scores], dtype=np.float64)


def group_pairs(scores: Sequence[PairScore], protocol: Protocol) -> list[Group]:
    """The subsets in order of their first pair, ``<subset>_all`` each, then ``all``.

    Protocol `ime` cuts the list where each subset first appears and ends it before its last pair; protocol
    `fixed` takes each pair where it belongs.
    """
    subsets = [score.subset for score in scores]
    names = list(dict.fromkeys(subsets))
    if protocol is Protocol.IME:
        starts = [subsets.index(name) for name in names] + [len(scores) - 1]
        groups = [
            Group(f"{name}_all", slice(start, end))
            for name, start, end in zip(names, starts[:-1], starts[1:], strict=True)
        ]
        return [*groups, Group("all", slice(0, len(scores) - 1))]
    labels = np.array(subsets)
    groups = [Group(f"{name}_all", np.flatnonzero(labels == name)) for name in names]
    return [*groups, Group("all", np.arange(len(scores)))]


def group_sequences(scores: Sequence[PairScore]) -> list[Group]:
    """Every sequence, in order of its first pair; for both protocols."""
    members: dict[tuple[str, str], list[int]] = {}
    for row, score in enumerate(scores):
        members.setdefault((score.subset, score.sequence), []).append(row)
    # Two subsets may have a sequence of one name; only then is the subset told.
    shared = Counter(sequence for _, sequence in members)
    return [
        Group(f"{subset}/{sequence}" if shared[sequence] > 1 else sequence, np.array(rows))
        for (subset, sequence), rows in members.items()
    ]


def summarise(
    scores: Sequence[PairScore], protocol: Protocol, groups: Sequence[Group] | None = None
) -> list[Summary]:
    """Means over groups of pairs, by default those of :func:`group_pairs`."""
    matching, homography = matching_rows(scores, protocol), homography_rows(scores, protocol)
    terms = auc_terms(corner_errors(scores, protocol), AUC_LIMITS)
    summaries = []
    for group in group_pairs(scores, protocol) if groups is None else groups:
        parts = [_mean(rows[group.index]) for rows in (matching, homography, terms)]
        if protocol is Protocol.IME:
            for part in parts[:2]:
                part[10:] = np.trunc(part[10:])
        summaries.append(Summary(group.name, len(matching[group.index]), parts[0], parts[1], parts[2]))
    return summaries


def _mean(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(rows):
        return np.full(rows.shape[1], np.nan)
    # Column by column, as IME does: numpy adds up a column and a row of columns in different orders.
    return np.array([column.mean() for column in rows.T])
