"""A figure of an evaluation: matching accuracy and homography accuracy over the threshold."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image as PILImage

from gcm.errors import DependencyError
from gcm.images.files import check_image_suffix
from gcm.metrics.matching import THRESHOLDS
from gcm.metrics.protocols import PairScore, Protocol, summarise
from gcm.storage.atomic import write_if_changed

__all__ = ["plot_curves"]


def plot_curves(results: Mapping[str, Sequence[PairScore]], protocol: Protocol, path: Path) -> None:
    """Draw both curves over 1 to 10 px, all pairs, a line an algorithm.

    Args:
        results: scores of every pair, by algorithm.
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
    figure = Figure(figsize=(9, 4), dpi=150, layout="constrained")
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
    drawn, content = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    # Through the writer of all pictures, for any format; without matplotlib's version in it, the same
    # results give the same file.
    PILImage.open(drawn).convert("RGB").save(content, format=image_format)
    write_if_changed(path, content.getvalue(), alone=True)
