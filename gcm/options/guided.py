"""The options of our method: every constant that decides what a match is.

Each field says its unit, and why it is there. Unless it names another place, its value was chosen on the sets
of ``benchmarks/accuracy`` (see the ablations there), and none of them was tuned to a single pair.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gcm.options.base import Hypotheses, MethodOptions, Options, Positive, Share
from gcm.options.evidence import ChanceOptions, EvidenceOptions, SeedOptions, VerdictOptions
from gcm.options.verification import AlignmentOptions, LineOptions, NeighbourOptions, SmoothingOptions

__all__ = [
    "AlignmentOptions",
    "ChanceOptions",
    "EvidenceOptions",
    "FrameOptions",
    "GuideOptions",
    "GuidedOptions",
    "LineOptions",
    "NeighbourOptions",
    "PlaneOptions",
    "RivalOptions",
    "SeedOptions",
    "SmoothingOptions",
    "VerdictOptions",
    "ViewOptions",
]


class ViewOptions(Options):
    """Looking for the view in which two images show the same, at low resolution (stage 0)."""

    side: int = Field(
        480,
        ge=16,
        description="pixels; longer side of the images looked at: small enough to cost little, large enough "
        "for cells of the coarsest map to be distinct",
    )
    glimpse_side: int = Field(
        320, ge=16, description="pixels; the same of a first look, which is enough for most pairs"
    )
    turned_side: int = Field(
        320,
        ge=16,
        description="pixels; of a first look at turned images: most show nothing",
    )
    glimpse_sure: Positive = Field(
        60.0, description="significance from which that look is enough; 100 is all that it can show"
    )
    rotations: tuple[float, ...] = Field(
        (0, 90, 270, 180, 45, 315, 135, 225),
        description="degrees by which the images are tried turned against each other, likeliest first; what "
        "remains, at most 22.5, a match of upright features bears",
    )
    sure: Positive = Field(
        30.0,
        description="significance from which a view needs no rival, and the search ends; what is like itself "
        "when turned has reached 23 with GCM_COMPACT, 34 with GCM_CONTEXT",
    )
    grid: int = Field(
        8,
        ge=1,
        description="cells a side of the grid by which the spread of a plane's matches is counted",
    )
    mirrored: Positive = Field(
        2.0,
        description="how many times the significance of a view its mirror image must have for the images to "
        "be mirrored: a symmetric hall seen twice has 1.7",
    )
    rivals: int = Field(2, ge=1, description="most views that are looked at in full size where none is sure")
    rival: Positive = Field(0.8, description="significance from which a view is looked at in full size")
    closer: Positive = Field(
        6.0,
        description="significance of a view from which that is done though seeds show nothing; of the images "
        "as they are, `rival` is enough, for they are one view and the others many",
    )
    small_side: int = Field(
        640,
        ge=1,
        description="pixels; images up to this size are enlarged for that, so that a small part of them has "
        "cells enough to be seen",
    )
    chance: ChanceOptions = Field(ChanceOptions(), description="how much agrees by chance")
    turned_chance: ChanceOptions = Field(
        ChanceOptions(wide=0.1, tight=0.04), description="the same in that first look at turned images"
    )
    zoom: Positive = Field(2.0, description="how much at most")
    zoomed_side: int = Field(
        960, ge=1, description="pixels; up to what side, for its time is the square of the area"
    )


class FrameOptions(Options):
    """Matching a whole scene from end to end, in a frame that only turns, scales and shifts."""

    borne_turn: Positive = Field(15.0, description="degrees up to which features bear to be left unturned")
    borne_scale: Positive = Field(1.25, description="scale up to which features bear to be left as they are")
    slack: int = Field(
        1,
        ge=0,
        description="cells beside a mutual match whose nearest may be the same: a surface that image 1 sees "
        "at a slant has fewer cells there",
    )
    off_plane: Positive = Field(
        3.0, description="coarse cells off the main plane from which a match is not found by following that"
    )
    largest_side: int = Field(
        1280,
        ge=16,
        description="pixels; larger images are shrunk for that: its time is the square of the area",
    )
    exact_zoom: float = Field(
        1.0,
        gt=0,
        le=1,
        description="how much of its size must be left of a shrunk photo for its matches to be exact enough; "
        "others are looked for once more at full size, near there",
    )
    chance: ChanceOptions = Field(
        ChanceOptions(), description="how much agrees by chance; more than at low resolution"
    )
    neighbours: NeighbourOptions = Field(
        NeighbourOptions(alike_cells=2.0, fewest=3, share=0.15),
        description="what is asked of neighbours: less than of an aligned plane, as depth makes them differ",
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
    nothing_off: Positive = Field(
        8.0,
        description="significance below which nothing lies off a plane; times 1 + what its warp undoes "
        "beyond a turn, scale and shift, for a tilted one leaves more: up to 12 at 2.5",
    )
    clear_share: Share = Field(
        0.97,
        description="share of the coarse and of the fine matches that make a scene a plane at once; of the "
        "fine ones alone where nothing significant lies off it",
    )
    astray: Positive = Field(
        10.0,
        description="how many times more of its fine matches may lie off a plane for each 1 that its warp "
        "undoes beyond a turn, scale and shift",
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
        0.85, description="share of the fine matches below which no plane is all of a scene, however tilted"
    )
    off_plane: Positive = Field(
        3.0,
        description="pixels off a plane that is all of a scene beyond which a match does not belong to it",
    )
    zoom: float = Field(
        0.7,
        gt=0,
        le=1,
        description="by which photos are shrunk for a first view of the main plane, which is returned where "
        "the plane is clearly all; a cell gives as many more matches as it covers more, 4 at most",
    )
    smallest_side: int = Field(
        480, ge=16, description="pixels; longer side below which no photo is shrunk for that"
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


class RivalOptions(Options):
    """Whether another motion explains a pair as well (repeated structure)."""

    most: int = Field(24, ge=0, description="shifts tried, those by which image 0 is most like itself")
    least_shift: int = Field(3, ge=1, description="coarse cells; a smaller one is no other motion")
    likeness: Share = Field(
        0.6, description="mean cosine of image 0 and itself, shifted, from which something is repeated"
    )
    overlap: Share = Field(0.25, description="share of image 0 that a shift must leave in view")
    repeated: Share = Field(
        0.85, description="share of the best motion's median cosine that a rival must reach to be one"
    )
    same: Share = Field(0.75, description="cosine from which a cell is found again")
    other: Share = Field(0.6, description="cosine below which it is another")
    decisive: int = Field(
        4, ge=1, description="cells that nothing repeats which must tell the best motion from the next"
    )


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
    min_confidence: Share = Field(
        0.5, description="confidence below which nothing is returned; 0 returns whatever was found"
    )
    flat_radius: int = Field(
        16,
        ge=0,
        description="pixels; where everything so near has one colour there is nothing to match",
    )
    views: ViewOptions = Field(ViewOptions(), description="how the view is looked for")
    evidence: EvidenceOptions = Field(EvidenceOptions(), description="how much could be chance")
    seeds: SeedOptions = Field(SeedOptions(), description="where the maps of both images do not convince")
    frame: FrameOptions = Field(FrameOptions(), description="how a whole scene is matched")
    guide: GuideOptions = Field(GuideOptions(), description="how far matches of an earlier look guide")
    neighbours: NeighbourOptions = Field(NeighbourOptions(), description="what verify asks of neighbours")
    lines: LineOptions = Field(LineOptions(), description="what verify asks of a scene's geometry")
    alignment: AlignmentOptions = Field(AlignmentOptions(), description="how smooth finds positions")
    smoothing: SmoothingOptions = Field(SmoothingOptions(), description="how smooth draws positions")
    verdict: VerdictOptions = Field(VerdictOptions(), description="how sure the result is")
    rivals: RivalOptions = Field(RivalOptions(), description="when the result is ambiguous")
    planes: PlaneOptions = Field(PlaneOptions(), description="when a plane explains the matches")

    @property
    def tried(self) -> Hypotheses:
        """Which views are tried: where no geometry undoes a motion, the images as they are."""
        return "upright" if self.geometry == "none" else self.hypotheses
