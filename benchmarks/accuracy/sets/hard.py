"""Pairs that little matches: other light, season, sensor, and extreme tilt."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.accuracy.sets.cases import Case, EpipolarPoints, Picture, TiltedPlane, size_of
from gcm.images.files import load_image

__all__ = ["evd", "wxbs"]


def wxbs(data: Path) -> list[Case]:
    """Pairs with changes of geometry, appearance, light and sensor (WxBS, Mishkin 2015), points by hand."""
    cases = []
    for folder in sorted(path.parent for path in (data / "wxbs-dev").glob("*/corrs.txt")):
        rows = np.loadtxt(folder / "corrs.txt").reshape(-1, 4)  # x0 y0 x1 y1
        first, second = (Picture(_image(folder, name)) for name in ("01", "02"))
        cases.append(Case(folder.name, first, second, EpipolarPoints(rows[:, :2], rows[:, 2:])))
    return cases


def evd(data: Path) -> list[Case]:
    """Planes seen at an extreme slant (EVD, Mishkin 2013)."""
    cases = []
    for file in sorted((data / "evd-dev").glob("*/H_1_2")):
        first, second = (_image(file.parent, name) for name in ("1", "2"))
        sizes = [size_of(load_image(path)) for path in (first, second)]
        truth = TiltedPlane(np.loadtxt(file).reshape(3, 3), *sizes)
        cases.append(Case(file.parent.name, Picture(first), Picture(second), truth))
    return cases


def _image(folder: Path, stem: str) -> Path:
    return next(path for path in sorted(folder.iterdir()) if path.stem == stem)
