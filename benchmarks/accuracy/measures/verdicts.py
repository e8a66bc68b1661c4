"""Measures where the verdict counts: right, wrong, or nothing; sure or not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.sets.cases import Ambiguous, Array, RightOrNothing
from gcm.metrics.matching import transfer_errors

Score = dict[str, Any]

FEWEST = 8
"""Matches below which an answer counts as none."""

RIGHT, RIGHT_SHARE = 3.0, 0.8
"""An answer is right when this share of its matches lies within 3 px of the truth."""

SURE = 0.5
"""Confidence from which a matcher claims that both photos show the same thing."""

COUNTERPART = 1.0
"""Pixels: in both images, how close a match of the other order is to count as the same."""


def verdict(truth: RightOrNothing | Ambiguous, points0: Array, points1: Array) -> Score:
    """`verdict`: "right", "wrong" or "none"; `share`: of the matches within 3 px in image 1."""
    within = transfer_errors(points0, points1, truth.h_0_to_1) <= RIGHT
    share = float(within.mean()) if len(within) else 0.0
    if within.sum() >= FEWEST and share >= RIGHT_SHARE:
        answer = "right"
    else:
        answer = "wrong" if len(within) >= FEWEST and share < RIGHT_SHARE else "none"
    return {"verdict": answer, "share": share}


def agreement(first: tuple[Array, Array], second: tuple[Array, Array]) -> Score:
    """How far the matches of (a, b) agree with those of (b, a), both given as points of a and points of b.

    `same`: both fewer than 8, or neither. `share`: of the smaller set, how much has a match of the other
    within 1 px in both images; nan where one is empty, both being so included.
    """
    counts = len(first[0]), len(second[0])
    same = (counts[0] < FEWEST) == (counts[1] < FEWEST)
    if not min(counts):
        return {"same": same, "share": math.nan, "swapped": counts[1]}
    small, large = (first, second) if counts[0] <= counts[1] else (second, first)
    matched = []
    targets = [torch.from_numpy(np.ascontiguousarray(points)) for points in large]
    for start in range(0, len(small[0]), 1024):  # a few thousand by a few thousand distances at a time
        rows = [torch.from_numpy(np.ascontiguousarray(p[start : start + 1024])) for p in small]
        near = [
            torch.cdist(row, target, compute_mode="donot_use_mm_for_euclid_dist") <= COUNTERPART
            for row, target in zip(rows, targets, strict=True)
        ]
        matched.append((near[0] & near[1]).any(dim=1).numpy())
    return {"same": same, "share": float(np.concatenate(matched).mean()), "swapped": counts[1]}


def reliability(confidences: Array, same: Array, bins: int = 10) -> list[dict[str, float]]:
    """The reliability diagram: by bin of confidence, its mean, the share of true pairs, and the pairs.

    Args:
        confidences: N, in [0, 1]; nan is left out.
        same: N, whether the photos show the same thing.
        bins: equal parts of [0, 1]; empty ones have nan.
    """
    known = ~np.isnan(confidences)
    confidences, same = confidences[known], same[known].astype(np.float64)
    place = np.minimum((confidences * bins).astype(int), bins - 1)
    rows = []
    for number in range(bins):
        chosen = place == number
        predicted, observed = (
            (float(values[chosen].mean()) if chosen.any() else math.nan) for values in (confidences, same)
        )
        rows.append(
            {
                "from": number / bins,
                "predicted": predicted,
                "observed": observed,
                "count": float(chosen.sum()),
            }
        )
    return rows
