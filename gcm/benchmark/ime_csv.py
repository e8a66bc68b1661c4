"""The CSV files of an evaluation, as Image Matching Evaluation (IME) writes them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from gcm.metrics.protocols import PairScore, Protocol, homography_rows, matching_rows, summarise

__all__ = ["COUNTS", "Kind", "overall_csv", "rows_csv"]

Kind = Literal["matching", "homography"]

COUNTS: Mapping[Kind, tuple[str, str]] = {
    "matching": ("#Features", "#Matches"),
    "homography": ("#Matches", "#Inliers"),
}
"""Headings of the last two of the 12 columns."""


def rows_csv(scores: Sequence[PairScore], protocol: Protocol, kind: Kind) -> str:
    """One row of 12 numbers a pair, in numpy's full precision."""
    rows = matching_rows(scores, protocol) if kind == "matching" else homography_rows(scores, protocol)
    text = io.StringIO()
    np.savetxt(text, rows, delimiter=",")
    return text.getvalue()


def overall_csv(results: Mapping[str, Sequence[PairScore]], protocol: Protocol, kind: Kind) -> str:
    """One row an algorithm, 12 columns a group, below two rows of headings.

    A file of protocol `fixed` says so in its first cell.
    """
    summaries = {name: summarise(scores, protocol) for name, scores in results.items()}
    groups = [summary.group for summary in next(iter(summaries.values()))]
    corner = "Algorithms" if protocol is Protocol.IME else f"Algorithms ({protocol.value})"
    top, second = [corner], [" "]
    for group in groups:
        top += [" "] * 5 + [group] + [" "] * 6
        second += [*(f"{t}," for t in range(1, 11)), *COUNTS[kind]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([top, second])
    for name, parts in summaries.items():
        columns = np.concatenate([getattr(part, kind) for part in parts])
        writer.writerow([name, *("" if math.isnan(value) else f"{value:.2f}" for value in columns)])
    return text.getvalue()
