"""The options of the two ways to match: what a user may set, and every constant that decides what a match is.

`published` is the method of the GCM paper; `guided` is ours. Each field says its unit, and why it is there.
Unless a field names another place, its value was chosen on the sets of ``benchmarks/accuracy`` (see the
ablations there), and none of them was tuned to a single pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "GuideOptions",
    "GuidedOptions",
    "Hypotheses",
    "NeighbourOptions",
    "PlaneOptions",
    "PublishedOptions",
    "SearchOptions",
    "SmoothingOptions",
]

Hypotheses = Literal["upright", "auto", "full"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Number = TypeVar("Number", int, float)


def _ordered(bounds: tuple[Number, Number]) -> tuple[Number, Number]:
    if not 0 < bounds[0] <= bounds[1]:
        raise ValueError("must be two positive numbers, the smaller first")
    return bounds


class Options(BaseModel):
    """Base of all options: frozen, and strict about keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SearchOptions(Options):
    """Finding the gross homography among turned and scaled hypotheses, at low resolution (stage 0)."""

    sides: Annotated[tuple[int, int], AfterValidator(_ordered)] = Field(
        (320, 480),
        description="pixels; half the images' longer side, within these bounds, is what stage 0 works at: "
        "small enough to cost little, large enough for cells of the coarsest map to be distinct",
    )
    rotations: tuple[float, ...] = Field(
        (0, 90, 270, 180, 45, 315, 135, 225),
        description="degrees by which image 0 is tried, likeliest first; what remains, at most 22.5, a match "
        "of upright features bears",
    )
    well_supported: Positive = Field(
        80.0, description="consensus score from which a hypothesis needs no rival, and the search ends"
    )
    beyond_doubt: Positive = Field(
        200.0,
        description="consensus score at the upper side from which matching again with image 1 warped adds "
        "nothing",
    )
    significant: Positive = Field(
        40.0,
        description="consensus score below which a homography is taken for chance; unrelated photos have "
        "reached 46",
    )
    tiny_share: Share = Field(
        0.5,
        description="share of a tiny image's cells, in place of significant: it has no more to show",
    )
    grid: int = Field(
        8,
        ge=1,
        description="cells a side of the grid over image 0 by which the spread of a consensus is counted",
    )
    exhaustive_side: int = Field(
        1280,
        ge=16,
        description="pixels; larger images are not searched from end to end at full size, which takes time "
        "as the square of the area",
    )


class NeighbourOptions(Options):
    """Which matches their neighbours bear out: right ones move alike, wrong ones stand alone."""

    bin_cells: int = Field(
        6, ge=1, description="cells of the dense match a side of the bins; nine bins are a neighbourhood"
    )
    alike_cells: Positive = Field(
        1.0, description="cells by which motions may differ and still bear each other out"
    )
    fewest: int = Field(4, ge=0, description="neighbours that must bear a match out")
    share: Share = Field(0.3, description="share of a match's neighbours that must bear it out")
    residual_spread: Positive = Field(
        2.5,
        description="deviations from the smooth motion, as a multiple of their usual size, a match may show",
    )
    usual_over_median: Positive = Field(
        1.25,
        description="usual size of a deviation as a multiple of its median; 1.25 is about that of Gaussian "
        "noise in two dimensions (1 / 0.83)",
    )
    motion_bins: Positive = Field(
        0.5, description="side of the bins that the smooth motion is fitted in, as a multiple of bin_cells"
    )
    motion_rounds: int = Field(
        3, ge=1, description="rounds of reweighting when the smooth motion is fitted; more change nothing"
    )
    motion_scale: Positive = Field(
        1.5, description="pixels, of the Cauchy weights by which that fit passes over wrong matches"
    )
    residual_bounds: Annotated[tuple[float, float], AfterValidator(_ordered)] = Field(
        (0.75, 3.0), description="pixels; no match is dropped for less, and none is kept with more"
    )


class GuideOptions(Options):
    """Matching near where coarse matches, or those of an earlier view, say."""

    bins: Positive = Field(
        2.0,
        description="side of the bins that the expected motion is fitted in, as a multiple of "
        "neighbours.bin_cells: coarse matches are few",
    )
    aligned_percentile: float = Field(
        80.0,
        gt=0,
        le=100,
        description="percentile of the motion that a warp leaves by which images count as aligned",
    )
    aligned_cells: Positive = Field(
        0.5, description="cells of the dense match below which what is left of the motion counts as aligned"
    )
    windows: tuple[int, int] = Field(
        (1, 2),
        description="cells around the expected one that are searched, in aligned images and in others",
    )
    margins: tuple[int, int] = Field(
        (0, 1),
        description="finer cells beside a match's own that are searched, in aligned images and in others",
    )
    peak_steps: int = Field(
        2, ge=1, description="steps uphill, of a cell each, that a peak may lie from the match found"
    )


class SmoothingOptions(Options):
    """Drawing positions towards what neighbours say of the motion, see :mod:`gcm.refinement.motion`."""

    largest_square: Positive = Field(
        9.0, description="square pixels; the most that a single match may add to the estimated noise"
    )
    fitted_noise: Positive = Field(
        1.15, description="noise over what a fit to few matches leaves of it, since it follows them a little"
    )
    narrow_scale: Positive = Field(
        0.75, description="pixels, of the narrow fit's Cauchy weights: the far side of an edge must not count"
    )
    doubt: Positive = Field(
        4.0,
        description="how much rather a near neighbourhood is believed than a wide one it disagrees with, and "
        "a match that lies off both than they",
    )


class PlaneOptions(Options):
    """When a plane explains matches, and when the scene is more than one."""

    fewest: int = Field(60, ge=4, description="matches that a plane must explain to be believed")
    fewest_coarse: int = Field(
        30, ge=4, description="coarse matches, or matches of a first view, too few to build on"
    )
    coarse_threshold: Positive = Field(
        0.5, description="coarse cells off a plane that still count when it is fitted to coarse matches"
    )
    coarse_tolerance: Positive = Field(
        1.0, description="coarse cells off a plane within which it explains a coarse match"
    )
    further_tolerance: Positive = Field(
        0.75, description="coarse cells off a further plane within which it explains a coarse match"
    )
    sampled: int = Field(2000, ge=4, description="best matches that a plane is fitted to, for speed")
    threshold: Positive = Field(3.0, description="pixels off a plane that still count when it is fitted")
    most: int = Field(4, ge=0, description="further planes that may get a view of their own")
    share: Share = Field(0.04, description="share of the matches that each further plane must explain")
    distortion: Positive = Field(
        0.15, description="stretch or turn (radians) that a further view must undo to be worth its price"
    )
    main_share: Share = Field(
        0.5,
        description="share of the matches that a plane must explain to warp by it, or to match again by it",
    )
    only_share: Share = Field(
        0.85, description="geometry auto: share of the matches that make the scene that plane alone"
    )
    off_plane: Positive = Field(
        3.0,
        description="pixels off a plane that is all of a scene beyond which a match does not belong to it",
    )
    finer_scale: Positive = Field(
        0.8,
        description="scale of the warp of image 1 below which image 1 shows more detail, and image 0 is "
        "warped instead",
    )
    aligned: Positive = Field(
        1.0, description="pixels of motion left over with which another round would find nothing new"
    )
    kept: Share = Field(
        0.95,
        description="share of a first round's matches that a second must find again to be taken instead: "
        "what it finds, better aligned, is more precise",
    )


class MethodOptions(Options):
    """Base of the options of a method."""

    @model_validator(mode="before")
    @classmethod
    def _applicable(cls, values: Any) -> Any:
        """Refuse what was set and would not be looked at."""
        if isinstance(values, dict):
            for key, reason in cls._pointless(values).items():
                if key in cls.model_fields and cls._was_set(key, values.get(key)):
                    raise ValueError(f"{key} does not apply {reason}; leave it out")
        return values

    @classmethod
    def _pointless(cls, values: Mapping[str, Any]) -> dict[str, str]:
        return inapplicable(values)

    @classmethod
    def _was_set(cls, key: str, value: Any) -> bool:
        """Whether a value asks for something; a group or number at its default, as in a dump, does not."""
        default = cls.model_fields[key].default
        if isinstance(default, BaseModel):
            return value not in (None, default, default.model_dump())
        return value not in (None, False) and not (isinstance(default, float) and value == default)


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


class GuidedOptions(MethodOptions):
    """Our method: coarse matches at low resolution guide the match at full size (docs/method.md)."""

    name: Literal["guided"] = "guided"
    geometry: Literal["homography", "multi", "none", "auto"] = Field(
        "auto",
        description="what undoes the gross motion: one homography, several, none, or as the matches ask for",
    )
    hypotheses: Hypotheses = Field(
        "upright", description="which turned and scaled views stage 0 tries; with a geometry other than none"
    )
    second_round: bool = Field(
        True, description="match again, guided by what was found, where that helps; not with geometry none"
    )
    subpixel: bool = Field(True, description="positions to a fraction of a pixel")
    verify: bool = Field(True, description="keep what its neighbours bear out")
    smooth: bool = Field(
        True, description="positions drawn towards what their neighbours say; only with verify"
    )
    matches_per_cell: int = Field(
        2, ge=1, le=4, description="most matches that a cell of the coarsest map gives"
    )
    flat_radius: int = Field(
        16,
        ge=0,
        description="pixels; where everything so near has one colour there is nothing to match",
    )
    search: SearchOptions = Field(SearchOptions(), description="how hypotheses are searched")
    guide: GuideOptions = Field(GuideOptions(), description="how far matches of an earlier look guide")
    neighbours: NeighbourOptions = Field(NeighbourOptions(), description="what verify asks of neighbours")
    smoothing: SmoothingOptions = Field(SmoothingOptions(), description="how smooth draws positions")
    planes: PlaneOptions = Field(PlaneOptions(), description="when a plane explains the matches")


def inapplicable(values: Mapping[str, Any]) -> dict[str, str]:
    """Keys of a method's options that others of its keys make pointless, and why."""
    pointless: dict[str, str] = {}
    if values.get("geometry") == "none":
        pointless |= dict.fromkeys(("hypotheses", "second_round"), "with geometry none")
    if values.get("smooth") is False:
        pointless["smoothing"] = "without smooth"
    if values.get("verify") is False:
        pointless |= dict.fromkeys(("smooth", "smoothing"), "without verify")
    if values.get("hypotheses") is not None:
        pointless["coarse_threshold"] = "with hypotheses"
    if values.get("enable_two_stage") is False:
        pointless |= dict.fromkeys(("hypotheses", "coarse_threshold", "search"), "without enable_two_stage")
    return pointless
