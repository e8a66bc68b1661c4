"""Pairs of views of photos that show the same place, whose truth is what two teachers agree in."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gcm.distillation.data import read_photo
from gcm.distillation.labels import Labeller, Labels
from gcm.distillation.real_pairs import Array, Mask, Pair, best_attempt, is_known, some_pairs
from gcm.distillation.recipe import AugmentationRecipe, CollectionsRecipe
from gcm.distillation.view_pairs import photo_view, place_matrices
from gcm.errors import DatasetError
from gcm.geometry import apply_homography, inside
from gcm.images.folders import find_photos
from gcm.images.sizes import image_size

__all__ = ["LabelledPairs", "PhotoPair", "cells_near_labels", "find_photo_pairs", "label_pairs"]

_ENOUGH = 24
"""Cells with a label from which on no other view is tried."""

_REACH = 6.0
"""Pixels of a view from a label to the centre of a cell that it tells of."""

_NEIGHBOURS = 8
_PRIOR = 8.0**2
"""Square pixels: how much the motion around a label is drawn to that of the whole view."""

_ASTRAY = 4.0
"""Pixels by which a label's neighbours may lie, in the median, off the motion that they give: beyond, the
label lies at an edge of depth or is wrong."""


@dataclass(frozen=True)
class PhotoPair:
    """Two photos of one folder, and what they share."""

    first: Path
    second: Path
    numbers: tuple[int, int]
    """Of the photos, in the order of names, from 0."""
    labels: Labels


Numbered = tuple[Path, Path, tuple[int, int]]


def find_photo_pairs(recipe: CollectionsRecipe) -> list[Numbered]:
    """Pairs of photos that may show the same place: such as lie in one folder, and their numbers there.

    Raises:
        DatasetError: a folder is missing, or no two photos lie together.
    """
    found: list[Numbered] = []
    for folder in recipe.folders:
        together: list[Numbered] = []
        for _, group in itertools.groupby(
            sorted(find_photos(folder), key=lambda photo: (photo.parent, photo)),
            key=lambda photo: photo.parent,
        ):
            photos = list(group)
            numbers = some_pairs(len(photos), recipe.pairs)
            together += [(photos[k], photos[j], (k, j)) for k, j in numbers]
        if not together:
            raise DatasetError(
                f"{folder}: no two photos lie in one folder; give the photos of a place a folder of their own"
            )
        found += together
    return found


def label_pairs(
    pairs: list[Numbered], labeller: Labeller, on_progress: Callable[[int, int], None]
) -> list[PhotoPair]:
    """The pairs that share something, labelled where that is not on disk.

    Args:
        pairs: what :func:`find_photo_pairs` found.
        labeller: makes and keeps labels.
        on_progress: called with how many of how many pairs are labelled that were not on disk; first before
            any is, with 0.
    """
    known = [labeller.kept(first, second) for first, second, _ in pairs]
    missing = sum(labels is None for labels in known)
    done, labelled = 0, []
    if missing:
        on_progress(0, missing)
    for (first, second, numbers), kept in zip(pairs, known, strict=True):
        labels = kept
        if labels is None:
            labels = labeller.label(first, second)
            done += 1
            on_progress(done, missing)
        if len(labels):
            labelled.append(PhotoPair(first, second, numbers, labels))
    return labelled


class LabelledPairs:
    """Pairs of views of pairs of photos; see :class:`gcm.distillation.real_pairs.PairSource`.

    Args:
        pairs: what to draw from.
    """

    def __init__(self, pairs: list[PhotoPair]) -> None:
        self.pairs = pairs

    def draw(self, recipe: AugmentationRecipe, centres: Array, rng: np.random.Generator) -> Pair:
        """Two views around a label; cells near labels are known, all others unknown."""
        return best_attempt(lambda: self._attempt(recipe, centres, rng), _ENOUGH)

    def _attempt(
        self, recipe: AugmentationRecipe, centres: Array, rng: np.random.Generator
    ) -> tuple[Pair, int]:
        """A pair, and how many labels it shows."""
        chosen = self.pairs[int(rng.integers(len(self.pairs)))]
        labels = chosen.labels
        photos = [np.rot90(read_photo(chosen.first), labels.turns), read_photo(chosen.second)]
        points = [labels.points0, labels.points1]
        if rng.random() < 0.5:
            photos, points = photos[::-1], points[::-1]
        place = int(rng.integers(len(labels)))
        sizes = image_size(photos[0]), image_size(photos[1])
        matrices = place_matrices(sizes, np.stack([points[0][place], points[1][place]]), recipe, rng)
        views = [
            photo_view(photo, matrix, recipe.crop) for photo, matrix in zip(photos, matrices, strict=True)
        ]
        moved = [apply_homography(matrix, there) for matrix, there in zip(matrices, points, strict=True)]
        shown = inside(moved[0], recipe.crop, recipe.crop) & inside(moved[1], recipe.crop, recipe.crop)
        first, second = moved[0][shown], moved[1][shown]
        positions = (
            cells_near_labels(first, second, centres, recipe.crop),
            cells_near_labels(second, first, centres, recipe.crop),
        )
        known = is_known(positions[0]), is_known(positions[1])
        return Pair((views[0], views[1]), positions, known), len(first)


def cells_near_labels(own: Array, other: Array, centres: Array, size: int) -> Array:
    """Where the cells of one view that lie near a label are in the other, K x 2; nan for all others.

    From a label to the centre of its cell the affine motion leads that its nearest neighbours have.

    Args:
        own, other: N x 2, pixels of either view: labels.
        centres: K x 2, pixels: the cells of the first view, of a square grid, row by row.
        size: pixels a side of both views.
    """
    positions = np.full_like(centres, np.nan)
    if len(own) <= _NEIGHBOURS:
        return positions
    motions, sound = _motions(own, other)
    own, other, motions = own[sound], other[sound], motions[sound]
    cells = round(len(centres) ** 0.5)
    cell = size // cells
    reach = int(np.ceil(_REACH / cell))
    steps = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(1, -1, 2)
    places = (own // cell).astype(int)[:, None] + steps
    index = places[..., 1] * cells + places[..., 0]
    label = np.broadcast_to(np.arange(len(own))[:, None], index.shape)
    within = ((places >= 0) & (places < cells)).all(axis=2)
    index, label = index[within], label[within]
    offset = centres[index] - own[label]
    far = np.linalg.norm(offset, axis=1)
    # The nearest label last, so that it is what stays.
    order = np.argsort(-far, kind="stable")
    order = order[far[order] <= _REACH]
    moved = other[label] + (motions[label] @ offset[..., None])[..., 0]
    positions[index[order]] = moved[order]
    outside = ~inside(np.nan_to_num(positions, nan=-1.0), size, size)
    positions[outside] = np.nan
    return positions


def _motions(own: Array, other: Array) -> tuple[Array, Mask]:
    """N x 2 x 2: how what is around each label moves; and whether its neighbours move so."""
    whole, *_ = np.linalg.lstsq(own - own.mean(axis=0), other - other.mean(axis=0), rcond=None)
    square = (own**2).sum(axis=1)
    apart = square[:, None] + square - 2 * own @ own.T
    np.fill_diagonal(apart, np.inf)
    nearest = np.argpartition(apart, _NEIGHBOURS - 1, axis=1)[:, :_NEIGHBOURS]
    begin, end = own[nearest] - own[:, None], other[nearest] - other[:, None]
    moments = begin.transpose(0, 2, 1) @ begin + _PRIOR * np.eye(2)
    motions = np.linalg.solve(moments, begin.transpose(0, 2, 1) @ end + _PRIOR * whole)
    off = np.median(np.linalg.norm(begin @ motions - end, axis=2), axis=1)
    return motions.transpose(0, 2, 1), off <= _ASTRAY
