"""The image pairs of the benchmark and what is known about each; a file a kind of truth."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.accuracy.sets.cases import (
    Ambiguous,
    Cameras,
    Case,
    Disparity,
    Drawn,
    EitherOrder,
    EpipolarPoints,
    Picture,
    Plane,
    Points,
    RightOrNothing,
    SamePlace,
    Unrelated,
    turn_matrix,
    turned,
)
from benchmarks.accuracy.sets.depth import FRAME_GAPS, fmat, hololens, indoor, stereo, strecha
from benchmarks.accuracy.sets.planes import (
    ANGLES,
    EASY_PAIRS,
    SCALES,
    homogr,
    oxford,
    oxford_pair,
    synthetic,
)

__all__ = [
    "ANGLES",
    "EASY_PAIRS",
    "FRAME_GAPS",
    "SCALES",
    "SETS",
    "Ambiguous",
    "Cameras",
    "Case",
    "Disparity",
    "Drawn",
    "EitherOrder",
    "EpipolarPoints",
    "Picture",
    "Plane",
    "Points",
    "RightOrNothing",
    "SamePlace",
    "Unrelated",
    "homogr",
    "oxford_pair",
    "turn_matrix",
    "turned",
]

SETS: dict[str, Callable[[Path], list[Case]]] = {
    "oxford-dev": oxford,
    "homogr": homogr,
    "stereo": stereo,
    "indoor": indoor,
    "hololens": hololens,
    "fmat-dev": fmat,
    "strecha-dev": strecha,
    "synthetic": synthetic,
}
"""By name: a function of the data folder that lists the pairs."""
