"""The bars that `accuracy.py --check` holds the default preset to."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy.lines import spec_of
from benchmarks.accuracy.sets import EASY_PAIRS, oxford_pair
from gcm.config import known_keys

Table = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Numbers by set, line and name."""

CHECKED, FAST, ROBUST = "default", "fast", "robust"

UNMATCHABLE = ("unrelated", "mirrored", "skies")

WITHOUT: dict[str, Any] = {"hypotheses": "upright", "second_round": False}
"""What switches off the search of stage 0 and the second round."""

COST_LIMIT = 1.3


LIMITS: tuple[tuple[str, str, str, float], ...] = (
    ("oxford-dev", "MMA@3", "mean MMA@3", 0.965),
    ("oxford-dev", "MMA@1", "mean MMA@1", 0.85),
    ("oxford-dev", "HA@3", "share of homographies within 3 px", 0.90),
    ("oxford-dev", "fewest matches", "fewest matches of a pair", 100),
    ("oxford-dev", "lowest MMA@3", "lowest MMA@3 of a pair", 0.75),
    ("synthetic", "lowest cell", "lowest MMA@3 of the 24 cells", 0.9995),
    ("homogr", "pairs under 3 px", "pairs under 3 px", 10),
    ("stereo", "within 1/3 px", "within 1/3 px", 0.68),
    ("stereo", "within 1 px", "within 1 px", 0.90),
    ("stereo", "coverage", "cells that hold a right match", 0.80),
    ("stereo", "share right", "matches within 3 px", 0.97),
    ("hololens", "coverage, gap 6", "cells that hold a right match, 6 apart", 0.55),
    ("hololens", "share right, gap 6", "matches within 3 px, 6 apart", 0.88),
    ("hololens", "AUC@10", "AUC@10", 0.76),
    ("indoor", "AUC@10", "AUC@10", 0.40),
    ("fmat-dev", "mAA", "mAA", 0.94),
    ("fmat-dev", "solved", "solved of 22", 21),
    ("strecha-dev", "AUC@5", "AUC@5", 0.88),
    ("wxbs-dev", "mAA", "mAA", 0.40),
    ("evd-dev", "pairs under 10 px", "pairs under 10 px", 3),
    ("overlap", "right, 12 %", "right of 7 at 12 %", 5),
    ("overlap", "right, 20 %", "right of 9 at 20 %", 8),
    ("parts", "right, photo, part", "right of 8, photo first", 8),
    ("parts", "right, part, photo", "right of 8, part first", 8),
    ("strips", "right, photo, strip", "right of 8, photo first", 6),
    ("strips", "right, strip, photo", "right of 8, strip first", 6),
    ("order", "same verdict", "same verdict of 40", 40),
    ("order", "share in common", "share of the smaller set in both", 0.90),
    ("confidence", "sure of true pairs", "true pairs with confidence of at least 0.5", 0.98),
)
"""Set, number, how the bar calls it, and the least the default preset may have."""

CEILINGS: tuple[tuple[tuple[str, ...], tuple[str, ...], str, float], ...] = (
    (("overlap",), ("wrong, 12 %", "wrong, 20 %"), "wrong", 0),
    (UNMATCHABLE, ("more than 8 matches",), "more than 8 matches", 2),
    (UNMATCHABLE, ("of those sure",), "of those with confidence over 0.5", 0),
    (("ambiguous",), ("wrong and sure",), "wrong without doubt", 0),
)
"""Sets and numbers whose sum is not to exceed the last."""


@dataclass(frozen=True)
class Bar:
    """One condition, with the number measured; None where it was not."""

    text: str
    value: float | None
    limit: float
    at_least: bool = True

    @property
    def measured(self) -> bool:
        """Whether there is a number; a measure that a matcher lacks is nan."""
        return self.value is not None and not math.isnan(self.value)

    @property
    def holds(self) -> bool:
        """Not where it was not measured."""
        if self.value is None or not self.measured:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "MISSED" if self.measured else "not measured"
        value = f"{self.value:.3f}" if self.measured else "-"
        return f"{self.text}: {value} ({'>=' if self.at_least else '<='} {self.limit:.3f}) {verdict}"


def bars(table: Table, cost: Mapping[str, Any] | None) -> list[Bar]:
    """All of them: for the default preset, and one for the fast one."""

    def number(group: str, name: str, line: str = CHECKED) -> float | None:
        return table.get(group, {}).get(line, {}).get(name)

    checked = [Bar(f"{group}: {text}", number(group, name), limit) for group, name, text, limit in LIMITS]
    checked.append(Bar("fmat-dev: mAA of fast", number("fmat-dev", "mAA", FAST), 0.92))
    checked.append(Bar("wxbs-dev: mAA of robust", number("wxbs-dev", "mAA", ROBUST), 0.62))
    checked.append(
        Bar("evd-dev: pairs under 10 px of robust", number("evd-dev", "pairs under 10 px", ROBUST), 4)
    )
    for groups, names, text, limit in CEILINGS:
        numbers = [number(group, name) for group in groups for name in names]
        total = None if None in numbers else sum(value for value in numbers if value is not None)
        checked.append(Bar(f"{', '.join(groups)}: {text}", total, limit, at_least=False))
    ours = number("hololens", "AUC@10")
    poses = table.get("hololens", {})
    # Of several lines of a peer the best counts.
    for peer, margin in (("sift", 0.0), ("aliked-lightglue", 0.10)):
        theirs = [numbers["AUC@10"] for line, numbers in poses.items() if line.partition(":")[0] == peer]
        text = f"hololens: AUC@10 less {peer}'s" + (f" of {max(theirs):.3f}" if theirs else "")
        checked.append(Bar(text, None if ours is None or not theirs else ours - max(theirs), -margin))
    easy = "easy upright pairs: time over that without hypotheses and second round"
    checked.append(Bar(easy, None if cost is None else cost["ratio"], COST_LIMIT, at_least=False))
    return checked


def measure_cost(shared: Path, repeats: int) -> dict[str, Any]:
    """Time of the default preset on easy upright pairs, over that of itself without what they don't need.

    Both in turns, each with features forgotten, so that neither a slow spell nor a remembered image favours
    one. The ratio is that of the sums of the pairs' medians.
    """
    known = {key: value for key, value in WITHOUT.items() if key in known_keys()}
    changes = ",".join(f"{key}={str(value).lower()}" for key, value in known.items())
    labels = {"as it is": CHECKED, "without": f"{CHECKED}:{changes}"}
    cases = [oxford_pair(shared / "data", sequence, k) for sequence, k in EASY_PAIRS]
    specs = {kind: spec_of(label, shared) for kind, label in labels.items()}
    matchers: dict[str, Any] = {kind: spec.create() for kind, spec in specs.items()}
    seconds: dict[str, dict[str, list[float]]] = {case.name: {kind: [] for kind in labels} for case in cases}
    for case in cases:
        image0, image1 = case.image0.load(), case.image1.load()
        for turn in range(repeats + 1):  # the first round warms up
            for kind in labels if turn % 2 else reversed(labels):
                matchers[kind].features.cache.clear()
                start = time.perf_counter()
                matchers[kind].match(image0, image1)
                if turn:
                    seconds[case.name][kind].append(time.perf_counter() - start)
        print(f"cost: {case.name} {seconds[case.name]}", file=sys.stderr, flush=True)
    medians = {
        pair: {kind: statistics.median(times) for kind, times in both.items()}
        for pair, both in seconds.items()
    }
    whole, without = (sum(both[kind] for both in medians.values()) for kind in labels)
    return {
        "ratio": whole / without,
        "pairs": {
            pair: {**both, "ratio": both["as it is"] / both["without"]} for pair, both in medians.items()
        },
        "compared with": labels["without"],
        "keys that do not exist": sorted(set(WITHOUT) - set(known)),
        "repeats": repeats,
    }
