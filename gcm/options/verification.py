"""The options by which our method verifies matches and places them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gcm.options.base import Options, Positive, Share, ordered

__all__ = ["AlignmentOptions", "LineOptions", "NeighbourOptions", "SmoothingOptions"]


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
    residual_bounds: Annotated[tuple[float, float], AfterValidator(ordered)] = Field(
        (0.75, 3.0), description="pixels; no match is dropped for less, and none is kept with more"
    )


class AlignmentOptions(Options):
    """Positions from the images themselves, where these look alike around a match."""

    radius: int = Field(4, ge=1, description="pixels; of the square patches")
    iterations: int = Field(4, ge=1, description="Gauss-Newton steps")
    blur: Positive = Field(0.7, description="pixels; deviation of the Gaussian both images are smoothed by")
    farthest: Positive = Field(1.5, description="pixels a position may move")
    alike: tuple[float, float] = Field(
        (0.8, 0.9),
        description="correlation from which a position is taken: on a plane, where neighbours decide as "
        "well, and in a whole scene, where it is final",
    )
    unlike: tuple[float, float] = Field(
        (20.0, 8.0),
        description="how many times less alike than usual in the pair a match may look: those all around "
        "bear out, and those only the nearest do",
    )
    least_lack: Positive = Field(0.01, description="least that usual lack of correlation is taken to be")


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


class LineOptions(Options):
    """Which matches of a scene lie off their epipolar lines, or off the plane that it is, by themselves.

    See :mod:`gcm.method.lines`.
    """

    fewest: int = Field(100, ge=8, description="matches of a scene, too few to ask for lines")
    sampled: int = Field(
        2000, ge=8, description="matches, from all over, that lines are fitted to, for speed"
    )
    iterations: int = Field(1000, ge=1, description="most samples that are drawn to find them")
    scale: Positive = Field(
        1.0, description="pixels off its line from which a match counts less than a quarter"
    )
    spread: Positive = Field(
        2.5,
        description="times the median distance that a match may lie off its line; or off the plane that all "
        "of a scene is",
    )
    bounds: tuple[Positive, Positive] = Field(
        (0.75, 3.0), description="least and most pixels that those are taken to be"
    )
    share: Share = Field(
        0.5, description="share of a match's neighbours on their lines from which it stands alone off its own"
    )
    sure: tuple[Positive, Positive] = Field(
        (0.5, 0.15),
        description="most pixels that half of the matches lie off their lines, and largest share that lies "
        "half a cell off, for lines to be relied on: a plane alone leaves them open",
    )
    group: int = Field(
        8,
        ge=0,
        description="blocks of evidence.block_cells that a group of matches must hold to be something that "
        "moves by itself; what moves alike in fewer, half a cell off its lines, went astray",
    )
