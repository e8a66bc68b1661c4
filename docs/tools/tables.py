"""The page of numbers: one table a question, from the log of the accuracy benchmark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["numbers_page"]


@dataclass(frozen=True)
class Question:
    """A table of the page."""

    asked: str
    told: str
    """What the columns are."""
    section: str
    """Of the log."""
    columns: tuple[str, ...]


QUESTIONS = (
    Question(
        "Are matches on flat things right?",
        "20 pairs of real photos: blur, light, turned and scaled views. Share of matches right to 1, 3 and 5 "
        "pixels (MMA), share of homographies whose corners are off by no more (HA).",
        "oxford-dev",
        ("MMA@1", "MMA@3", "MMA@5", "HA@1", "HA@3", "HA@5", "matches", "lowest MMA@3"),
    ),
    Question(
        "Are homographies of other flat scenes right?",
        "13 pairs with points marked by hand; errors in pixels.",
        "homogr",
        ("pairs under 3 px", "pairs", "median error", "matches"),
    ),
    Question(
        "Are matches right where the scene has depth?",
        "Four stereo pairs with dense truth. Share of matches right to a third of a pixel and to one; "
        "coverage is the share of what both photos show that lies near a right match.",
        "stereo",
        ("within 1/3 px", "within 1 px", "median error", "coverage", "matches"),
    ),
    Question(
        "Do they give the right epipolar geometry?",
        "22 pairs with points marked by hand. mAA: share of these within 1 to 10 pixels of their lines, "
        "averaged.",
        "fmat-dev",
        ("mAA", "solved", "pairs", "matches"),
    ),
    Question(
        "Do they give the right pose, outdoors?",
        "66 pairs of a castle and a church, laser-scanned. Area under the curve of pose errors to 5, 10 and "
        "20 degrees; median error in degrees.",
        "strecha-dev",
        ("AUC@5", "AUC@10", "AUC@20", "median error", "matches"),
    ),
    Question(
        "And from frame to frame in rooms?",
        "71 pairs of frames of a head-worn camera. The same numbers.",
        "hololens",
        ("AUC@5", "AUC@10", "AUC@20", "median error", "matches"),
    ),
    Question(
        "And in rooms seen from far apart?",
        "8 pairs. The same numbers.",
        "indoor",
        ("AUC@5", "AUC@10", "AUC@20", "median error", "matches"),
    ),
    Question(
        "What of other light, another season or sensor?",
        "17 pairs of WxBS with points marked by hand.",
        "wxbs-dev",
        ("mAA", "solved", "pairs", "fewest matches", "matches"),
    ),
    Question(
        "What of planes seen at an extreme slant?",
        "7 pairs of EVD.",
        "evd-dev",
        ("pairs under 10 px", "pairs", "matches"),
    ),
    Question(
        "How little may photos have in common?",
        "Photos that overlap by 12 and by 20 %.",
        "overlap",
        ("right, 12 %", "wrong, 12 %", "pairs, 12 %", "right, 20 %", "wrong, 20 %", "pairs, 20 %"),
    ),
    Question(
        "Does it find what is not there? Mirrored photos",
        "50 photos and their mirror images, which have nothing in common.",
        "mirrored",
        ("pairs", "more than 8 matches", "most matches"),
    ),
    Question(
        "Two skies",
        "21 pairs of different skies.",
        "skies",
        ("pairs", "more than 8 matches", "most matches"),
    ),
    Question(
        "Unrelated photos",
        "1000 pairs.",
        "unrelated",
        ("pairs", "more than 8 matches", "most matches"),
    ),
    Question(
        "Is it as sure as it should be?",
        "All pairs above that show the same and all that do not: the shares of both of which it is at least "
        "half sure that they do.",
        "confidence",
        ("sure of true pairs", "sure of false pairs", "true pairs", "false pairs"),
    ),
    Question(
        "Equal windows",
        "13 facades of equal windows, with one sign that tells which is which.",
        "ambiguous",
        ("right pairs", "wrong and sure", "wrong but doubtful", "pairs"),
    ),
)

Table = dict[str, dict[str, str]]
"""Cells by row and column."""


def numbers_page(log: Path) -> str:
    """The page, in Markdown; a column or row that the log lacks is left out."""
    text = log.read_text(encoding="utf-8")
    sections = {title: _read(body) for title, body in _sections(text)}
    made = next(line for line in text.splitlines() if re.match(r"\d{4}-\d\d-\d\d;", line))
    others = re.search(r"on (\d{4}-\d\d-\d\d) on the same machine", text)
    lines = [
        "# Numbers",
        "",
        "One table a question, made from [the log of the accuracy benchmark](measurements/accuracy.md), "
        "which names the commands. Speed and memory: [what was measured last](measurements/summary.md).",
        "",
        f"- Measured: {made.removesuffix(' Made by')}",
        f"- The rows of other matchers: {others.group(1)}, the same machine." if others else "",
        "- The machine: two cores of an AMD EPYC with AVX-512 and bfloat16, no GPU.",
        "",
    ]
    for question in QUESTIONS:
        table = sections.get(question.section, {}) | sections.get(f"others: {question.section}", {})
        columns = [c for c in question.columns if any(c in cells for cells in table.values())]
        if not columns:
            raise ValueError(f"{log}: no section {question.section} with {', '.join(question.columns)}")
        lines += [f"## {question.asked}", "", question.told, ""]
        lines += [f"| matcher | {' | '.join(columns)} |", "| --- |" + " --: |" * len(columns)]
        lines += [
            f"| {name} | {' | '.join(cells.get(column, '') for column in columns)} |"
            for name, cells in table.items()
        ]
        lines.append("")
    return "\n".join(lines)


def _sections(text: str) -> list[tuple[str, str]]:
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _read(body: str) -> Table:
    """The first table of a section."""
    rows: list[list[str]] = []
    for line in body.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            break
    if not rows:
        return {}
    columns = rows[0][1:]
    return {name: dict(zip(columns, cells, strict=True)) for name, *cells in rows[2:]}
