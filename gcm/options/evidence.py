"""The options by which our method decides what is proved."""

from __future__ import annotations

from pydantic import Field

from gcm.options.base import Options, Positive, Share

__all__ = ["ChanceOptions", "EvidenceOptions", "SeedOptions", "VerdictOptions"]


class ChanceOptions(Options):
    """Shares of the blocks of an image that hold agreeing matches by chance, where nothing is in common.

    They depend on the network, and grow with the size that is looked at. Measured on photos for training:
    means of 0.006 (wide) and 0.006 (tight) at 480 px with GCM_COMPACT, 0.013 and 0.010 with GCM_CONTEXT; at
    800 px, where less is asked of neighbours, 0.032 and 0.017, and 0.066 and 0.031. What is set is some 1.5
    times that, and more at 480 px.
    """

    wide: Share = Field(0.05, description="of matches that agree up to a parallax")
    tight: Share = Field(0.02, description="of matches that agree within evidence.tight_cells")


class EvidenceOptions(Options):
    """How much of what agrees could be chance (measured on unrelated photos of data that is for training)."""

    block_cells: int = Field(
        4, ge=1, description="cells a side of the blocks that are counted: as far as descriptors are alike"
    )
    parallax: Share = Field(0.12, description="that parallax, as a share of the longer side")
    tight_cells: Positive = Field(1.5, description="coarse cells off one affine motion")
    plain: Positive = Field(
        10.0, description="significance of a view that is looked at no further for what it shows"
    )
    believed: Positive = Field(
        3.0, description="significance below which nothing is matched: one accident in a thousand pairs"
    )
    precise: Positive = Field(1.0, description="pixels off its neighbours' motion of a precise match")
    precise_block: Positive = Field(32.0, description="pixels; side of the blocks in which those are counted")
    precise_chance: Share = Field(
        0.12, description="share of the blocks most of whose matches are precise by chance"
    )


class SeedOptions(Options):
    """Sparse matches by a learned matcher that looks at both images, for pairs whose maps do not convince."""

    matchers: tuple[str, ...] = Field(
        (),
        description="attention (ours), and names of installed matchers, with options as in "
        "disk-lightglue:resize=704; what several find is put together; empty for none",
    )
    always: bool = Field(False, description="ask it for every pair, not only where the maps do not convince")
    turned: bool = Field(
        False, description="ask the first also for images turned and tilted, where upright does not do"
    )
    tilted: Positive = Field(
        10.0,
        description="how many right matches a glimpse with one image tilted must promise for attention to "
        "look closer; of 100 unrelated pairs 1 promised so many",
    )
    sure: Positive = Field(30.0, description="significance that ends this search")
    sides: tuple[int, ...] = Field(
        (640, 1024), min_length=1, description="pixels; what attention brings the longer side of images to"
    )
    keypoints: int = Field(2048, ge=8, description="most of an image at the largest side, for attention")
    believed: Positive = Field(
        10.0, description="significance of their epipolar geometry below which they are not believed"
    )
    believed_others: Positive = Field(
        5.0, description="the same where our own network, which errs over whole regions, found none of them"
    )
    same_way_round: Share = Field(
        0.65, description="share of their triangles that must go the same way round in both images: no mirror"
    )
    adrift: Positive = Field(
        0.85,
        description="how far the median one may be from where those around say, as a share of how far these "
        "lie apart; from here on all may slide along their lines: of 45 pairs that match it is 0.65 at most, "
        "of one 0.78; of 3 matched wrongly 0.9 and more",
    )
    near_cells: Positive = Field(
        5.0, description="coarse cells a side of the bins in which dense matches must move as they do"
    )
    agreeing: Share = Field(
        0.3, description="share of a view's dense matches that share the geometry to be taken whole"
    )
    line: Positive = Field(4.0, description="pixels off their epipolar lines that dense ones may lie")
    score: Share = Field(0.1, description="factor of their scores: they are less exact than refined matches")
    tolerance: Positive = Field(3.0, description="pixels off an epipolar line within which a seed is right")


class VerdictOptions(Options):
    """How sure it is that two images show the same: a logistic function of the evidence.

    Fitted by ``python -m benchmarks.confidence`` on pairs made of photos that are for training.
    """

    intercept: float = Field(-12.09, description="of the function")
    significance: float = Field(
        0.66, description="weight of log(1 + s), s the significance of the coarse matches"
    )
    precise: float = Field(
        0.57, description="weight of log(1 + s), s the significance of matches that agree precisely"
    )
    share: float = Field(6.9, description="weight of the share of the matches that agree precisely")
    kept: float = Field(6.71, description="weight of the share of the matches that verification keeps")
    number: float = Field(1.13, description="weight of the decimal logarithm of 1 + their number")
    seed_intercept: float = Field(
        -7.8, description="the same for sparse matches, some of which our own network found"
    )
    others_intercept: float = Field(
        -4.3,
        description="the same for those of other matchers alone: on 14 unrelated pairs, 12 views each, the "
        "significance of ALIKED's and DISK's reached 2.8, that of our own on 120 pairs 14",
    )
    seed_significance: float = Field(
        2.2, description="weight of log(1 + s), s the significance of their epipolar geometry"
    )
    convincing: Share = Field(
        0.9, description="confidence of a first view from which no other is looked at in full size"
    )
