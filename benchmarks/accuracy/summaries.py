"""The scores of a set's pairs, put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.accuracy.measures.verdicts import FEWEST, SURE
from benchmarks.accuracy.sets import ANGLES, FRAME_GAPS, SCALES
from benchmarks.accuracy.sets.cases import Array
from gcm.metrics.pose import pose_auc

Score = dict[str, Any]
Numbers = dict[str, float]

AUC_LIMITS = (5.0, 10.0, 20.0)
"""Degrees."""

TRANSFER_LIMIT = 3.0
"""Pixels: mean error of the validation points below which a pair of `homogr` counts as solved."""


VISIBLE_LIMIT = 10.0
"""Pixels: mean error of a slanted plane, where image 1 shows it, below which it is found."""


def values(scores: Sequence[Score], key: str, group: str | None = None) -> Array:
    """One measure of all pairs, or of a group's."""
    return np.array([s[key] for s in scores if group in (None, s["group"])], dtype=np.float64)


def summarise_oxford(scores: Sequence[Score]) -> Numbers:
    """Means over the pairs, and the worst of them."""
    errors, numbers = values(scores, "error"), {}
    for t in (1, 3, 5):
        numbers[f"MMA@{t}"] = float(values(scores, f"mma{t}").mean())
    for t in (1, 3, 5):
        numbers[f"HA@{t}"] = float((errors <= t).mean())
    numbers["matches"] = float(values(scores, "matches").mean())
    numbers["fewest matches"] = float(values(scores, "matches").min())
    numbers["lowest MMA@3"] = float(values(scores, "mma3").min())
    return numbers


def summarise_homogr(scores: Sequence[Score]) -> Numbers:
    """How many pairs are solved, and how well."""
    errors = values(scores, "error")
    solved = errors < TRANSFER_LIMIT
    return {
        "pairs under 3 px": float(solved.sum()),
        "pairs": float(len(errors)),
        "median error": float(np.median(errors)),
        "mean error of those": float(errors[solved].mean()) if solved.any() else math.nan,
        "matches": float(values(scores, "matches").mean()),
    }


def summarise_stereo(scores: Sequence[Score]) -> Numbers:
    """Means over the pairs."""
    return {
        "within 1/3 px": float(values(scores, "third").mean()),
        "within 1 px": float(values(scores, "one").mean()),
        "median error": float(values(scores, "median").mean()),
        "coverage": mean_known(values(scores, "coverage")),
        "share right": mean_known(values(scores, "right")),
        "matches": float(values(scores, "known").mean()),
    }


def mean_known(numbers: Array) -> float:
    """Mean of those that are not nan; nan when all are."""
    known = numbers[~np.isnan(numbers)]
    return float(known.mean()) if len(known) else math.nan


def summarise_fmat(scores: Sequence[Score]) -> Numbers:
    """Mean accuracy and number of solved pairs, by OpenCV's MAGSAC and by PoseLib."""
    return {
        "mAA": float(values(scores, "mAA").mean()),
        "solved": float(values(scores, "solved").sum()),
        "mAA poselib": float(values(scores, "mAA poselib").mean()),
        "solved poselib": float(values(scores, "solved poselib").sum()),
        "pairs": float(len(scores)),
        "fewest matches": float(values(scores, "matches").min()),
        "matches": float(values(scores, "matches").mean()),
    }


def summarise_evd(scores: Sequence[Score]) -> Numbers:
    """How many planes are found at all."""
    errors = values(scores, "error")
    return {
        "pairs under 10 px": float((errors < VISIBLE_LIMIT).sum()),
        "pairs": float(len(errors)),
        "median error": float(np.median(errors)),
        "matches": float(values(scores, "matches").mean()),
    }


def summarise_hololens(scores: Sequence[Score]) -> Numbers:
    """Poses; and coverage of the frames farthest apart, which has a bar."""
    last = f"gap {max(FRAME_GAPS)}"
    numbers = summarise_poses(scores)
    for name, key in (("coverage", "coverage"), ("share right", "right")):
        numbers[f"{name}, {last}"] = mean_known(values(scores, key, last))
    return numbers


def summarise_poses(scores: Sequence[Score]) -> Numbers:
    """Areas under the curve, over all pairs and, at 10 degrees, for each group; means over the orders."""
    errors, groups = values(scores, "errors"), np.array([s["group"] for s in scores])
    areas = np.array([pose_auc(column, AUC_LIMITS) for column in errors.T])
    numbers = {f"AUC@{t:g}": float(area) for t, area in zip(AUC_LIMITS, areas.mean(axis=0), strict=True)}
    numbers["+- AUC@10"] = float(areas[:, 1].std(ddof=1))
    for group in (f"gap {gap}" for gap in FRAME_GAPS if f"gap {gap}" in groups):
        chosen = errors[groups == group]
        numbers[f"AUC@10, {group}"] = float(np.mean([pose_auc(column, [10.0])[0] for column in chosen.T]))
    numbers["median error"] = float(np.median(errors))
    numbers["matches"] = float(values(scores, "matches").mean())
    return numbers


def summarise_synthetic(scores: Sequence[Score]) -> Numbers:
    """MMA@3 of each cell, the lowest and the mean of the cells."""
    cells = {
        f"{degrees} x {scale:g}": float(values(scores, "mma3", f"{degrees} x {scale:g}").mean())
        for scale in SCALES
        for degrees in ANGLES
    }
    everything = list(cells.values())
    worst = {"lowest cell": min(everything), "mean of cells": float(np.mean(everything))}
    return {**worst, "matches": float(values(scores, "matches").mean()), **cells}


def summarise_verdicts(scores: Sequence[Score]) -> Numbers:
    """How many pairs of each group are answered right and wrong; the rest give nothing."""
    numbers: Numbers = {}
    for group in dict.fromkeys(s["group"] for s in scores):
        answers = [s["verdict"] for s in scores if s["group"] == group]
        for answer in ("right", "wrong"):
            numbers[f"{answer}, {group}"] = float(answers.count(answer))
        numbers[f"pairs, {group}"] = float(len(answers))
    return {**numbers, "matches": float(values(scores, "matches").mean())}


def summarise_unrelated(scores: Sequence[Score]) -> Numbers:
    """Pairs without a true match that are given matches all the same, and of those the ones it is sure of."""
    matches, confidences = values(scores, "matches"), values(scores, "confidence")
    deceived = matches > FEWEST
    known = deceived & ~np.isnan(confidences)
    all_known = bool(known.sum() == deceived.sum())  # a matcher without confidence is neither sure nor unsure
    return {
        "pairs": float(len(scores)),
        "more than 8 matches": float(deceived.sum()),
        "of those sure": float((confidences[known] > SURE).sum()) if all_known else math.nan,
        "most matches": float(matches.max()),
    }


def summarise_ambiguous(scores: Sequence[Score]) -> Numbers:
    """Right, wrong and sure of it, wrong but doubtful (confidence under 0.5); the rest give nothing."""
    doubtful = values(scores, "confidence") < SURE
    wrong = np.array([s["verdict"] == "wrong" for s in scores])
    return {
        "right pairs": float(sum(s["verdict"] == "right" for s in scores)),
        "wrong and sure": float((wrong & ~doubtful).sum()),
        "wrong but doubtful": float((wrong & doubtful).sum()),
        "pairs": float(len(scores)),
    }


def summarise_order(scores: Sequence[Score]) -> Numbers:
    """Agreement of both orders; shares over the pairs that have matches in both."""
    shares = values(scores, "share")
    both = np.array([min(s["matches"], s["swapped"]) >= FEWEST for s in scores])
    return {
        "same verdict": float(sum(s["same"] for s in scores)),
        "pairs": float(len(scores)),
        "share in common": mean_known(shares[both]),
        "lowest share": float(shares[both].min()) if both.any() else math.nan,
        "pairs of 0.9 and more": float((shares[both] >= 0.9).sum()),
        "pairs with matches": float(both.sum()),
    }


def summarise_confidence(scores: Sequence[Score]) -> Numbers:
    """How sure the matcher is of true and of false pairs; nan for one without confidence."""
    same, confidences = values(scores, "same").astype(bool), values(scores, "confidence")
    known = ~np.isnan(confidences)

    def share(chosen: Array) -> float:
        return float((confidences[chosen & known] >= SURE).mean()) if (chosen & known).any() else math.nan

    sets = dict.fromkeys(s["group"] for s in scores)
    groups = np.array([s["group"] for s in scores])
    return {
        "sure of true pairs": share(same),
        "sure of false pairs": share(~same),
        "true pairs": float(same.sum()),
        "false pairs": float((~same).sum()),
        **{name: share(groups == name) for name in sets},
    }


SUMMARIES: Mapping[str, Callable[[Sequence[Score]], Numbers]] = {
    "oxford-dev": summarise_oxford,
    "homogr": summarise_homogr,
    "stereo": summarise_stereo,
    "indoor": summarise_poses,
    "hololens": summarise_hololens,
    "fmat-dev": summarise_fmat,
    "strecha-dev": summarise_poses,
    "wxbs-dev": summarise_fmat,
    "evd-dev": summarise_evd,
    "synthetic": summarise_synthetic,
    "overlap": summarise_verdicts,
    "parts": summarise_verdicts,
    "strips": summarise_verdicts,
    "unrelated": summarise_unrelated,
    "unrelated-100": summarise_unrelated,
    "mirrored": summarise_unrelated,
    "skies": summarise_unrelated,
    "ambiguous": summarise_ambiguous,
    "order": summarise_order,
    "confidence": summarise_confidence,
}
