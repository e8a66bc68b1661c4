"""What a run optimises: a student, the batches it sees and the loss they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from gcm.backbones.compact import COMPACT, CompactNetwork
from gcm.backbones.context import ContextNetwork, ContextStream
from gcm.backbones.r2d2 import PatchNetwork
from gcm.distillation.attention import AttentionObjective
from gcm.distillation.data import Batch, CropDataset
from gcm.distillation.losses import cosine_loss, pyramid_loss
from gcm.distillation.matching import cell_matching_loss, dense_matching_loss, share_found, window_loss
from gcm.distillation.pairs import CELL, PairBatch, PairDataset
from gcm.distillation.recipe import DistillRecipe
from gcm.distillation.sampled import sampled_forward
from gcm.distillation.small import SLIM, SmallObjective
from gcm.distillation.starts import load_xfeat, start_context
from gcm.distillation.steps import Steps
from gcm.distillation.teachers import create_teacher
from gcm.distillation.view_objective import ViewObjective
from gcm.distillation.view_pairs import ViewBatch
from gcm.errors import ConfigError
from gcm.images.network_input import standardise
from gcm.images.normalisation import NORMALISATIONS
from gcm.refinement.maps import points_to_cells

__all__ = ["Objective", "create_objective"]


class Objective(Protocol):
    """A student and how it learns."""

    @property
    def student(self) -> nn.Module:
        """What is trained."""

    def batches(self, steps: Steps) -> Dataset[Any]:
        """The batches of some steps, each a function of (seed, step) alone."""

    def begin(self, photos: list[Path]) -> dict[str, Tensor]:
        """Give the student the weights it starts from; called once, where a run begins.

        Returns:
            The weights that `blend` keeps a part of.
        """

    def prepare(self) -> None:
        """Load the teacher; called once before training."""

    def loss(self, batch: Any, step: int) -> Tensor:
        """Scalar; `step` seeds what is drawn at random."""

    def held_out_loss(self, batch: Any, step: int) -> Tensor:
        """What the best student has least of on held-out photos."""


def create_objective(recipe: DistillRecipe, device: torch.device) -> Objective:
    """The objective a recipe asks for.

    Raises:
        ConfigError: crops too small for it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if recipe.student in ("compact", "slim"):
            return CompactObjective(recipe, device)
        if recipe.student == "small":
            return SmallObjective(recipe, device)
        if recipe.student == "context":
            return ContextObjective(recipe, device)
        if recipe.student == "attention":
            return AttentionObjective(recipe, device)
        return PatchObjective(recipe, device)


class PatchObjective:
    """A patch network that imitates its teacher's dense descriptors, clean crop against degraded ones."""

    def __init__(self, recipe: DistillRecipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        student = PatchNetwork()
        crop = recipe.augmentation.crop
        samples = -(-(crop - sum(student.margins)) // recipe.sample_step)
        if samples < 2**recipe.pooled_levels:
            raise ConfigError(
                f"crops of {crop} px give {max(0, samples)} samples a side at sample_step "
                f"{recipe.sample_step}, too few for pooled_levels {recipe.pooled_levels}; use larger crops"
            )
        self.student = student.to(device).to(memory_format=torch.channels_last)

    def batches(self, steps: Steps) -> CropDataset:
        return CropDataset(steps, self.recipe)

    def begin(self, photos: list[Path]) -> dict[str, Tensor]:
        return self.student.state_dict()

    def prepare(self) -> None:
        recipe = self.recipe
        self.teacher = create_teacher(recipe.teacher, weights=recipe.teacher_weights, device=self.device)

    def held_out_loss(self, batch: Batch, step: int) -> Tensor:
        return self.loss(batch, step)

    def loss(self, batch: Batch, step: int) -> Tensor:
        spacing = self.recipe.sample_step
        before, after = self.student.margins
        size = batch.clean.shape[-1]
        target = self.teacher(batch.clean)[
            ..., before : size - after : spacing, before : size - after : spacing
        ]
        variants = batch.degraded.shape[0]
        x = standardise(batch.degraded.to(self.device), NORMALISATIONS[self.recipe.normalisation])
        x = (x * batch.gain.to(self.device) + batch.offset.to(self.device)).flatten(0, 1)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            described = sampled_forward(self.student, x, spacing)
        return pyramid_loss(
            described,
            target.clone().repeat(variants, 1, 1, 1),
            levels=self.recipe.pooled_levels,
            weight=self.recipe.pooled_weight,
        )


class CompactObjective(ViewObjective):
    """The compact network, or a slim one, on view pairs.

    Its coarse map imitates the teacher's, and every level must match.
    """

    def __init__(self, recipe: DistillRecipe, device: torch.device) -> None:
        super().__init__(recipe, device)
        network = CompactNetwork(SLIM if recipe.student == "slim" else COMPACT)
        self.student = network.to(device).to(memory_format=torch.channels_last)

    def begin(self, photos: list[Path]) -> dict[str, Tensor]:
        return self.student.state_dict()

    def prepare(self) -> None:
        self.teacher = create_teacher(self.recipe.teacher, device=self.device)

    def loss(self, batch: ViewBatch, step: int) -> Tensor:
        recipe = self.recipe
        n = batch.degraded.shape[1]
        x = self.spoilt_views(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            map2, map4, map8 = self.student(x)
            map1 = self.student.pixels(map2)
        loss = cosine_loss(map8, self.teacher(batch.clean.flatten(0, 1)))
        h = batch.h_0_to_1.to(self.device)
        coarse = dense_matching_loss(map8[:n], map8[n:], h, stride=8, temperature=recipe.temperature)
        loss = loss + recipe.matching_weight * coarse
        both = torch.cat([h, torch.linalg.inv(h.double()).float()])
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        for stride, level in ((4, map4), (2, map2), (1, map1)):
            fine = window_loss(
                level,
                torch.cat([level[n:], level[:n]]),
                both,
                stride=stride,
                samples=recipe.window_samples,
                side=recipe.window,
                temperature=recipe.temperature,
                generator=generator,
            )
            loss = loss + recipe.window_weight * fine
        return loss


class ContextObjective:
    """The second stream of the coarse map, on pairs of planes and of scenes with depth, in changing light.

    It must match, and it must not forget: in whatever light it describes what its teacher, whose weights it
    started from, sees in the clean view.
    """

    def __init__(self, recipe: DistillRecipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.student = ContextNetwork().to(device).to(memory_format=torch.channels_last)

    def batches(self, steps: Steps) -> PairDataset:
        return PairDataset(steps, self.recipe)

    def begin(self, photos: list[Path]) -> dict[str, Tensor]:
        start_context(self.student, photos, self.recipe)
        return self.student.state_dict()

    def prepare(self) -> None:
        self.teacher = ContextStream().to(self.device).to(memory_format=torch.channels_last)
        load_xfeat(self.teacher)
        self.teacher.eval().requires_grad_(False)

    def held_out_loss(self, batch: PairBatch, step: int) -> Tensor:
        """The share of the true pairs of cells that are not each other's nearest."""
        n = batch.degraded.shape[1]
        maps = self.student.mix(self.student.streams(self._input(batch.degraded)))
        cells = points_to_cells(batch.positions.to(self.device), CELL)
        return 1 - share_found(maps[:n], maps[n:], cells[0], cells[1])

    def loss(self, batch: PairBatch, step: int) -> Tensor:
        recipe, n = self.recipe, batch.degraded.shape[1]
        x = self._input(batch.degraded)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            streams = self.student.streams(x)
            maps = self.student.mix(streams)
            with torch.no_grad():
                target = self.teacher(self._input(batch.clean).mean(dim=1, keepdim=True))
        cells = points_to_cells(batch.positions.to(self.device), CELL)
        matching = cell_matching_loss(maps[:n], maps[n:], cells[0], cells[1], temperature=recipe.temperature)
        context = streams[:, -target.shape[1] :]
        alone = cell_matching_loss(
            context[:n], context[n:], cells[0], cells[1], temperature=recipe.temperature
        )
        imitation = cosine_loss(context, target)
        return recipe.matching_weight * (matching + alone) + recipe.teacher_weight * imitation

    def _input(self, views: Tensor) -> Tensor:
        x = standardise(views.to(self.device), NORMALISATIONS[self.recipe.normalisation]).flatten(0, 1)
        return x.contiguous(memory_format=torch.channels_last)
