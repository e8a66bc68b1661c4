"""The planes that explain the matches of a view."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.estimation import estimate_homography, settle_homography
from gcm.geometry import Matrix, Points, apply_homography
from gcm.method.working_matches import WorkingMatches
from gcm.options import PlaneOptions

__all__ = ["explained_by", "fit_plane", "further_planes", "merge_views", "on_one_plane"]


def fit_plane(
    view: WorkingMatches, options: PlaneOptions, *, threshold: float | None = None
) -> Matrix | None:
    """Homography from a view's warped image 1 to image 0, from its best matches; None when there is none.

    It does not depend on the samples that RANSAC draws, see :mod:`gcm.estimation.settling`.

    Args:
        view: its matches.
        options: how many of them, and how exactly they must agree.
        threshold: pixels, in place of the options' own.
    """
    best = np.argsort(-view.scores, kind="stable")[: options.sampled]
    source, target = view.warped1[best], view.points0[best]
    threshold = options.threshold if threshold is None else threshold
    found = estimate_homography(source, target, threshold=threshold, method=cv2.USAC_MAGSAC).matrix
    return None if found is None else settle_homography(found, source, target, threshold / 2)


def explained_by(view: WorkingMatches, plane: Matrix, tolerance: float) -> NDArray[np.bool_]:
    """Which matches a plane of :func:`fit_plane` explains to `tolerance` pixels."""
    return _off(view, plane) < tolerance


def _off(view: WorkingMatches, plane: Matrix) -> NDArray[np.float64]:
    """How far each match lies off a plane of :func:`fit_plane`, in pixels of image 0."""
    off: NDArray[np.float64] = np.linalg.norm(apply_homography(plane, view.warped1) - view.points0, axis=1)
    return off


def on_one_plane(
    view: WorkingMatches,
    options: PlaneOptions,
    *,
    share: float,
    plane: Matrix | None = None,
    alone: Callable[[Points, NDArray[np.float64]], NDArray[np.bool_]] | None = None,
) -> WorkingMatches:
    """Without what lies off the plane that explains at least that share of the matches; else unchanged.

    Args:
        view: its matches.
        options: how many a plane must explain, and how exactly.
        share: of the matches.
        plane: of :func:`fit_plane`, where it was asked before; fitted here otherwise.
        alone: as :func:`gcm.method.lines.stands_alone`, which of what is left goes as well.
    """
    if len(view) < options.fewest:
        return view
    plane = fit_plane(view, options) if plane is None else plane
    if plane is None:
        return view
    off = _off(view, plane)
    keep = off < options.off_plane
    if keep.mean() < share:
        keep[:] = True
    if alone is not None:
        keep[keep] = ~alone(view.points0[keep], off[keep])
    return view.take(keep)


def further_planes(
    rest: WorkingMatches, total: int, options: PlaneOptions, *, tolerance: float
) -> Iterator[tuple[WorkingMatches, Matrix]]:
    """Parts of the scene that a view leaves distorted, each with the plane that explains it.

    Plane after plane is fitted to what is not yet explained. What a plane would only shift is left alone:
    matching bears a shift.

    Args:
        rest: matches in the frame of that view.
        total: how many it has.
        options: how many planes, and what each must explain.
        tolerance: pixels to which a plane must explain a match.
    """
    fewest = max(options.fewest, options.share * total)
    for _ in range(options.most):
        plane = fit_plane(rest, options, threshold=tolerance / 2) if len(rest) >= fewest else None
        if plane is None:
            return
        explained = explained_by(rest, plane, tolerance)
        part, rest = rest.take(explained), rest.take(~explained)
        if len(part) < fewest:
            return
        if distortion(plane, np.median(part.warped1, axis=0)) >= options.distortion:
            yield part, plane


def distortion(h: Matrix, point: NDArray[np.float64]) -> float:
    """How far the homography's derivative at a point is from the identity (Frobenius norm)."""
    around = apply_homography(h, point + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    return float(np.linalg.norm((around[1:] - around[0]) - np.eye(2)))


def merge_views(views: list[WorkingMatches], cell: int) -> WorkingMatches:
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
    merged = WorkingMatches(
        views[0].h_1_to_0,
        points0,
        np.concatenate([v.warped1 for v in views]),
        np.concatenate([v.points1 for v in views]),
        scores,
    )
    return merged.take(keep)
