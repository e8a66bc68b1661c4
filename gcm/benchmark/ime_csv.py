"""The CSV files of an evaluation, as Image Matching Evaluation (IME) writes them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from gcm.benchmark.frames import HOMOGRAPHY_COLUMNS, MATCHING_COLUMNS
from gcm.metrics.protocols import Protocol

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COUNTS", "Kind", "overall_csv", "rows_csv"]

Kind = Literal["matching", "homography"]

COUNTS: Mapping[Kind, tuple[str, str]] = {
    "matching": ("#Features", "#Matches"),
    "homography": ("#Matches", "#Inliers"),
}
"""Headings of the last two of the 12 columns."""

_COLUMNS: Mapping[Kind, list[str]] = {"matching": MATCHING_COLUMNS, "homography": HOMOGRAPHY_COLUMNS}


def rows_csv(pairs: pd.DataFrame, kind: Kind) -> str:
    """One row of 12 numbers a pair, in numpy's full precision.

    Args:
        pairs: one algorithm's rows of :func:`gcm.benchmark.frames.pairs_frame`.
        kind: which columns.
    """
    text = io.StringIO()
    np.savetxt(text, pairs[_COLUMNS[kind]].to_numpy(dtype=np.float64), delimiter=",")
    return text.getvalue()


def overall_csv(subsets: pd.DataFrame, algorithms: pd.DataFrame, protocol: Protocol, kind: Kind) -> str:
    """One row an algorithm, 12 columns a subset and 12 for all pairs, below two rows of headings.

    A file of protocol `fixed` says so in its first cell.

    Args:
        subsets: as :func:`gcm.benchmark.frames.subsets_frame` gives it.
        algorithms: as :func:`gcm.benchmark.frames.algorithms_frame` gives it.
        protocol: of the numbers.
        kind: which columns.
    """
    columns = _COLUMNS[kind]
    means = {name: subsets.loc[[name], columns] for name in algorithms.index}
    groups = [f"{subset}_all" for subset in next(iter(means.values())).index.get_level_values("subset")]
    corner = "Algorithms" if protocol is Protocol.IME else f"Algorithms ({protocol.value})"
    top, second = [corner], [" "]
    for group in [*groups, "all"]:
        top += [" "] * 5 + [group] + [" "] * 6
        second += [*(f"{t}," for t in range(1, 11)), *COUNTS[kind]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([top, second])
    for name, rows in means.items():
        values = [*rows.to_numpy().ravel().tolist(), *algorithms.loc[name, columns].tolist()]
        writer.writerow([name, *("" if math.isnan(value) else f"{value:.2f}" for value in values)])
    return text.getvalue()
