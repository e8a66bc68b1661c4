"""The batches of a run's steps, whatever is in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch.utils.data import Dataset

from gcm.distillation.real_pairs import NO_REAL_PAIRS, RealPairs
from gcm.distillation.recipe import DistillRecipe

__all__ = ["StepDataset", "Steps"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Steps:
    """Some steps of a run, and what their batches are drawn from."""

    photos: list[Path]
    seed: int
    end: int
    """The first step that is not one of them."""
    first: int = 0
    real: RealPairs = NO_REAL_PAIRS
    """For students that learn from pairs; a recipe gives no others any."""


class StepDataset(Dataset[Item]):
    """Batches by step; item `i` is that of step ``steps.first + i``, a function of (seed, step) alone."""

    def __init__(self, steps: Steps, recipe: DistillRecipe) -> None:
        self.steps = steps
        self.recipe = recipe
        self.augmentation = recipe.augmentation

    def __len__(self) -> int:
        return max(0, self.steps.end - self.steps.first)

    def generator(self, index: int) -> np.random.Generator:
        """The random numbers of an item."""
        return np.random.default_rng([self.steps.seed, self.steps.first + index])

    def photo(self, rng: np.random.Generator) -> Path:
        """One of the photos."""
        return self.steps.photos[int(rng.integers(len(self.steps.photos)))]
