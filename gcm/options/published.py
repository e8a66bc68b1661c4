"""The options of the published method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from gcm.options.base import Hypotheses, MethodOptions, Options, Positive, inapplicable

__all__ = ["PublishedOptions", "SearchOptions"]


class SearchOptions(Options):
    """Finding the gross homography among turned and scaled hypotheses, at low resolution (stage 0)."""

    side: int = Field(
        480,
        ge=16,
        description="pixels; longer side of the images it is done with: small enough to cost little, large "
        "enough for cells of the coarsest map to be distinct",
    )
    rotations: tuple[float, ...] = Field(
        (0, 90, 270, 180, 45, 315, 135, 225),
        description="degrees by which the images are tried turned against each other, likeliest first; what "
        "remains, at most 22.5, a match of upright features bears",
    )
    well_supported: Positive = Field(
        80.0, description="consensus score from which a hypothesis needs no rival, and the search ends"
    )
    beyond_doubt: Positive = Field(
        200.0,
        description="consensus score from which matching again with image 1 warped adds nothing",
    )
    significant: Positive = Field(
        40.0,
        description="consensus score below which a homography is taken for chance; unrelated photos have "
        "reached 46",
    )
    grid: int = Field(
        8,
        ge=1,
        description="cells a side of the grid over image 0 by which the spread of a consensus is counted",
    )


class PublishedOptions(MethodOptions):
    """The published method (docs/method.md); `compat` keeps the published code's three quirks."""

    name: Literal["published"] = "published"
    fine_model: str | None = Field(None, description="patch descriptor, by name; none when empty")
    fine_ratio: float = Field(
        0.95, description="ratio threshold of the patch descriptor's refinement; -1 turns it off"
    )
    fine_weights_path: str | None = Field(
        None, description="a local file with the patch descriptor's weights"
    )
    enable_two_stage: bool = Field(True, description="undo the gross homography first")
    bidirectional: bool = Field(True, description="ratio test in both directions")
    compat: bool = Field(True, description="reproduce the published code's three quirks")
    hypotheses: Hypotheses | None = Field(
        None,
        description="stage 0 at low resolution, the images also tried turned and scaled; empty: as published",
    )
    coarse_threshold: Positive = Field(
        16 * 2**0.5 + 1,
        description="pixels; reprojection error of stage 0's homography: one cell of stride 16 diagonally",
    )
    search: SearchOptions = Field(SearchOptions(), description="how hypotheses are searched")

    @classmethod
    def _pointless(cls, values: Mapping[str, Any]) -> dict[str, str]:
        # `fine_ratio` is left out: published files hold it also where there is no fine model.
        needs = {"search": "hypotheses", "fine_weights_path": "fine_model"}
        lacking = {key: f"without {other}" for key, other in needs.items() if values.get(other) is None}
        return lacking | inapplicable(values)

    @field_validator("fine_ratio")
    @classmethod
    def _ratio(cls, value: float) -> float:
        if not (0 < value <= 1 or value == -1):
            raise ValueError("must lie in (0, 1], or be -1 for no test")
        return value
