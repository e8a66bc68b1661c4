"""Points seen in many photos, from matches of pairs.

Matches of a pair lie anywhere, so that no two pairs share a point. Each photo in turn therefore chooses
points of its own, where most of its pairs have matches and the image has a corner, and every pair carries
these into the other photo by the motion of the matches around them: they are all measured against one photo,
to the precision of several matches. Pairs of those other photos then say whether they agree, add photos that
were not matched with the first, and draw positions together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.geometry import Points, epipolar_distances, inside
from gcm.images.files import load_image
from gcm.images.sizes import resize_to
from gcm.refinement.motion import LocalMotion, fit_motion
from gcm.scene.collection import Collection
from gcm.scene.photos import Photo

__all__ = ["FEWEST_SHARED", "PairMotion", "TrackOptions", "Tracks", "build_tracks", "tracks_of"]

FEWEST_SHARED = 15
"""Points that two photos must share to be a pair for other tools."""


@dataclass(frozen=True)
class TrackOptions:
    """How tracks are built; pixels are those of a photo of `reference_side`, and grow with the photo."""

    reference_side: int = 1024
    """Longer side of a photo, pixels, at which the numbers below hold."""
    spacing: int = 8
    """Pixels between the points that a photo chooses."""
    most: int = 1500
    """Points that a photo chooses."""
    radius: float = 4.0
    """Pixels; a point moves as the matches within some 1.5 times this do."""
    back: float = 0.75
    """Pixels by which a point may miss itself when it is carried to another photo and back."""
    line: float = 2.0
    """Pixels off its epipolar line."""
    agree: float = 1.0
    """Pixels within which two ways to a point agree."""
    fewest: int = 2
    """Photos that must show a point."""


@dataclass(frozen=True)
class PairMotion:
    """What the matches of two photos say of the motion between them."""

    forth: LocalMotion
    """From photo 0 to photo 1."""
    back: LocalMotion
    points0: Points
    """N x 2, pixels: where photo 0 has matches."""
    points1: Points
    fundamental: NDArray[np.float64] | None
    """3 x 3, from points of photo 0 to lines in photo 1."""

    @classmethod
    def of(
        cls,
        points0: Points,
        points1: Points,
        radius: tuple[float, float],
        fundamental: NDArray[np.float64] | None,
    ) -> PairMotion:
        """From N matches; `radius` in pixels of either photo."""
        return cls(
            fit_motion(points0, points1 - points0, radius=radius[0], scale=radius[0] / 8),
            fit_motion(points1, points0 - points1, radius=radius[1], scale=radius[1] / 8),
            points0,
            points1,
            fundamental,
        )


@dataclass
class Tracks:
    """Points seen in several photos."""

    positions: list[Points]
    """Of each photo, K x 2 pixels."""
    numbers: list[NDArray[np.int64]]
    """Of each photo, K numbers of the tracks that these belong to."""
    count: int = 0
    """How many tracks there are."""
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Photos that show each track."""

    @property
    def mean_length(self) -> float:
        """Photos that show a track, on average; 0 without tracks."""
        return float(self.lengths.mean()) if self.count else 0.0

    def describe(self) -> dict[str, float]:
        """Numbers for people."""
        return {"tracks": self.count, "track_photos": round(self.mean_length, 3)}

    def shared(self, i: int, j: int) -> NDArray[np.int64]:
        """M x 2: rows of photo i and of photo j that show the same point."""
        _, rows_i, rows_j = np.intersect1d(
            self.numbers[i], self.numbers[j], assume_unique=True, return_indices=True
        )
        return np.column_stack([rows_i, rows_j])

    def pairs(self, fewest: int = FEWEST_SHARED) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
        """Photos i < j that share at least so many points, and which (:meth:`shared`)."""
        for i, j in combinations(range(len(self.numbers)), 2):
            shared = self.shared(i, j)
            if len(shared) >= fewest:
                yield i, j, shared


def build_tracks(
    sizes: Sequence[tuple[int, int]],
    pairs: Mapping[tuple[int, int], PairMotion],
    corners: Callable[[int], NDArray[np.float32]] | None = None,
    options: TrackOptions = TrackOptions(),
) -> Tracks:
    """Find the points that several photos show.

    Args:
        sizes: width and height of each photo.
        pairs: of photos i < j.
        corners: how much of a corner each pixel of a photo is, H x W, asked for once each; None: all alike.
        options: see there.
    """
    builder = _Builder(sizes, pairs, corners, options)
    degree = np.zeros(len(sizes))
    for (i, j), pair in pairs.items():
        degree[[i, j]] += len(pair.points0)
    for photo in np.argsort(-degree, kind="stable"):
        builder.add(int(photo))
    return builder.tracks()


class _Builder:
    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        pairs: Mapping[tuple[int, int], PairMotion],
        corners: Callable[[int], NDArray[np.float32]] | None,
        options: TrackOptions,
    ) -> None:
        self.sizes, self.corners, self.options = sizes, corners, options
        self.scale = [_growth(size, options) for size in sizes]
        self.pairs = pairs
        self.partners: list[list[int]] = [[] for _ in sizes]
        for i, j in pairs:
            self.partners[i].append(j)
            self.partners[j].append(i)
        self.taken = [np.zeros(self._cells(k, size), dtype=bool) for k, size in enumerate(sizes)]
        self.count = 0
        self.lengths: list[NDArray[np.int64]] = []
        self.positions: list[list[Points]] = [[] for _ in sizes]
        self.numbers: list[list[NDArray[np.int64]]] = [[] for _ in sizes]

    def _cells(self, photo: int, size: tuple[int, int]) -> tuple[int, int]:
        step = self.options.spacing * self.scale[photo]
        return int(size[1] // step) + 1, int(size[0] // step) + 1

    def _cell_of(self, photo: int, points: Points) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        cells = np.floor(points / (self.options.spacing * self.scale[photo])).astype(np.int64)
        height, width = self.taken[photo].shape
        return cells[:, 1].clip(0, height - 1), cells[:, 0].clip(0, width - 1)

    def add(self, photo: int) -> None:
        """The tracks of the points that a photo chooses."""
        points = self._choose(photo)
        if not len(points):
            return
        seen = np.full((len(points), len(self.sizes), 2), np.nan)
        seen[:, photo] = points
        for other in self.partners[photo]:
            seen[:, other] = self._carry(photo, other, points)
        self._drop_conflicts(photo, seen)
        self._extend(photo, seen)
        self._draw_together(photo, seen)
        count = (~np.isnan(seen[..., 0])).sum(axis=1)
        seen, count = seen[count >= self.options.fewest], count[count >= self.options.fewest]
        for other in range(len(self.sizes)):
            rows = np.flatnonzero(~np.isnan(seen[:, other, 0]))
            if len(rows):
                shown = seen[rows, other]
                self.taken[other][self._cell_of(other, shown)] = True
                self.positions[other].append(shown)
                self.numbers[other].append(rows + self.count)
        self.lengths.append(count)
        self.count += len(seen)

    def _choose(self, photo: int) -> Points:
        """At most one match a cell: where most pairs have one, and the photo most of a corner."""
        height, width = self.taken[photo].shape
        size = self.sizes[photo]
        pairs_at = np.zeros((height, width))
        candidates = []
        for other in self.partners[photo]:
            pair = self.pairs[min(photo, other), max(photo, other)]
            points = pair.points0 if photo < other else pair.points1
            candidates.append(points)
            held = np.zeros((height, width))
            held[self._cell_of(photo, points)] = 1
            pairs_at += held
        if not candidates:
            return np.zeros((0, 2))
        points = np.concatenate(candidates)
        rows, columns = self._cell_of(photo, points)
        free = ~self.taken[photo][rows, columns]
        points, rows, columns = points[free], rows[free], columns[free]
        corner = np.zeros(len(points))
        if self.corners is not None:
            x, y = np.rint(points).astype(np.int64).T
            corner = self.corners(photo)[y.clip(0, size[1] - 1), x.clip(0, size[0] - 1)].astype(np.float64)
        order = np.argsort(-corner, kind="stable")
        _, first = np.unique((rows * width + columns)[order], return_index=True)
        best = order[first]
        rank = np.lexsort((-corner[best], -pairs_at[rows[best], columns[best]]))
        return points[best[rank[: self.options.most]]]

    def _carry(self, i: int, j: int, points: Points) -> Points:
        """Points of photo i in photo j; nan where nothing says, or what says is not sure."""
        pair = self.pairs[min(i, j), max(i, j)]
        forth, back = (pair.forth, pair.back) if i < j else (pair.back, pair.forth)
        there = points + forth.predict(points)
        known = ~np.isnan(there[:, 0])
        again = np.full_like(there, np.nan)
        again[known] = there[known] + back.predict(there[known])
        missed = np.linalg.norm(again - points, axis=1)
        good = missed < self.options.back * self.scale[i]
        good[good] = inside(there[good], *self.sizes[j])
        if pair.fundamental is not None and good.any():
            ends = (points[good], there[good]) if i < j else (there[good], points[good])
            scales = (self.scale[i], self.scale[j]) if i < j else (self.scale[j], self.scale[i])
            distances = epipolar_distances(pair.fundamental, *ends)
            off = np.maximum(*(d / s for d, s in zip(distances, scales, strict=True)))
            good[good] = off < self.options.line
        there[~good] = np.nan
        return there

    def _ways(self, seen: NDArray[np.float64], j: int, k: int) -> Points:
        """Where photo k shows what photo j shows, by the matches of these two."""
        there = np.full((len(seen), 2), np.nan)
        known = ~np.isnan(seen[:, j, 0])
        if known.any() and (min(j, k), max(j, k)) in self.pairs:
            there[known] = self._carry(j, k, seen[known, j])
        return there

    def _drop_conflicts(self, photo: int, seen: NDArray[np.float64]) -> None:
        """Forget positions that more ways contradict than bear out."""
        votes = np.zeros(seen.shape[:2])
        for j in self.partners[photo]:
            for k in self.partners[photo]:
                if j != k and (min(j, k), max(j, k)) in self.pairs:
                    off = np.linalg.norm(self._ways(seen, j, k) - seen[:, k], axis=1)
                    with np.errstate(invalid="ignore"):
                        vote = np.where(off < self.options.agree * self.scale[k], 1.0, -1.0)
                    vote[np.isnan(off)] = 0
                    votes[:, k] += vote
        votes[:, photo] = 0
        seen[votes < 0] = np.nan

    def _extend(self, photo: int, seen: NDArray[np.float64]) -> None:
        """Add photos that at least two ways agree on."""
        near = {k for j in self.partners[photo] for k in self.partners[j]} - {photo}
        for k in sorted(near):
            missing = np.isnan(seen[:, k, 0])
            if not missing.any():
                continue
            ways = np.stack([self._ways(seen, j, k) for j in self.partners[k] if j != photo])
            known = ~np.isnan(ways[..., 0])
            middle = np.full((len(seen), 2), np.nan)
            some = missing & (known.sum(axis=0) >= 2)
            if not some.any():
                continue
            middle[some] = np.nanmedian(ways[:, some], axis=0)
            off = np.linalg.norm(ways - middle, axis=-1)
            with np.errstate(invalid="ignore"):
                agreeing = (off < self.options.agree * self.scale[k]).sum(axis=0)
            sure = some & (agreeing >= 2) & (agreeing > known.sum(axis=0) / 2)
            seen[sure, k] = middle[sure]

    def _draw_together(self, photo: int, seen: NDArray[np.float64]) -> None:
        """Each position becomes the mean of all ways to it that agree."""
        old = seen.copy()
        for k in range(len(self.sizes)):
            if k == photo or np.isnan(old[:, k, 0]).all():
                continue
            total, weight = old[:, k].copy(), np.ones(len(old))
            for j in self.partners[k]:
                way = self._ways(old, j, k)
                off = np.linalg.norm(way - old[:, k], axis=1)
                with np.errstate(invalid="ignore"):
                    good = off < self.options.agree * self.scale[k]
                total[good] += way[good]
                weight[good] += 1
            seen[:, k] = total / weight[:, None]

    def tracks(self) -> Tracks:
        """All that were found."""
        return Tracks(
            [np.concatenate([np.zeros((0, 2)), *found]) for found in self.positions],
            [np.concatenate([np.zeros(0, np.int64), *found]) for found in self.numbers],
            self.count,
            np.concatenate([np.zeros(0, np.int64), *self.lengths]),
        )


def tracks_of(collection: Collection, options: TrackOptions = TrackOptions()) -> Tracks:
    """The tracks of photos whose pairs have been verified (:func:`gcm.scene.collection.verify_pairs`).

    Raises:
        ImageError: a photo that cannot be read.
    """
    sizes = [photo.size for photo in collection.photos]
    radius = [options.radius * _growth(size, options) for size in sizes]
    pairs = {
        (i, j): PairMotion.of(pair.points0, pair.points1, (radius[i], radius[j]), pair.fundamental)
        for (i, j), pair in collection.pairs.items()
    }
    return build_tracks(sizes, pairs, lambda k: _corners(collection.photos[k]), options)


def _corners(photo: Photo) -> NDArray[np.float32]:
    """H x W: the smaller eigenvalue of the gradients around each pixel (Shi and Tomasi, 1994)."""
    pixels = resize_to(load_image(photo.path), photo.size)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cornerMinEigenVal(grey, blockSize=5, ksize=3), np.float32)


def _growth(size: tuple[int, int], options: TrackOptions) -> float:
    """By which a photo is larger than one of the side that options are for; 1 at least."""
    return max(1.0, max(size) / options.reference_side)
