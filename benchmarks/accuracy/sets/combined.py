"""Sets made of pairs of the others: matched in either order, and asked for the confidence alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.accuracy.sets.cases import Case, EitherOrder, SamePlace
from benchmarks.accuracy.sets.crops import overlap, parts, strips
from benchmarks.accuracy.sets.depth import fmat, hololens, indoor, stereo, strecha
from benchmarks.accuracy.sets.hard import evd, wxbs
from benchmarks.accuracy.sets.planes import homogr, oxford, synthetic
from benchmarks.accuracy.sets.unmatchable import mirrored, skies, unrelated

TRUE_SETS = {
    "oxford-dev": oxford,
    "homogr": homogr,
    "stereo": stereo,
    "indoor": indoor,
    "hololens": hololens,
    "fmat-dev": fmat,
    "strecha-dev": strecha,
    "synthetic": synthetic,
    "overlap": overlap,
    "parts": parts,
    "strips": strips,
}
HARD_SETS = {"wxbs-dev": wxbs, "evd-dev": evd}
"""With truth, and too hard to ask that every pair be matched."""

FALSE_SETS = {"unrelated": unrelated, "mirrored": mirrored, "skies": skies}

ORDER_PAIRS = {
    "oxford-dev": 5,
    "homogr": 4,
    "stereo": 2,
    "indoor": 3,
    "hololens": 5,
    "fmat-dev": 7,
    "strecha-dev": 7,
    "synthetic": 3,
    "overlap": 4,
}
"""How many of each set are matched in both orders; 40 in all."""


def order(data: Path) -> list[Case]:
    """Forty pairs, evenly spaced through the sets with truth, to be matched in either order."""
    cases = []
    for name, count in ORDER_PAIRS.items():
        pairs = TRUE_SETS[name](data)
        for place in np.linspace(0, len(pairs) - 1, count).round().astype(int):
            case = pairs[place]
            cases.append(replace(case, name=f"{name}-{case.name}", truth=EitherOrder(), group=name))
    return cases


def confidence(data: Path) -> list[Case]:
    """All pairs of all sets with truth, and all that show nothing in common."""
    cases = []
    for same, sets in ((True, TRUE_SETS), (False, FALSE_SETS)):
        for name, pairs in sets.items():
            cases += [
                replace(case, name=f"{name}-{case.name}", truth=SamePlace(same), group=name)
                for case in pairs(data)
            ]
    return cases
