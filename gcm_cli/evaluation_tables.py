"""The tables and the JSON document of ``gcm evaluate``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from gcm.benchmark.evaluate import Evaluation
from gcm.benchmark.frames import AUC_COLUMNS, HA_COLUMNS, MMA_COLUMNS
from gcm.metrics.comparison import Interval, compare, confidence_intervals
from gcm.metrics.protocols import AUC_LIMITS, Protocol

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TextTable", "all_tables", "document", "rich_table", "written_table"]

_SHOWN = ("MMA@3", "HA@3", "AUC@5")
"""Measures whose intervals and differences stand in the tables; the JSON document has all."""
_FEW_SEQUENCES = 10

Row = Mapping[Any, float]
"""Means by the names of columns."""


@dataclass(frozen=True)
class TextTable:
    """A table before it is drawn; the first column is text, or the first two."""

    title: str
    headers: list[str]
    rows: list[list[str]]
    text_columns: int = 2


def all_tables(result: Evaluation, *, per_sequence: bool = False) -> Iterator[TextTable]:
    """The tables for people, each fit for 80 columns."""
    yield _matching_table(result)
    yield _homography_table(result)
    if per_sequence:
        yield _sequence_table(result)
    if result.protocol is Protocol.FIXED:
        count = len({score.sequence for score in next(iter(result.scores.values()))})
        if count > 1:
            few = f"; rough, with only {count} sequences" if count < _FEW_SEQUENCES else ""
            yield _interval_table(result, few)
            if len(result.scores) > 1:
                yield _difference_table(result, " (rough)" if few else "")


def rich_table(table: TextTable) -> Table:
    """For the terminal."""
    # Names of folders may hold brackets, which Rich would take for markup.
    title = Text(table.title, style="table.title")
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, header in enumerate(table.headers):
        text = number < table.text_columns
        drawn.add_column(header, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    drawn.caption = " "
    return drawn


def written_table(table: TextTable, style: str) -> str:
    """As markdown or LaTeX (booktabs)."""
    align = ["left"] * table.text_columns + ["right"] * (len(table.headers) - table.text_columns)
    if style == "markdown":
        body = tabulate(table.rows, table.headers, "github", colalign=align, disable_numparse=True)
        return f"**{table.title}**\n\n{body}\n"
    body = tabulate(table.rows, table.headers, "latex_booktabs", colalign=align, disable_numparse=True)
    return f"% {table.title}\n{body}\n"


def _subset_rows(result: Evaluation) -> Iterator[tuple[str, str, Row]]:
    """Algorithm, subset, means; the subsets of each algorithm and then all its pairs."""
    for name in result.algorithms.index:
        for (_, subset), means in _rows(result.subsets.loc[[name]]):
            yield name, subset, means
        yield name, "all", result.algorithms.loc[name].to_dict()


def _matching_table(result: Evaluation) -> TextTable:
    rows = [
        [
            name,
            subset,
            str(int(means["pairs"])),
            *_cells(means, "mma", (1, 3, 5, 10)),
            _count(means["matches"]),
        ]
        for name, subset, means in _subset_rows(result)
    ]
    title = f"Matching accuracy: matches within N px (protocol {result.protocol.value})"
    return TextTable(
        title, ["Algorithm", "Subset", "Pairs", "1 px", "3 px", "5 px", "10 px", "Matches"], rows
    )


def _homography_table(result: Evaluation) -> TextTable:
    title = f"Homographies: mean corner error within N px (protocol {result.protocol.value})"
    headers = ["Algorithm", "Subset", "1 px", "3 px", "5 px"]
    ime = result.protocol is Protocol.IME
    headers += ["10 px", "Inliers"] if ime else [f"AUC@{limit:.0f}" for limit in AUC_LIMITS]
    rows = []
    for name, subset, means in _subset_rows(result):
        last = (
            [*_cells(means, "ha", (10,)), _count(means["inliers"])]
            if ime
            else _numbers([means[column] for column in AUC_COLUMNS])
        )
        rows.append([name, subset, *_cells(means, "ha", (1, 3, 5)), *last])
    return TextTable(title, headers, rows)


def _sequence_table(result: Evaluation) -> TextTable:
    rows = []
    for (name, sequence), means in _rows(result.sequences):
        cells = [*_cells(means, "mma", (1, 3, 5)), *_cells(means, "ha", (1, 3, 5))]
        rows.append([name, sequence, *cells, f"{means['matches']:.0f}"])
    headers = ["Algorithm", "Sequence", "MMA@1", "@3", "@5", "HA@1", "@3", "@5", "Matches"]
    return TextTable(f"Sequences (protocol {result.protocol.value})", headers, rows)


def _interval_table(result: Evaluation, few: str) -> TextTable:
    rows = []
    for name, scores in result.scores.items():
        by_measure = {part.measure: part for part in confidence_intervals(scores)}
        shown = [by_measure[measure] for measure in _SHOWN]
        cells = [f"{_tidy(p.value):.2f} [{_tidy(p.low):.2f}, {_tidy(p.high):.2f}]" for p in shown]
        rows.append([name, *cells])
    return TextTable(f"95 % intervals over sequences{few}", ["Algorithm", *_SHOWN], rows, 1)


def _difference_table(result: Evaluation, rough: str) -> TextTable:
    first, *others = result.scores
    rows = []
    for name in others:
        by_measure = {part.measure: part for part in compare(result.scores[name], result.scores[first])}
        shown = [by_measure[measure] for measure in _SHOWN]
        cells = [f"{_tidy(p.value):+.2f} {'within' if p.holds_zero else 'beyond'}" for p in shown]
        rows.append([name, *cells])
    title = f"Differences to {first}, within or beyond their 95 % interval{rough}"
    return TextTable(title, ["Algorithm", *_SHOWN], rows, 1)


def _tidy(value: float) -> float:
    """A number as it is to be shown with two decimals: what rounds to zero has no sign."""
    return 0.0 if abs(value) < 0.005 else value


def _cells(means: Row, measure: str, pixels: tuple[int, ...]) -> list[str]:
    return _numbers([means[f"{measure}_{pixel}"] for pixel in pixels])


def _numbers(values: Sequence[float]) -> list[str]:
    return ["-" if math.isnan(value) else f"{value:.3f}" for value in values]


def _count(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"


# -- JSON --------------------------------------------------------------------------------------


def document(result: Evaluation) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "protocol": result.protocol.value,
        "folder": str(result.folder),
        "algorithms": {name: _algorithm(result, name) for name in result.scores},
        "comparisons": [
            {"first": a, "second": b, **_interval(part), "within_interval": part.holds_zero}
            for a, b in combinations(result.scores, 2)
            if result.protocol is Protocol.FIXED
            for part in compare(result.scores[a], result.scores[b])
        ],
        "problems": result.problems,
    }


def _algorithm(result: Evaluation, name: str) -> dict[str, Any]:
    subsets = {f"{subset}_all": row for (_, subset), row in _rows(result.subsets.loc[[name]])}
    entry: dict[str, Any] = {
        "summaries": {
            **{group: _summary(row) for group, row in subsets.items()},
            "all": _summary(result.algorithms.loc[name].to_dict()),
        },
        "sequences": {sequence: _summary(row) for (_, sequence), row in _rows(result.sequences.loc[[name]])},
    }
    if result.protocol is Protocol.FIXED:
        entry["intervals"] = [_interval(part) for part in confidence_intervals(result.scores[name])]
    return entry


def _rows(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str], Row]]:
    """Index (of two levels) and columns of each row."""
    names = frame.columns.tolist()
    for key, values in zip(frame.index.tolist(), frame.to_numpy().tolist(), strict=True):
        yield key, dict(zip(names, values, strict=True))


def _summary(row: Row) -> dict[str, Any]:
    return {
        "pairs": int(row["pairs"]),
        "mma": [row[column] for column in MMA_COLUMNS],
        "keypoints": row["keypoints"],
        "matches": row["matches"],
        "homography": [row[column] for column in HA_COLUMNS],
        "inliers": row["inliers"],
        "auc": {f"{limit:.0f}": row[column] for limit, column in zip(AUC_LIMITS, AUC_COLUMNS, strict=True)},
    }


def _interval(part: Interval) -> dict[str, Any]:
    return {"measure": part.measure, "value": part.value, "low": part.low, "high": part.high}
