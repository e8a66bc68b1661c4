"""A figure of an evaluation: matching accuracy and homography accuracy over the threshold."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from gcm.errors import DependencyError
from gcm.metrics.matching import THRESHOLDS
from gcm.metrics.protocols import PairScore, Protocol, summarise
from gcm.storage.atomic import write_if_changed

__all__ = ["plot_curves"]


def plot_curves(results: Mapping[str, Sequence[PairScore]], protocol: Protocol, path: Path) -> None:
    """Draw both curves over 1 to 10 px, all pairs, a line an algorithm; written as PNG.

    Raises:
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
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for name, scores in results.items():
        overall = summarise(scores, protocol)[-1]
        left.plot(THRESHOLDS, overall.matching[:10], marker=".", label=name)
        right.plot(THRESHOLDS, overall.homography[:10], marker=".", label=name)
    left.set(xlabel="threshold (px)", ylabel="mean matching accuracy", ylim=(0, 1.02), xticks=THRESHOLDS)
    right.set(xlabel="threshold (px)", ylabel="homography accuracy", xticks=THRESHOLDS)
    left.legend(fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(f"protocol {protocol.value}", fontsize="medium")
    content = io.BytesIO()
    # Without its version, the same results give the same file.
    figure.savefig(content, format="png", dpi=150, metadata={"Software": None})
    write_if_changed(path, content.getvalue(), alone=True)
