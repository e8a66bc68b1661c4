"""How sure it is that two photos show the same thing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gcm.method.working_matches import WorkingMatches
from gcm.options import VerdictOptions

__all__ = ["confidence_of", "evidence_of", "seed_confidence"]


def evidence_of(views: Sequence[WorkingMatches], significance: float, zoom: float = 1.0) -> dict[str, float]:
    """What speaks for a pair: each number grows with how sure it is.

    Args:
        views: matches of each view.
        significance: of the coarse matches of the chosen view, see :func:`gcm.method.evidence.significance`.
        zoom: by which the images were enlarged, which makes more matches of the same.
    """
    precision = [view.precision for view in views]
    return {
        "significance": math.log1p(significance),
        "precise": math.log1p(max((found.significance for found in precision), default=0.0)),
        "share": max((found.share for found in precision), default=0.0),
        "kept": max((found.kept for found in precision), default=0.0),
        "number": math.log10(1 + sum(len(view) for view in views) / max(1.0, zoom) ** 2),
    }


def confidence_of(evidence: Mapping[str, float], options: VerdictOptions) -> float:
    """A calibrated probability that two images show the same, in [0, 1]; 0 without a match.

    Args:
        evidence: of :func:`evidence_of`.
        options: its weights.
    """
    if not evidence["number"]:
        return 0.0
    logit = options.intercept + sum(getattr(options, name) * value for name, value in evidence.items())
    return 1 / (1 + math.exp(-min(max(logit, -50.0), 50.0)))


def seed_confidence(significance: float, options: VerdictOptions, *, own: bool) -> float:
    """The same of sparse matches of a learned matcher, from the significance of their epipolar geometry.

    Args:
        significance: of :func:`gcm.method.seed_evidence.epipolar_significance`.
        options: its weights.
        own: whether our own network found some of them.
    """
    logit = options.seed_intercept if own else options.others_intercept
    logit += options.seed_significance * math.log1p(significance)
    return 1 / (1 + math.exp(-min(max(logit, -50.0), 50.0)))
