"""A figure of an evaluation: matching accuracy and homography accuracy over the threshold."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from gcm.errors import DependencyError
from gcm.images.files import check_image_suffix
from gcm.metrics.bootstrap import LEVEL, bootstrap_means, interval
from gcm.metrics.matching import THRESHOLDS
from gcm.metrics.protocols import (
    PairScore,
    Protocol,
    homography_rows,
    matching_rows,
    summarise,
)
from gcm.storage.atomic import write_if_changed

__all__ = ["Curve", "accuracy_curves", "plot_curves"]

_MARKERS = "osD^v<>PX*"
_COLOURS = 10
"""Of matplotlib's cycle; beyond, dashes tell algorithms apart."""
_DODGE = 0.6
"""Pixels of threshold over which the algorithms stand side by side, lest they hide each other's intervals."""


@dataclass(frozen=True)
class Curve:
    """The mean of a measure over all pairs at 1 to 10 px, and its 95 % interval."""

    mean: NDArray[np.float64]
    """10, in [0, 1]."""
    low: NDArray[np.float64] | None
    """10; None where pairs of one sequence alone, or IME's protocol, allow no interval."""
    high: NDArray[np.float64] | None


def accuracy_curves(scores: Sequence[PairScore], protocol: Protocol) -> tuple[Curve, Curve]:
    """Matching accuracy and homography accuracy of an algorithm, as its figure shows them.

    Intervals are those of the tables: whole sequences drawn with replacement; protocol `ime` has none.
    """
    overall = summarise(scores, protocol)[-1]
    sequences = _sequences(scores)
    rows = matching_rows(scores, protocol), homography_rows(scores, protocol)
    curves = []
    for mean, values in zip((overall.matching, overall.homography), rows, strict=True):
        low = high = None
        if protocol is Protocol.FIXED and len(set(sequences)) > 1:
            low, high = interval(bootstrap_means(values[:, : len(THRESHOLDS)], sequences))
        curves.append(Curve(mean[: len(THRESHOLDS)], low, high))
    return curves[0], curves[1]


def plot_curves(results: Mapping[str, Sequence[PairScore]], protocol: Protocol, path: Path) -> None:
    """Draw both curves over 1 to 10 px, all pairs, a line an algorithm, with their 95 % intervals.

    Args:
        results: scores of every pair, by algorithm; of the same pairs.
        protocol: what the scores are of.
        path: a picture, whose format follows from its suffix; left alone where it shows just that already.

    Raises:
        UsageError: a suffix that names no image format.
        DependencyError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError(
            "--plot needs matplotlib, which is not installed; pip install 'gcm[plot]'"
        ) from error
    image_format = check_image_suffix(path)
    figure = Figure(figsize=(9, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    handles = []
    for number, scores in enumerate(results.values()):
        for axes, curve in zip((left, right), accuracy_curves(scores, protocol), strict=True):
            handle = _draw(axes, curve, number, len(results))
        handles.append(handle)
    left.set(ylabel="share of matches within the threshold", title="Matching accuracy (MMA)", ylim=(0, 1.02))
    right.set(ylabel="share of homographies within the threshold", title="Homography accuracy (HA)")
    for axes in (left, right):
        axes.set(xlabel="threshold (px)", xticks=THRESHOLDS)
        axes.grid(alpha=0.3)
    names = [_plain(name) for name in results]
    figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize="small")
    figure.suptitle(_title(next(iter(results.values())), protocol), fontsize="medium")
    drawn, content = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    # Through the writer of all pictures, for any format; without matplotlib's version in it, the same
    # results give the same file.
    PILImage.open(drawn).convert("RGB").save(content, format=image_format)
    write_if_changed(path, content.getvalue(), alone=True)


def _draw(axes: Any, curve: Curve, number: int, count: int) -> Any:
    """One line with whiskers for its intervals; what stands for it in the legend."""
    colour, marker = f"C{number % _COLOURS}", _MARKERS[number % len(_MARKERS)]
    style = "-" if number < _COLOURS else "--"
    places = THRESHOLDS + _DODGE * ((number + 0.5) / count - 0.5)
    (line,) = axes.plot(
        places, curve.mean, color=colour, marker=marker, markersize=4, linestyle=style, linewidth=1.2
    )
    if curve.low is not None and curve.high is not None:
        axes.vlines(places, curve.low, curve.high, color=colour, alpha=0.6, linewidth=1.2)
    return line


def _title(scores: Sequence[PairScore], protocol: Protocol) -> str:
    """How many pairs the curves are means of, and what surrounds them."""
    sequences = len(set(_sequences(scores)))
    pairs = summarise(scores, protocol)[-1].pairs
    title = f"{_count(pairs, 'pair')} of {_count(sequences, 'sequence')}, protocol {protocol.value}"
    if protocol is Protocol.FIXED and sequences > 1:
        title += f"; {LEVEL:.0%} intervals: whole sequences drawn with replacement"
    return title


def _sequences(scores: Sequence[PairScore]) -> list[str]:
    return [f"{score.subset}/{score.sequence}" for score in scores]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _plain(name: str) -> str:
    """A name as it is: matplotlib takes dollars for formulas, and leaves out what begins with a line."""
    escaped = name.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
