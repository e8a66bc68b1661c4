"""Scores as pandas tables: a row a pair, a sequence, a subset, an algorithm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gcm.metrics.homography import auc_terms
from gcm.metrics.matching import THRESHOLDS
from gcm.metrics.protocols import (
    AUC_LIMITS,
    PairScore,
    Protocol,
    Summary,
    corner_errors,
    group_pairs,
    group_sequences,
    homography_rows,
    matching_rows,
    summarise,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AUC_COLUMNS",
    "HA_COLUMNS",
    "HOMOGRAPHY_COLUMNS",
    "MATCHING_COLUMNS",
    "MMA_COLUMNS",
    "algorithms_frame",
    "pairs_frame",
    "sequences_frame",
    "subsets_frame",
]

MMA_COLUMNS = [f"mma_{threshold:.0f}" for threshold in THRESHOLDS]
"""Share of matches within 1..10 px of where the true homography takes them."""
HA_COLUMNS = [f"ha_{threshold:.0f}" for threshold in THRESHOLDS]
"""Share of pairs (of one pair: 0 or 1) whose homography moves the corners by at most 1..10 px."""
AUC_COLUMNS = [f"auc_{limit:.0f}" for limit in AUC_LIMITS]
"""Area under the curve of corner errors up to 3, 5, 10 px; of one pair what it adds to that."""
MATCHING_COLUMNS = [*MMA_COLUMNS, "keypoints", "matches"]
HOMOGRAPHY_COLUMNS = [*HA_COLUMNS, "matches", "inliers"]

_VALUE_COLUMNS = [*MATCHING_COLUMNS, *HA_COLUMNS, "inliers", *AUC_COLUMNS]
"""What is measured, of pairs as of groups of them."""

_SUBSET_END = "_all"

Scores = Mapping[str, Sequence[PairScore]]
"""By algorithm."""


def pairs_frame(results: Scores, protocol: Protocol) -> pd.DataFrame:
    """A row an algorithm and pair, index (`algorithm`, `pair`).

    Columns: `subset`, `sequence`, `mma_1` to `mma_10`, `keypoints` (mean of the two images), `matches`,
    `ha_1` to `ha_10`, `inliers`, `auc_3`, `auc_5`, `auc_10`, `corner_error` (pixels; inf where no homography
    was found).
    """
    import pandas as pd

    parts = []
    for scores in results.values():
        errors = corner_errors(scores, protocol)
        part = pd.DataFrame(matching_rows(scores, protocol), columns=MATCHING_COLUMNS)
        part[HA_COLUMNS] = homography_rows(scores, protocol)[:, : len(HA_COLUMNS)]
        part["inliers"] = [score.inliers for score in scores]
        part["matches"] = [score.matches for score in scores]
        part[AUC_COLUMNS] = auc_terms(errors, AUC_LIMITS)
        part["corner_error"] = errors
        part.insert(0, "subset", [score.subset for score in scores])
        part.insert(1, "sequence", [score.sequence for score in scores])
        part.index = pd.Index([score.name for score in scores], name="pair")
        parts.append(part)
    if not parts:
        return _empty(["subset", "sequence", *_VALUE_COLUMNS, "corner_error"], "pair")
    return pd.concat(parts, keys=list(results), names=["algorithm", "pair"])


def sequences_frame(results: Scores, protocol: Protocol) -> pd.DataFrame:
    """Means over the pairs of each sequence, index (`algorithm`, `sequence`); see :func:`subsets_frame`."""
    return _means(
        results, "sequence", lambda scores: summarise(scores, protocol, group_sequences(scores)), str
    )


def subsets_frame(results: Scores, protocol: Protocol) -> pd.DataFrame:
    """Means over the pairs of each subset, index (`algorithm`, `subset`).

    Columns: `pairs` (how many), `mma_1` to `mma_10`, `keypoints`, `matches`, `ha_1` to `ha_10`, `inliers`,
    `auc_3`, `auc_5`, `auc_10`; nan where there are no pairs.
    """
    return _means(
        results,
        "subset",
        lambda scores: summarise(scores, protocol, group_pairs(scores, protocol)[:-1]),
        lambda group: group.removesuffix(_SUBSET_END),
    )


def algorithms_frame(results: Scores, protocol: Protocol) -> pd.DataFrame:
    """Means over all pairs, index `algorithm`; columns as in :func:`subsets_frame`."""
    frame = _means(
        results,
        "group",
        lambda scores: summarise(scores, protocol, group_pairs(scores, protocol)[-1:]),
        str,
    )
    return frame.droplevel("group")


def _means(
    results: Scores,
    level: str,
    summaries: Callable[[Sequence[PairScore]], list[Summary]],
    name: Callable[[str], str],
) -> pd.DataFrame:
    import pandas as pd

    keys, counts, rows = [], [], []
    for algorithm, scores in results.items():
        for summary in summaries(scores):
            keys.append((algorithm, name(summary.group)))
            counts.append(summary.pairs)
            homography = np.delete(summary.homography, len(HA_COLUMNS))  # the matches are there already
            rows.append(np.concatenate([summary.matching, homography, summary.auc]))
    if not rows:
        return _empty(["pairs", *_VALUE_COLUMNS], level)
    index = pd.MultiIndex.from_tuples(keys, names=["algorithm", level])
    frame = pd.DataFrame(np.stack(rows), index=index, columns=_VALUE_COLUMNS)
    frame.insert(0, "pairs", counts)
    return frame


def _empty(columns: list[str], level: str) -> pd.DataFrame:
    import pandas as pd

    index = pd.MultiIndex.from_arrays([[], []], names=["algorithm", level])
    return pd.DataFrame(columns=columns, index=index, dtype=float)
