"""The two ways to match two images, side by side.

:mod:`gcm.method.published` is the method of the paper, :mod:`gcm.method.guided` is ours; each is a generator
that asks for features (:mod:`gcm.features.batching`) and returns a `MethodResult`. Both take their steps from
`steps` and their gross motion from `coarse`; `view` and `planes` are the guided method's own.
"""

from gcm.method.guided import match_guided
from gcm.method.published import match_published
from gcm.method.steps import Clock, RefinementStep, matching_steps
from gcm.method.working_matches import MethodResult, WorkingMatches

__all__ = [
    "Clock",
    "MethodResult",
    "RefinementStep",
    "WorkingMatches",
    "match_guided",
    "match_published",
    "matching_steps",
]
