"""What students that learn from two views of a single photo have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from gcm.distillation.recipe import DistillRecipe
from gcm.distillation.steps import Steps
from gcm.distillation.view_pairs import ViewBatch, ViewDataset
from gcm.images.network_input import standardise
from gcm.images.normalisation import NORMALISATIONS

__all__ = ["ViewObjective"]


class ViewObjective:
    """Base of an :class:`gcm.distillation.objectives.Objective`: views, and the student's input of them."""

    def __init__(self, recipe: DistillRecipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device

    def batches(self, steps: Steps) -> ViewDataset:
        """Batches of views, two of each photo."""
        return ViewDataset(steps, self.recipe)

    def loss(self, batch: ViewBatch, step: int) -> Tensor:
        """Scalar; see the subclasses."""
        raise NotImplementedError

    def held_out_loss(self, batch: ViewBatch, step: int) -> Tensor:
        """As :meth:`loss`."""
        return self.loss(batch, step)

    def spoilt_views(self, batch: ViewBatch) -> Tensor:
        """2 N x 3 x S x S: the first views of all photos, then the second ones, as the student sees them."""
        x = standardise(batch.degraded.to(self.device), NORMALISATIONS[self.recipe.normalisation])
        return x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
