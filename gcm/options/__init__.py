"""The options of the two ways to match: what a user may set, and every constant that decides what a match is.

`published` is the method of the GCM paper; `guided` is ours.
"""

from gcm.options.base import Hypotheses, inapplicable
from gcm.options.guided import (
    AlignmentOptions,
    ChanceOptions,
    EvidenceOptions,
    FrameOptions,
    GuidedOptions,
    GuideOptions,
    LineOptions,
    NeighbourOptions,
    PlaneOptions,
    RivalOptions,
    SeedOptions,
    SmoothingOptions,
    VerdictOptions,
    ViewOptions,
)
from gcm.options.published import PublishedOptions, SearchOptions

__all__ = [
    "AlignmentOptions",
    "ChanceOptions",
    "EvidenceOptions",
    "FrameOptions",
    "GuideOptions",
    "GuidedOptions",
    "Hypotheses",
    "LineOptions",
    "NeighbourOptions",
    "PlaneOptions",
    "PublishedOptions",
    "RivalOptions",
    "SearchOptions",
    "SeedOptions",
    "SmoothingOptions",
    "VerdictOptions",
    "ViewOptions",
    "inapplicable",
]
