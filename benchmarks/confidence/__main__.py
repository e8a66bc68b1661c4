"""Fit the confidence of a match: how sure it is that two photos show the same.

    python -m benchmarks.confidence --shared ../shared --work runs/confidence

Matches some 400 pairs made of photos that are for training (benchmarks/confidence/pairs.py): unrelated ones,
mirrored ones and skies, which show nothing in common; views of a photo under homographies, parts of a photo
that overlap a little, and neighbours in photo collections, which do. What the matches give for evidence
(gcm/method/verdict.py) is then weighed by a logistic regression with a little ridge, once with the share that
verification keeps and once without; what is taken is the mean of both, since either alone is sure of some
pairs that the other doubts. Pairs without a match tell nothing of it and are left out, and so are pairs of a
collection with fewer than 250 matches, of which nobody knows whether they overlap. Prints the weights, as
they stand in gcm/options/guided.py, and the reliability of what they say. The evidence of pairs is kept in
--work.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.measures.verdicts import reliability
from benchmarks.confidence.pairs import Item, draw, items
from gcm.matcher import Matcher

EVIDENCE = ("significance", "precise", "share", "kept", "number")
RIDGE = 0.5
FEWEST = 250

Array = NDArray[np.float64]


def evidence(matcher: Matcher, item: Item, data: Path, work: Path) -> dict[str, float] | None:
    """What a pair gives for evidence; None where nothing was matched."""
    file = work / f"{item.kind}-{item.number}-{item.gap}.json"
    if not file.is_file():
        found = matcher.match(*draw(item, data))
        work.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found.info.get("evidence") if len(found) else None))
    kept: dict[str, float] | None = json.loads(file.read_text())
    return kept


def fit(values: Array, same: Array) -> tuple[Array, float]:
    """Weights and intercept of a logistic regression, by Newton's method, on values of unit deviation."""
    mean, deviation = values.mean(axis=0), values.std(axis=0) + 1e-9
    rows = np.column_stack([(values - mean) / deviation, np.ones(len(values))])
    ridge = np.diag([RIDGE] * values.shape[1] + [1e-6])
    weights = np.zeros(rows.shape[1])
    for _ in range(80):
        predicted = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (predicted - same) + ridge @ weights
        curve = (rows * (predicted * (1 - predicted))[:, None]).T @ rows + ridge
        weights -= np.linalg.solve(curve, slope)
    scaled: Array = weights[:-1] / deviation
    return scaled, float(weights[-1] - scaled @ mean)


def mean_fit(values: Array, same: Array) -> tuple[Array, float]:
    """The mean of the fits with and without what verification keeps."""
    without = [k for k, name in enumerate(EVIDENCE) if name != "kept"]
    weights, intercept = fit(values, same)
    fewer, other = fit(values[:, without], same)
    both = np.zeros(len(EVIDENCE))
    both[without] = fewer
    return (weights + both) / 2, (intercept + other) / 2


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds data")
    parser.add_argument("--work", type=Path, default=Path("runs/confidence"), help="where evidence is kept")
    arguments = parser.parse_args()
    data = arguments.shared / "data"
    matcher = Matcher("default", min_confidence=0.0)
    values, same = [], []
    for number, item in enumerate(listed := items(data), start=1):
        found = evidence(matcher, item, data, arguments.work)
        if found and (item.certain or found["number"] >= np.log10(FEWEST)):
            values.append([found[name] for name in EVIDENCE])
            same.append(item.same)
        if sys.stderr.isatty():
            print(f"\r{number}/{len(listed)} ", end="", file=sys.stderr, flush=True)
    rows, truth = np.array(values), np.array(same)
    weights, intercept = mean_fit(rows, truth.astype(np.float64))
    print(f"intercept {intercept:.2f}")
    for name, weight in zip(EVIDENCE, weights, strict=True):
        print(f"{name} {weight:.2f}")
    predicted = 1 / (1 + np.exp(-(rows @ weights + intercept)))
    right = np.mean((predicted >= 0.5) == truth)
    print(f"{len(truth)} pairs, {truth.mean():.0%} of the same; {right:.1%} told right")
    for row in reliability(predicted, truth):
        print(
            f"from {row['from']:.1f}: predicted {row['predicted']:.2f}, observed {row['observed']:.2f}, "
            f"{row['count']:.0f} pairs"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
