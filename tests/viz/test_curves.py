"""Figures of an evaluation: what they show, and that they show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcm.images.files import load_image
from gcm.metrics.comparison import confidence_intervals
from gcm.metrics.protocols import PairScore, Protocol, summarise
from gcm.viz.curves import accuracy_curves, plot_curves, plot_pose_curves, pose_curve

pytest.importorskip("matplotlib")


def _scores(seed: int, sequences: int = 6) -> list[PairScore]:
    """Pairs that stand or fall with their sequence."""
    rng = np.random.default_rng(seed)
    scores = []
    for s in range(sequences):
        share, error = rng.uniform(0.2, 0.9), rng.uniform(0.5, 12)
        for k in range(5):
            within = tuple(int(100 * min(1.0, share + 0.02 * t)) for t in range(10))
            scores.append(
                PairScore(f"s{s}_{k}", "v", f"s{s}", 100.0, 100, within, 50, error + 0.1 * k, error)
            )
    return scores


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is written in figures, once they are saved."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    written: list[str] = []
    save = Figure.savefig

    def saved(figure: Any, *arguments: Any, **options: Any) -> None:
        save(figure, *arguments, **options)
        written.extend(text.get_text() for text in figure.findobj(Text) if text.get_visible())

    monkeypatch.setattr(Figure, "savefig", saved)
    return written


def test_curves_are_those_of_the_tables() -> None:
    scores = _scores(1)
    matching, homography = accuracy_curves(scores, Protocol.FIXED)
    overall = summarise(scores, Protocol.FIXED)[-1]
    np.testing.assert_allclose(matching.mean, overall.matching[:10])
    np.testing.assert_allclose(homography.mean, overall.homography[:10])
    known = {part.measure: part for part in confidence_intervals(scores)}
    for curve, measure in ((matching, "MMA"), (homography, "HA")):
        assert curve.low is not None
        assert curve.high is not None
        for pixels in (1, 3, 5):
            part = known[f"{measure}@{pixels}"]
            np.testing.assert_allclose(
                (curve.low[pixels - 1], curve.mean[pixels - 1], curve.high[pixels - 1]),
                (part.low, part.value, part.high),
            )
            assert part.low < part.high


def test_no_interval_where_there_can_be_none() -> None:
    assert accuracy_curves(_scores(1, sequences=1), Protocol.FIXED)[0].low is None
    assert accuracy_curves(_scores(1), Protocol.IME)[1].high is None
    assert pose_curve([3.0]).low is None


def test_figures_name_algorithms_pairs_and_intervals(tmp_path: Path, texts: list[str]) -> None:
    results = {"sift": _scores(1), "_orb $8$ and $9$": _scores(2)}
    plot_curves(results, Protocol.FIXED, tmp_path / "c.png")
    told = " ".join(texts)
    for words in (
        "30 pairs of 6 sequences",
        "protocol fixed",
        "95 % intervals",
        "sift",
        r"_orb \$8\$",
        "(px)",
    ):
        assert words in told, words
    assert load_image(tmp_path / "c.png").shape[1] == 1350
    texts.clear()
    plot_curves(results, Protocol.IME, tmp_path / "ime.png")
    told = " ".join(texts)
    assert "29 pairs of 6 sequences, protocol ime" in told  # IME leaves the last pair out
    assert "interval" not in told


def test_intervals_are_drawn(tmp_path: Path) -> None:
    """The same means over sequences that differ, and that do not."""
    differing = _scores(1)
    even = [score for score in differing if score.sequence == "s0"]
    plot_curves({"a": differing}, Protocol.FIXED, tmp_path / "with.png")
    plot_curves({"a": even}, Protocol.FIXED, tmp_path / "without.png")

    def light_blue(name: str) -> int:
        picture = load_image(tmp_path / name).astype(int)
        return int((np.abs(picture - [121, 173, 210]).max(axis=2) < 12).sum())

    assert light_blue("with.png") > 5 * light_blue("without.png")


def test_many_algorithms_fit(tmp_path: Path, texts: list[str]) -> None:
    results = {f"algorithm_{k}": _scores(k) for k in range(14)}
    plot_curves(results, Protocol.FIXED, tmp_path / "c.jpg")
    assert set(results) <= set(texts)
    assert load_image(tmp_path / "c.jpg").shape == (675, 1350, 3)


def test_pose_curves(tmp_path: Path, texts: list[str]) -> None:
    errors = [0.5, 1.5, 4.0, 180.0]
    curve = pose_curve(errors)
    np.testing.assert_allclose(curve.mean[[0, 1, 3, 19]], [0.25, 0.5, 0.75, 0.75])
    assert curve.low is not None
    assert curve.high is not None
    assert (curve.low <= curve.mean).all()
    assert (curve.mean <= curve.high).all()
    plot_pose_curves({"x": errors, "y": errors[::-1]}, "opencv, 0.5 px", tmp_path / "p.png")
    told = " ".join(texts)
    for words in ("Poses of 4 pairs by opencv, 0.5 px", "95 % intervals", "degrees", "x", "y"):
        assert words in told
