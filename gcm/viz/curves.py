"""Figures of an evaluation: accuracy of matches, homographies or poses over the threshold."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as PILImage

from gcm.errors import DependencyError, to_install
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

__all__ = ["Curve", "accuracy_curves", "plot_curves", "plot_pose_curves", "pose_curve"]

DEGREES: NDArray[np.float64] = np.arange(1.0, 21.0)
"""Thresholds of poses."""

_MARKERS = "osD^v<>PX*"
_COLOURS = 10
"""Of matplotlib's cycle; beyond, dashes tell algorithms apart."""
_DODGE = 0.6
"""Pixels, or degrees, over which algorithms stand side by side: their intervals would hide each other."""


@dataclass(frozen=True)
class Curve:
    """The mean of a measure over all pairs at T thresholds, and its 95 % interval."""

    mean: NDArray[np.float64]
    """T, in [0, 1]."""
    low: NDArray[np.float64] | None
    """T; None where one sequence or pair alone, or IME's protocol, allows no interval."""
    high: NDArray[np.float64] | None


@dataclass(frozen=True)
class _Panel:
    """One of the plots of a figure."""

    title: str
    across: str
    up: str
    thresholds: NDArray[np.float64]
    curves: Sequence[Curve]
    """One an algorithm."""


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


def pose_curve(errors: ArrayLike) -> Curve:
    """Share of pairs whose pose is off by at most 1 to 20 degrees; intervals with pairs drawn anew.

    Args:
        errors: P, degrees, the larger of rotation and translation; inf or more than 20 where there is none.
    """
    degrees = np.asarray(errors, np.float64)
    within = (degrees[:, None] <= DEGREES).astype(np.float64)
    low = high = None
    if len(degrees) > 1:
        low, high = interval(bootstrap_means(within, [str(k) for k in range(len(degrees))]))
    return Curve(within.mean(axis=0), low, high)


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
    curves = [accuracy_curves(scores, protocol) for scores in results.values()]
    pixels, across = THRESHOLDS.astype(np.float64), "threshold (px)"
    matches, homographies = (f"share of {what} within the threshold" for what in ("matches", "homographies"))
    panels = (
        _Panel("Matching accuracy (MMA)", across, matches, pixels, [first for first, _ in curves]),
        _Panel("Homography accuracy (HA)", across, homographies, pixels, [second for _, second in curves]),
    )
    _write(path, _title(next(iter(results.values())), protocol), list(results), panels)


def plot_pose_curves(results: Mapping[str, ArrayLike], estimator: str, path: Path) -> None:
    """Draw the share of poses within 1 to 20 degrees, a line an algorithm, with their 95 % intervals.

    Args:
        results: errors of every pair, by algorithm, see :func:`pose_curve`; of the same pairs.
        estimator: what found the poses, for the title.
        path, and what is raised: see :func:`plot_curves`.
    """
    pairs = len(np.asarray(next(iter(results.values()))))
    title = f"Poses of {_count(pairs, 'pair')} by {estimator}"
    if pairs > 1:
        title += f"; {100 * LEVEL:.0f} % intervals: pairs drawn with replacement"
    curves = [pose_curve(errors) for errors in results.values()]
    across = "threshold (degrees) of rotation or direction of translation, whichever is farther off"
    up = "share of pairs within the threshold"
    _write(path, title, list(results), [_Panel("", across, up, DEGREES, curves)])


def _write(path: Path, title: str, names: Sequence[str], panels: Sequence[_Panel]) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError(
            f"--plot needs matplotlib, which is not installed; {to_install('plot')}"
        ) from error
    image_format = check_image_suffix(path)
    figure = Figure(figsize=(9, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    handles: list[Any] = []
    for panel, axes in zip(
        panels, figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], strict=True
    ):
        handles = [_draw(axes, panel, number) for number in range(len(panel.curves))]
        axes.set(title=panel.title, xlabel=panel.across, ylabel=panel.up, ylim=(0, 1.02))
        axes.set_xticks(panel.thresholds)
        axes.grid(alpha=0.3)
    labels = [_plain(name) for name in names]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), fontsize="small")
    figure.suptitle(title, fontsize="medium")
    drawn, content = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    # Through the writer of all pictures, for any format; without matplotlib's version in it, the same
    # results give the same file.
    PILImage.open(drawn).convert("RGB").save(content, format=image_format)
    write_if_changed(path, content.getvalue(), alone=True)


def _draw(axes: Any, panel: _Panel, number: int) -> Any:
    """One line with whiskers for its intervals; what stands for it in the legend."""
    curve = panel.curves[number]
    colour, marker = f"C{number % _COLOURS}", _MARKERS[number % len(_MARKERS)]
    style = "-" if number < _COLOURS else "--"
    places = panel.thresholds + _DODGE * ((number + 0.5) / len(panel.curves) - 0.5)
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
        title += f"; {100 * LEVEL:.0f} % intervals: whole sequences drawn with replacement"
    return title


def _sequences(scores: Sequence[PairScore]) -> list[str]:
    return [f"{score.subset}/{score.sequence}" for score in scores]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _plain(name: str) -> str:
    """A name as it is: matplotlib takes dollars for formulas, and leaves out what begins with a line."""
    escaped = name.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
