"""Pairs of frames of RGB-D sequences; depths and poses are checked before anything is learnt from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gcm.distillation.data import Image
from gcm.distillation.real_pairs import (
    Array,
    Mask,
    Pair,
    best_attempt,
    cell_centres,
    is_known,
    some_pairs,
    spread,
)
from gcm.distillation.recipe import AugmentationRecipe, RgbdRecipe
from gcm.distillation.reprojection import Reprojection, brightness_correlation, misalignment, reproject
from gcm.distillation.rgbd_folders import Frame, Sequence, find_sequences
from gcm.distillation.view_pairs import photo_view, place_matrices
from gcm.errors import DatasetError
from gcm.geometry import apply_homography, inside

__all__ = ["FramePair", "RgbdPairs", "find_frame_pairs"]

_CHECKED = 96
"""Places across a frame at which a pair of frames is checked."""

_ALIGNED = 270
"""Places across a frame by which it is checked that it lies right to a part of a pixel."""

_SOUND = 0.7
"""Least share of the places that can be checked, by depth and by brightness, that a pair must pass."""

_TRIED = 3
"""Candidates looked at for every pair that is wanted."""

_STEP = 4
"""Pixels of a view between the places at which brightness is compared."""

_BORNE_OUT = 0.1
"""Share of the cells whose brightness bears out their place from which on no other view is tried: of a white
wall there is nothing to learn."""

_DRAWN = 64
"""Places tried for one that both frames show."""


@dataclass(frozen=True)
class FramePair:
    """Two frames of a sequence that show the same places."""

    sequence: Sequence
    first: int
    second: int


def find_frame_pairs(
    recipe: RgbdRecipe, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> list[FramePair]:
    """The pairs of frames that overlap enough, and whose depths, poses and photos agree.

    Args:
        recipe: where to look and what to ask for.
        on_progress: called with how many candidates of how many were looked at.

    Raises:
        DatasetError: a folder is incomplete or wrong, or a sequence has no such pair.
    """
    sequences = [sequence for folder in recipe.folders for sequence in find_sequences(folder)]
    candidates = [some_pairs(len(sequence), _TRIED * recipe.pairs) for sequence in sequences]
    total, done = sum(len(pairs) for pairs in candidates), 0
    kept: list[FramePair] = []
    for sequence, numbers in zip(sequences, candidates, strict=True):
        sound: list[FramePair] = []
        doubtful = 0
        for first, second in numbers:
            verdict = _check(sequence.frame(first), sequence.frame(second), recipe)
            doubtful += verdict is False
            if verdict:
                sound.append(FramePair(sequence, first, second))
            done += 1
            on_progress(done, total)
        if not sound:
            raise DatasetError(_nothing(sequence, recipe, doubtful))
        kept += spread(sound, recipe.pairs)
    return kept


def _nothing(sequence: Sequence, recipe: RgbdRecipe, doubtful: int) -> str:
    if doubtful:
        return (
            f"{sequence.folder}: depths and poses do not fit the photos ({doubtful} pairs of frames overlap, "
            "none bears out what they say); poses are camera to world in metres, line k for photo k, and "
            "depths in millimetres"
        )
    return (
        f"{sequence.folder}: no two frames show the same {recipe.overlap:.0%} of their places; add frames "
        "in between or lower rgbd.overlap"
    ).replace("%", " %")


def _check(first: Frame, second: Frame, recipe: RgbdRecipe) -> bool | None:
    """Whether what two frames say of each other holds; None where they do not overlap enough."""
    verdicts = [_check_way(*frames, recipe) for frames in ((first, second), (second, first))]
    if None in verdicts:
        return None
    return all(verdicts) and _fits(first, second, recipe)


def _fits(own: Frame, other: Frame, recipe: RgbdRecipe) -> bool:
    """Whether brightness fits best where depth and poses say, and not a little beside."""
    width, height = own.size
    step = max(1, round(width / _ALIGNED))
    moved = _reproject(own, other, cell_centres(width, step, height), recipe)
    off = misalignment(own.image, other.image, moved.places, step)
    return not off > recipe.misalignment  # nan, where brightness does not tell, is no fault


def _check_way(own: Frame, other: Frame, recipe: RgbdRecipe) -> bool | None:
    width, height = own.size
    step = max(1, round(width / _CHECKED))
    moved = _reproject(own, other, cell_centres(width, step, height), recipe)
    seen, against = (int(part.sum()) for part in (is_known(moved.places), moved.contradicted))
    total = seen + against + int(moved.hidden.sum())
    if seen + against < recipe.overlap * max(1, total):
        return None
    if seen < _SOUND * (seen + against):
        return False
    if seen < recipe.overlap * total:
        return None
    alike = brightness_correlation(own.image, other.image, moved.places, step)
    compared = np.isfinite(alike)
    return bool((alike[compared] >= recipe.correlation).mean() >= _SOUND) if compared.any() else True


def _reproject(own: Frame, other: Frame, points: Array, recipe: RgbdRecipe) -> Reprojection:
    return reproject(own, other, points, tolerance=recipe.depth_tolerance, way_back=recipe.way_back)


class RgbdPairs:
    """Pairs of views of pairs of frames; see :class:`gcm.distillation.real_pairs.PairSource`.

    Args:
        pairs: what to draw from.
        recipe: how far frames that agree may differ.
    """

    def __init__(self, pairs: list[FramePair], recipe: RgbdRecipe) -> None:
        self.pairs, self.recipe = pairs, recipe

    def draw(self, recipe: AugmentationRecipe, centres: Array, rng: np.random.Generator) -> Pair:
        """Two views around a place that both frames show."""
        return best_attempt(lambda: self._attempt(recipe, centres, rng), _BORNE_OUT)

    def _attempt(
        self, recipe: AugmentationRecipe, centres: Array, rng: np.random.Generator
    ) -> tuple[Pair, float]:
        """A pair, and the share of the cells whose place brightness bears out, of the view with fewer."""
        chosen = self.pairs[int(rng.integers(len(self.pairs)))]
        numbers = (chosen.first, chosen.second) if rng.random() < 0.5 else (chosen.second, chosen.first)
        first, second = (chosen.sequence.frame(number) for number in numbers)
        matrices = place_matrices((first.size, second.size), self._place(first, second, rng), recipe, rng)
        sides = [
            _Side(frame, matrix, photo_view(frame.image, matrix, recipe.crop))
            for frame, matrix in zip((first, second), matrices, strict=True)
        ]
        ways = [self._cells(own, other, recipe.crop, centres) for own, other in (sides, sides[::-1])]
        positions, known, borne_out = zip(*ways, strict=True)
        return Pair((sides[0].view, sides[1].view), positions, known), min(borne_out)

    def _place(self, first: Frame, second: Frame, rng: np.random.Generator) -> Array:
        """2 x 2: a place that both frames show, in pixels of each."""
        points = rng.uniform(0, 1, (_DRAWN, 2)) * (np.array(first.size) - 1)
        places = _reproject(first, second, points, self.recipe).places
        shown = np.flatnonzero(is_known(places))
        if not len(shown):  # as good as never: frames of a pair overlap
            return np.array([first.size, second.size]) / 2
        return np.stack([points[shown[0]], places[shown[0]]])

    def _cells(self, own: _Side, other: _Side, size: int, centres: Array) -> tuple[Array, Mask, float]:
        """Where cells of a view lie in the other, of which that is known, and what share is borne out."""
        positions, known = self._moved(own, other, size, centres)
        compared, _ = self._moved(own, other, size, cell_centres(size, _STEP))
        alike = brightness_correlation(own.view, other.view, compared, _STEP)
        column, row = np.minimum(centres // _STEP, size // _STEP - 1).astype(int).T
        seen, there = is_known(positions), alike[row, column]
        # What shows nothing has no correlation (nan): nothing bears its place out, or speaks against it.
        wrong = seen & (there < self.recipe.correlation)
        borne_out = seen & (there >= self.recipe.correlation)
        return np.where(wrong[:, None], np.nan, positions), known & ~wrong, float(borne_out.mean())

    def _moved(self, own: _Side, other: _Side, size: int, points: Array) -> tuple[Array, Mask]:
        """The same by depth alone."""
        there = apply_homography(np.linalg.inv(own.matrix), points)
        moved = _reproject(own.frame, other.frame, there, self.recipe)
        positions = apply_homography(other.matrix, moved.places)
        seen = is_known(positions)
        within = seen & inside(np.where(seen[:, None], positions, -1.0), size, size)
        return np.where(within[:, None], positions, np.nan), seen | moved.hidden


@dataclass(frozen=True)
class _Side:
    """A view, the frame it shows, and the homography from frame to view."""

    frame: Frame
    matrix: Array
    view: Image
