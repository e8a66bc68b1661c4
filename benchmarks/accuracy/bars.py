"""The bars that `accuracy.py --check` holds the default preset to."""

from __future__ import annotations

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

CHECKED = "default"

WITHOUT: dict[str, Any] = {"hypotheses": "upright", "second_round": False}
"""What switches off the search of stage 0 and the second round."""

COST_LIMIT = 1.3


@dataclass(frozen=True)
class Bar:
    """One condition, with the number found; none where it was not measured."""

    text: str
    found: float | None
    limit: float
    at_least: bool = True

    @property
    def holds(self) -> bool:
        """Not where it was not measured."""
        if self.found is None:
            return False
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "not measured" if self.found is None else "MISSED"
        found = "-" if self.found is None else f"{self.found:.3f}"
        return f"{self.text}: {found} ({'>=' if self.at_least else '<='} {self.limit:.3f}) {verdict}"


def bars(table: Table, cost: Mapping[str, Any] | None) -> list[Bar]:
    """All of them, for the default preset."""

    def number(group: str, name: str, line: str = CHECKED) -> float | None:
        return table.get(group, {}).get(line, {}).get(name)

    found = [
        Bar("oxford-dev: mean MMA@3", number("oxford-dev", "MMA@3"), 0.96),
        Bar("oxford-dev: mean MMA@1", number("oxford-dev", "MMA@1"), 0.78),
        Bar("oxford-dev: share of homographies within 3 px", number("oxford-dev", "HA@3"), 0.90),
        Bar("oxford-dev: fewest matches of a pair", number("oxford-dev", "fewest matches"), 100),
        Bar("oxford-dev: lowest MMA@3 of a pair", number("oxford-dev", "lowest MMA@3"), 0.75),
        Bar("synthetic: lowest MMA@3 of the 24 cells", number("synthetic", "lowest cell"), 0.90),
        Bar("homogr: pairs under 3 px", number("homogr", "pairs under 3 px"), 10),
    ]
    ours = number("hololens", "AUC@10")
    poses = table.get("hololens", {})
    # Of several lines of a peer the best counts.
    for peer, margin in (("sift", 0.0), ("aliked-lightglue", 0.10)):
        theirs = [numbers["AUC@10"] for line, numbers in poses.items() if line.partition(":")[0] == peer]
        text = f"hololens: AUC@10 less {peer}'s" + (f" of {max(theirs):.3f}" if theirs else "")
        found.append(Bar(text, None if ours is None or not theirs else ours - max(theirs), -margin))
    found.append(
        Bar(
            "easy upright pairs: time over that without hypotheses and second round",
            None if cost is None else cost["ratio"],
            COST_LIMIT,
            at_least=False,
        )
    )
    return found


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
