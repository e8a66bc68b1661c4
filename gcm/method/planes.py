"""Matches of one view, and the planes that explain them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.estimation import estimate_homography
from gcm.geometry import Matrix, Points, apply_homography

__all__ = [
    "FEWEST_IN_PLANE",
    "View",
    "explained_by",
    "fit_plane",
    "further_planes",
    "merge_views",
    "on_one_plane",
    "through",
]

FEWEST_IN_PLANE = 60
"""Matches that a plane must explain to be believed."""

_OFF_PLANE = 3.0
"""Pixels off a plane that is all of a scene beyond which a match does not belong to it."""

_MOST_PLANES = 4
_SHARE_IN_PLANE = 0.04
"""Planes that may get a view of their own, and the share of the matches each must explain."""

_DISTORTION = 0.15
"""Stretch or turn (radians) that a further view must undo to be worth its price."""

_SAMPLED = 2000
"""Matches a plane is fitted to."""


@dataclass(frozen=True)
class View:
    """Matches found with image 1 warped by one homography; N of each."""

    h_1_to_0: Matrix | None
    """None when image 1 was not warped."""
    points0: Points
    """In image 0."""
    warped1: Points
    """The same point of the scene in warped image 1: near `points0` when the warp is right."""
    points1: Points
    """In image 1."""
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.points0)

    @property
    def motion(self) -> Points:
        """What the warp has left of the motion."""
        return self.warped1 - self.points0

    def warped_by(self, plane: Matrix) -> View:
        """The same matches as another warp would show them, which moves this one's points by `plane`."""
        h = plane if self.h_1_to_0 is None else plane @ self.h_1_to_0
        return replace(self, h_1_to_0=h / h[2, 2], warped1=apply_homography(plane, self.warped1))

    def in_frame_of(self, h_1_to_0: Matrix | None) -> View:
        """The same matches as they would show with image 1 warped by that homography."""
        return replace(self, h_1_to_0=h_1_to_0, warped1=through(h_1_to_0, self.points1))

    def enlarged(self, to0: Matrix, to1: Matrix) -> View:
        """The same matches in other sizes of the images: `to0` and `to1` map pixels of these to those."""
        points1 = apply_homography(to1, self.points1)
        h = None if self.h_1_to_0 is None else to0 @ self.h_1_to_0 @ np.linalg.inv(to1)
        return View(h, apply_homography(to0, self.points0), through(h, points1), points1, self.scores)

    def take(self, index: NDArray[np.bool_]) -> View:
        return replace(
            self,
            points0=self.points0[index],
            warped1=self.warped1[index],
            points1=self.points1[index],
            scores=self.scores[index],
        )


def through(h: Matrix | None, points: Points) -> Points:
    """Points moved by a homography, or not at all by none."""
    return points if h is None else apply_homography(h, points)


def fit_plane(view: View, threshold: float = 3.0) -> Matrix | None:
    """Homography from a view's warped image 1 to image 0, from its best matches; None when there is none."""
    best = np.argsort(-view.scores, kind="stable")[:_SAMPLED]
    found = estimate_homography(
        view.warped1[best], view.points0[best], threshold=threshold, method=cv2.USAC_MAGSAC
    )
    return found.matrix


def explained_by(view: View, plane: Matrix, tolerance: float) -> NDArray[np.bool_]:
    """Which matches a plane of :func:`fit_plane` explains to `tolerance` pixels."""
    off = np.linalg.norm(apply_homography(plane, view.warped1) - view.points0, axis=1)
    result: NDArray[np.bool_] = off < tolerance
    return result


def on_one_plane(view: View, share: float) -> View:
    """Without what lies off the plane that explains at least that share of the matches; else unchanged."""
    plane = fit_plane(view) if len(view) >= FEWEST_IN_PLANE else None
    if plane is None:
        return view
    explained = explained_by(view, plane, _OFF_PLANE)
    return view.take(explained) if explained.mean() >= share else view


def further_planes(rest: View, total: int, *, tolerance: float) -> Iterator[View]:
    """Parts of the scene that a view leaves distorted, each warped by the plane that explains it.

    Plane after plane is fitted to what is not yet explained. What a plane would only shift is left alone:
    matching bears a shift.

    Args:
        rest: matches in the frame of that view.
        total: how many it has.
        tolerance: pixels to which a plane must explain a match.
    """
    fewest = max(FEWEST_IN_PLANE, _SHARE_IN_PLANE * total)
    for _ in range(_MOST_PLANES):
        plane = fit_plane(rest, tolerance / 2) if len(rest) >= fewest else None
        if plane is None:
            return
        explained = explained_by(rest, plane, tolerance)
        part, rest = rest.take(explained), rest.take(~explained)
        if len(part) < fewest:
            return
        if distortion(plane, np.median(part.warped1, axis=0)) >= _DISTORTION:
            yield part.warped_by(plane)


def distortion(h: Matrix, point: NDArray[np.float64]) -> float:
    """How far the homography's derivative at a point is from the identity (Frobenius norm)."""
    around = apply_homography(h, point + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    return float(np.linalg.norm((around[1:] - around[0]) - np.eye(2)))


def merge_views(views: list[View], cell: int) -> View:
    """One set of matches of several views: each `cell` x `cell` square of image 0 takes its best view's."""
    if len(views) == 1:
        return views[0]
    of = np.repeat(np.arange(len(views)), [len(v) for v in views])
    points0 = np.concatenate([v.points0 for v in views])
    scores = np.concatenate([v.scores for v in views])
    _, square = np.unique(np.floor(points0 / cell).astype(np.int64), axis=0, return_inverse=True)
    square = square.reshape(-1)
    total = np.zeros((square.max(initial=0) + 1, len(views)))
    np.add.at(total, (square, of), scores)
    keep = total.argmax(axis=1)[square] == of
    merged = View(
        views[0].h_1_to_0,
        points0,
        np.concatenate([v.warped1 for v in views]),
        np.concatenate([v.points1 for v in views]),
        scores,
    )
    return merged.take(keep)
