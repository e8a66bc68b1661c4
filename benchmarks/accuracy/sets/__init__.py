"""The image pairs of the benchmark and what is known about each; a file a kind of truth."""

from collections.abc import Callable
from functools import partial
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
    TiltedPlane,
    Unrelated,
    turn_matrix,
    turned,
)
from benchmarks.accuracy.sets.combined import FALSE_SETS, HARD_SETS, TRUE_SETS, confidence, order
from benchmarks.accuracy.sets.depth import FRAME_GAPS
from benchmarks.accuracy.sets.planes import ANGLES, EASY_PAIRS, SCALES, homogr, oxford_pair
from benchmarks.accuracy.sets.unmatchable import ambiguous, unrelated

__all__ = [
    "ANGLES",
    "DEFAULT_SETS",
    "EASY_PAIRS",
    "FRAME_GAPS",
    "LONG_SETS",
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
    "TiltedPlane",
    "Unrelated",
    "homogr",
    "oxford_pair",
    "turn_matrix",
    "turned",
]

SETS: dict[str, Callable[[Path], list[Case]]] = {
    **TRUE_SETS,
    **HARD_SETS,
    **FALSE_SETS,
    "ambiguous": ambiguous,
    "order": order,
    "confidence": confidence,
    "unrelated-100": partial(unrelated, pairs=100),
}
"""By name: a function of the data folder that lists the pairs."""

LONG_SETS = ("unrelated", "confidence")
"""A thousand pairs and more: for ablations only where asked for by name."""

DEFAULT_SETS = [name for name in SETS if name != "unrelated-100"]
"""All but the one that is part of another."""
