"""Pairs of views in different light, of planes, of scenes with depth and of real pairs of photos, with true
correspondences.

Like all training data, a pair is a function of (seed, index) alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gcm.distillation.data import Image, degrade, read_photo, stack_images
from gcm.distillation.light import change_light
from gcm.distillation.real_pairs import Pair, cell_centres
from gcm.distillation.recipe import DistillRecipe
from gcm.distillation.scenes import draw_scene
from gcm.distillation.steps import StepDataset, Steps
from gcm.distillation.view_pairs import photo_view, view_matrices
from gcm.geometry import apply_homography, inside

__all__ = ["CELL", "PairBatch", "PairDataset", "cell_centres"]

CELL = 8
"""Pixels a cell of the coarse map."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairBatch:
    """Two views of each of N places."""

    clean: Tensor
    """2 x N x 3 x S x S uint8 RGB, as drawn."""
    degraded: Tensor
    """The same in other light, and degraded, for the student."""
    positions: Tensor
    """2 x N x K x 2 float32: where each cell's centre of view 0 lies in view 1, and the other way round, in
    pixels; nan where it is hidden, outside or unknown. Cells row by row."""
    known: Tensor
    """2 x N x K bool: False where nobody knows whether the other view shows the cell: a nan there does not
    make it one without a partner."""


class PairDataset(StepDataset[PairBatch]):
    """Batches of pairs; see :class:`gcm.distillation.steps.StepDataset`."""

    def __init__(self, steps: Steps, recipe: DistillRecipe, cell: int = CELL) -> None:
        super().__init__(steps, recipe)
        self.centres = cell_centres(recipe.augmentation.crop, cell)

    def __getitem__(self, index: int) -> PairBatch:
        rng = self.generator(index)
        pairs = [self._pair(rng) for _ in range(self.recipe.batch_size)]
        clean = [[pair.views[k] for pair in pairs] for k in (0, 1)]
        degraded = [[self._degraded(view, rng) for view in views] for views in clean]
        positions = np.stack([np.stack([pair.positions[k] for pair in pairs]) for k in (0, 1)])
        known = np.stack([np.stack([self._known(pair, k) for pair in pairs]) for k in (0, 1)])
        return PairBatch(
            torch.stack([stack_images(views) for views in clean]),
            torch.stack([stack_images(views) for views in degraded]),
            torch.from_numpy(positions).float(),
            torch.from_numpy(known),
        )

    def _pair(self, rng: np.random.Generator) -> Pair:
        source = self.steps.real.choose(rng)
        if source is not None:
            return source.draw(self.augmentation, self.centres, rng)
        if rng.random() < self.recipe.scenes.share:
            return self._scene(rng)
        return self._plane(rng)

    def _photo(self, rng: np.random.Generator) -> Image:
        return read_photo(self.photo(rng))

    def _plane(self, rng: np.random.Generator) -> Pair:
        photo, size = self._photo(rng), self.augmentation.crop
        matrices = view_matrices(photo.shape[1], photo.shape[0], self.augmentation, rng)
        first, second = (photo_view(photo, matrix, size) for matrix in matrices)
        h_0_to_1 = matrices[1] @ np.linalg.inv(matrices[0])
        positions = tuple(_moved(h, self.centres, size) for h in (h_0_to_1, np.linalg.inv(h_0_to_1)))
        return Pair((first, second), (positions[0], positions[1]))

    def _scene(self, rng: np.random.Generator) -> Pair:
        scenes, size = self.recipe.scenes, self.augmentation.crop
        scene = draw_scene(
            [self._photo(rng) for _ in range(scenes.photos)],
            size,
            self.centres,
            rng,
            baseline=scenes.baseline,
            zoom=scenes.zoom,
            light=scenes.light,
        )
        return Pair(scene.images, (scene.to1, scene.to0))

    def _known(self, pair: Pair, side: int) -> NDArray[np.bool_]:
        return np.ones(len(self.centres), bool) if pair.known is None else pair.known[side]

    def _degraded(self, view: Image, rng: np.random.Generator) -> Image:
        return degrade(change_light(view, self.recipe.light, rng), self.augmentation, rng)


def _moved(h: Array, points: Array, size: int) -> Array:
    """Where a homography takes points; nan for outside the view."""
    positions = apply_homography(h, points)
    return np.where(inside(positions, size, size)[:, None], positions, np.nan)
