"""The tables and the JSON document of ``gcm evaluate``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from gcm.benchmark.evaluate import Evaluation
from gcm.metrics.comparison import Interval, compare, confidence_intervals
from gcm.metrics.protocols import AUC_LIMITS, Protocol, Summary, group_sequences, summarise

__all__ = ["TextTable", "all_tables", "document", "rich_table", "written_table"]

_SHOWN = ("MMA@3", "HA@3", "AUC@5")
"""Measures whose intervals and differences stand in the tables; the JSON document has all."""
_FEW_SEQUENCES = 10


@dataclass(frozen=True)
class TextTable:
    """A table before it is drawn; the first column is text, or the first two."""

    title: str
    headers: list[str]
    rows: list[list[str]]
    text_columns: int = 2


def all_tables(result: Evaluation, *, per_sequence: bool = False) -> Iterator[TextTable]:
    """The tables for people, each fit for 80 columns."""
    summaries = {name: summarise(scores, result.protocol) for name, scores in result.scores.items()}
    yield _matching_table(result, summaries)
    yield _homography_table(result, summaries)
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


def _matching_table(result: Evaluation, summaries: dict[str, list[Summary]]) -> TextTable:
    rows = [
        [
            name,
            _group(part.group),
            str(part.pairs),
            *_cells(part.matching, (1, 3, 5, 10)),
            _count(part.matching[11]),
        ]
        for name, parts in summaries.items()
        for part in parts
    ]
    title = f"Matching accuracy: matches within N px (protocol {result.protocol.value})"
    return TextTable(
        title, ["Algorithm", "Subset", "Pairs", "1 px", "3 px", "5 px", "10 px", "Matches"], rows
    )


def _homography_table(result: Evaluation, summaries: dict[str, list[Summary]]) -> TextTable:
    title = f"Homographies: mean corner error within N px (protocol {result.protocol.value})"
    headers = ["Algorithm", "Subset", "1 px", "3 px", "5 px"]
    ime = result.protocol is Protocol.IME
    headers += ["10 px", "Inliers"] if ime else [f"AUC@{limit:.0f}" for limit in AUC_LIMITS]
    rows = []
    for name, parts in summaries.items():
        for part in parts:
            last = (
                [*_cells(part.homography, (10,)), _count(part.homography[11])] if ime else _numbers(part.auc)
            )
            rows.append([name, _group(part.group), *_cells(part.homography, (1, 3, 5)), *last])
    return TextTable(title, headers, rows)


def _sequence_table(result: Evaluation) -> TextTable:
    rows = []
    for name, scores in result.scores.items():
        for part in summarise(scores, result.protocol, group_sequences(scores)):
            cells = [*_cells(part.matching, (1, 3, 5)), *_cells(part.homography, (1, 3, 5))]
            rows.append([name, part.group, *cells, f"{part.matching[11]:.0f}"])
    headers = ["Algorithm", "Sequence", "MMA@1", "@3", "@5", "HA@1", "@3", "@5", "Matches"]
    return TextTable(f"Sequences (protocol {result.protocol.value})", headers, rows)


def _interval_table(result: Evaluation, few: str) -> TextTable:
    rows = []
    for name, scores in result.scores.items():
        found = {part.measure: part for part in confidence_intervals(scores)}
        cells = [f"{found[m].value:.2f} [{found[m].low:.2f}, {found[m].high:.2f}]" for m in _SHOWN]
        rows.append([name, *cells])
    return TextTable(f"95 % intervals over sequences{few}", ["Algorithm", *_SHOWN], rows, 1)


def _difference_table(result: Evaluation, rough: str) -> TextTable:
    first, *others = result.scores
    rows = []
    for name in others:
        found = {part.measure: part for part in compare(result.scores[name], result.scores[first])}
        cells = [f"{found[m].value:+.2f} {'within' if found[m].holds_zero else 'beyond'}" for m in _SHOWN]
        rows.append([name, *cells])
    title = f"Differences to {first}, within or beyond their 95 % interval{rough}"
    return TextTable(title, ["Algorithm", *_SHOWN], rows, 1)


def _group(name: str) -> str:
    return name.removesuffix("_all")


def _cells(row: Any, pixels: tuple[int, ...]) -> list[str]:
    return _numbers([row[pixel - 1] for pixel in pixels])


def _numbers(values: Any) -> list[str]:
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
    scores = result.scores[name]
    found: dict[str, Any] = {
        "summaries": {part.group: _summary(part) for part in summarise(scores, result.protocol)},
        "sequences": {
            part.group: _summary(part) for part in summarise(scores, result.protocol, group_sequences(scores))
        },
    }
    if result.protocol is Protocol.FIXED:
        found["intervals"] = [_interval(part) for part in confidence_intervals(scores)]
    return found


def _summary(part: Summary) -> dict[str, Any]:
    return {
        "pairs": part.pairs,
        "mma": part.matching[:10],
        "keypoints": part.matching[10],
        "matches": part.matching[11],
        "homography": part.homography[:10],
        "inliers": part.homography[11],
        "auc": {f"{limit:.0f}": value for limit, value in zip(AUC_LIMITS, part.auc, strict=True)},
    }


def _interval(part: Interval) -> dict[str, Any]:
    return {"measure": part.measure, "value": part.value, "low": part.low, "high": part.high}
