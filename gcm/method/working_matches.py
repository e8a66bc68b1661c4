"""The matches of a pair while they are being found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gcm.geometry import Matrix, Points, apply_homography, inverse

__all__ = ["MethodResult", "Precision", "WorkingMatches", "concatenated", "moved_by"]


@dataclass(frozen=True)
class Precision:
    """How precisely matches agree that had a whole coarse cell's room to differ."""

    share: float
    """Of all matches of a view, those within a pixel of what their neighbours' motion says."""
    significance: float
    """Of the blocks where most are, see :func:`gcm.method.evidence.surprise`."""
    kept: float
    """Of all matches of a view, those that verification keeps."""


@dataclass(frozen=True)
class WorkingMatches:
    """Matches found with image 1 warped by one homography; N of each, in pixels of the working images."""

    h_1_to_0: Matrix | None
    """The warp; None when image 1 was not warped."""
    points0: Points
    """In image 0."""
    warped1: Points
    """The same point of the scene in warped image 1: near `points0` when the warp is right."""
    points1: Points
    """In image 1."""
    scores: NDArray[np.float64]
    """In [0, 1]; higher is likelier to be right."""
    precision: Precision = Precision(0.0, 0.0, 0.0)
    """Of the view they were found in, before verification."""

    def __len__(self) -> int:
        return len(self.points0)

    @property
    def motion(self) -> Points:
        """What the warp has left of the motion, N x 2 pixels."""
        return self.warped1 - self.points0

    def warped_by(self, plane: Matrix) -> WorkingMatches:
        """The same matches as another warp would show them, which moves this one's points by `plane`."""
        h = plane if self.h_1_to_0 is None else plane @ self.h_1_to_0
        return replace(self, h_1_to_0=h / h[2, 2], warped1=apply_homography(plane, self.warped1))

    def in_frame_of(self, h_1_to_0: Matrix | None) -> WorkingMatches:
        """The same matches as they would show with image 1 warped by that homography."""
        return replace(self, h_1_to_0=h_1_to_0, warped1=moved_by(h_1_to_0, self.points1))

    def with_warped1(self, warped1: Points) -> WorkingMatches:
        """The same matches at other places in image 1, given where the warp shows them."""
        h = self.h_1_to_0
        points1 = warped1 if h is None else apply_homography(inverse(h), warped1)
        return replace(self, warped1=warped1, points1=points1)

    def swapped(self) -> WorkingMatches:
        """The same matches with the images changed round: it was image 0 that was warped."""
        h = None if self.h_1_to_0 is None else inverse(self.h_1_to_0)
        return replace(
            self, h_1_to_0=h, points0=self.points1, warped1=moved_by(h, self.points0), points1=self.points0
        )

    @staticmethod
    def none() -> WorkingMatches:
        """No matches."""
        empty = np.zeros((0, 2))
        return WorkingMatches(None, empty, empty, empty, np.zeros(0))

    def enlarged(self, to0: Matrix, to1: Matrix) -> WorkingMatches:
        """The same matches in other sizes of the images: `to0` and `to1` map pixels of these to those."""
        points1 = apply_homography(to1, self.points1)
        h = None if self.h_1_to_0 is None else to0 @ self.h_1_to_0 @ np.linalg.inv(to1)
        points0 = apply_homography(to0, self.points0)
        warped1 = moved_by(h, points1)
        return replace(self, h_1_to_0=h, points0=points0, warped1=warped1, points1=points1)

    def take(self, index: NDArray[np.bool_]) -> WorkingMatches:
        """The matches a boolean mask names."""
        return replace(
            self,
            points0=self.points0[index],
            warped1=self.warped1[index],
            points1=self.points1[index],
            scores=self.scores[index],
        )


def concatenated(*parts: WorkingMatches) -> WorkingMatches:
    """The matches of several sets that were found with one warp."""
    return replace(
        parts[0],
        points0=np.concatenate([part.points0 for part in parts]),
        warped1=np.concatenate([part.warped1 for part in parts]),
        points1=np.concatenate([part.points1 for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
    )


def moved_by(h: Matrix | None, points: Points) -> Points:
    """Points moved by a homography, or not at all by none."""
    return points if h is None else apply_homography(h, points)


@dataclass(frozen=True)
class MethodResult:
    """What a way to match makes of two working images."""

    matches: WorkingMatches
    h_1_to_0_initial: Matrix | None
    """The homography of stage 0; None when it found none."""
    confidence: float | None = None
    """In [0, 1], that the images show the same; None where the method does not say."""
    evidence: Mapping[str, float] = field(default_factory=dict)
    """What that rests on, see :func:`gcm.method.verdict.evidence_of`."""
    trace: tuple[str, ...] = ()
    """What was done, in words."""
