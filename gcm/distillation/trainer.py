"""The training loop: checkpoint, resume, validate, log.

A run folder holds ``recipe.yml``, ``log.csv`` (a row a validation), ``checkpoint.pt`` (everything
needed to go on) and ``student.safetensors`` (the best student so far).
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save

from gcm.distillation.data import split_photos
from gcm.distillation.interrupts import held_interrupts, load_ahead
from gcm.distillation.objectives import create_objective
from gcm.distillation.process_group import ProcessGroup, join_process_group
from gcm.distillation.real_pairs import NO_REAL_PAIRS
from gcm.distillation.real_sources import OnPrepare, gather_real_pairs
from gcm.distillation.recipe import DistillRecipe, load_recipe
from gcm.distillation.steps import Steps
from gcm.errors import ConfigError, DatasetError, OutputError, WeightsError
from gcm.images.folders import find_photos
from gcm.storage.atomic import whole_file

__all__ = ["TrainingProgress", "distill"]

_CHECKPOINT = "checkpoint.pt"
_LOG = "log.csv"
_RECIPE = "recipe.yml"
_STUDENT = "student.safetensors"
_LOG_FIELDS = ("step", "seconds", "learning_rate", "training_loss", "validation_loss")

_SEEDS_APART = 1_000_003
"""Between the seeds of two processes' batches."""


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run stands after a step; `validation_loss` is the latest, NaN before the first."""

    step: int
    steps: int
    training_loss: float
    validation_loss: float


def distill(
    recipe: DistillRecipe,
    photos: Path,
    output: Path,
    *,
    device: str | None = None,
    workers: int = 1,
    on_progress: Callable[[TrainingProgress], None] = lambda _: None,
    on_prepare: OnPrepare = lambda preparation: None,
) -> Path:
    """Train a student and return the path of its weights; goes on where an earlier run stopped.

    Started by `torchrun` or `accelerate launch` in several processes, each takes batches of its own (the
    recipe's size each), their gradients are averaged, and the first of them writes the files.

    Ctrl-C lets the step at hand finish and saves a checkpoint of it (of several processes, the last regular
    one stands) before the KeyboardInterrupt goes on.

    Args:
        recipe: what to do.
        photos: folder of training photos (searched recursively).
        output: run folder, created where missing.
        device: torch device of teacher and student, the best there is when None; of several processes,
            ``cuda`` is one for each.
        workers: processes that prepare crops.
        on_progress: called after every step.
        on_prepare: called while real pairs are made ready, before the first step.

    Raises:
        UsageError: there is no such device.
        ConfigError: `output` holds a run of another recipe, or the crops are too small.
        WeightsError: the checkpoint in `output` is damaged, or the teacher's weights are.
        OutputError: `output` cannot be written.
        DatasetError: no photos, or none left beside the held-out ones; a folder of real pairs is wrong.
        DependencyError: what labels photos is not installed.
    """
    with join_process_group(device) as group:
        training = _Training(recipe, photos, output, group, workers)
        training.resume()
        training.train(on_progress, on_prepare)
        group.barrier()  # for the leader's last files
    return output / _STUDENT


class _Training:
    """A run: the student, its optimiser, and where it stands."""

    def __init__(
        self, recipe: DistillRecipe, photos: Path, output: Path, group: ProcessGroup, workers: int
    ) -> None:
        self.recipe = recipe
        self.output = output
        self.group = group
        self.workers = workers
        self.training_photos, self.held_out = split_photos(find_photos(photos), recipe.held_out)
        if not self.training_photos:
            raise DatasetError(f"{photos}: too few photos to hold some out; add photos or set held_out: 0")
        self.objective = create_objective(recipe, group.device)
        self.student = self.objective.student
        self.optimizer = torch.optim.AdamW(
            self.student.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.real, self.real_held_out = NO_REAL_PAIRS, NO_REAL_PAIRS
        self.start: dict[str, torch.Tensor] = {}
        """What the student started from, where a part of that stays in what is written."""
        self.step = 0
        self.validated_step = 0
        self.seconds = 0.0
        self.started = time.perf_counter()
        self.best = math.inf
        self.validation_loss = math.nan
        # Of the training since the last validation.
        self.loss_sum = 0.0
        self.loss_count = 0

    # -- state on disk -------------------------------------------------------------------------

    def resume(self) -> None:
        """Load the checkpoint of an earlier run of the same recipe, or begin."""
        if self.group.is_leader:
            self._claim_folder()
        self.group.barrier()
        self._load()
        if self.group.is_leader:
            _truncate_log(self.output / _LOG, self.validated_step)
        self.group.broadcast(self.student)

    def _claim_folder(self) -> None:
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.output}: cannot be made ({error.strerror}); choose another") from error
        recipe_file = self.output / _RECIPE
        values = self.recipe.model_dump(mode="json")
        # A recipe alone, of a start that failed or was stopped at once, holds nothing that could be lost.
        if not any((self.output / name).exists() for name in (_CHECKPOINT, _LOG, _STUDENT)):
            with whole_file(recipe_file) as path:
                path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8", newline="\n")
        elif not _holds(recipe_file, self.recipe):
            raise ConfigError(
                f"{self.output}: holds a run of another recipe; choose another --output or remove it"
            )

    def _load(self) -> None:
        checkpoint = self.output / _CHECKPOINT
        if not checkpoint.exists():
            start = self.objective.begin(self.training_photos)
            if self.recipe.blend < 1:
                self.start = {name: tensor.detach().clone() for name, tensor in start.items()}
            return
        try:
            state: dict[str, Any] = torch.load(checkpoint, map_location=self.group.device, weights_only=True)
            self.student.load_state_dict(state["student"])
            self.start = state.get("start", {})
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
            # Checkpoints of before these were kept were written after validation only.
            self.validated_step = state.get("validated_step", self.step)
            self.loss_sum, self.loss_count = state.get("loss_sum", 0.0), state.get("loss_count", 0)
        except Exception as error:  # what damaged bytes make the readers raise has no end
            raise WeightsError(f"{checkpoint}: damaged; remove it to begin the run again") from error

    def _save(self) -> None:
        state = {
            "student": self.student.state_dict(),
            "start": self.start,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "validated_step": self.validated_step,
            "seconds": self.seconds,
            "best": self.best,
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
        }
        # Given a name, torch reports a full disk as an error of its own making.
        with whole_file(self.output / _CHECKPOINT) as path, path.open("wb") as file:
            torch.save(state, file)

    def _save_student(self) -> None:
        tensors = {
            k: self._blended(k, v).detach().cpu().contiguous() for k, v in self.student.state_dict().items()
        }
        with whole_file(self.output / _STUDENT) as path:
            path.write_bytes(save(tensors))

    def _blended(self, name: str, trained: torch.Tensor) -> torch.Tensor:
        """A tensor of the student, or the mean of it and of what it started from."""
        if name not in self.start or not trained.is_floating_point():
            return trained
        return torch.lerp(self.start[name].to(trained), trained, self.recipe.blend)

    # -- training ------------------------------------------------------------------------------

    def train(self, on_progress: Callable[[TrainingProgress], None], on_prepare: OnPrepare) -> None:
        """Take the steps that are left."""
        if self.step >= self.recipe.steps and self.validated_step >= self.step:
            return
        self.real, self.real_held_out = gather_real_pairs(self.recipe, on_prepare, self.group)
        self.objective.prepare()
        self.started = time.perf_counter()
        try:
            if self.group.is_leader and self._validation_is_due():  # stopped in the middle of it
                self._validate()
            self._take_steps(on_progress)
        except KeyboardInterrupt:
            if self.group.world_size == 1:
                self._stop_the_clock()
                with held_interrupts():
                    self._save()
                    on_progress(self._progress())
            raise

    def _take_steps(self, on_progress: Callable[[TrainingProgress], None]) -> None:
        recipe = self.recipe
        # A seed for each process, so that each draws other batches; the first draws those of a lone one.
        seed = recipe.seed + _SEEDS_APART * self.group.rank
        batches = self._batches(Steps(self.training_photos, seed, recipe.steps, self.step, self.real))
        with closing(batches):
            for batch in batches:
                with held_interrupts():
                    self._take_step(batch)
                validates = self._validation_is_due()
                saves = self.step == recipe.steps or self.step % recipe.checkpoint_every == 0
                if validates or saves:
                    self.group.average_statistics(self.student)
                if not self.group.is_leader:
                    continue
                training_loss = self._progress().training_loss
                if validates:
                    self._validate()
                if saves:
                    with held_interrupts():
                        self._save()
                on_progress(replace(self._progress(), training_loss=training_loss))

    def _take_step(self, batch: Any) -> None:
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = self._learning_rate(self.step)
        self.student.train()
        loss = self.objective.loss(batch, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.group.average_gradients(self.student)
        self.optimizer.step()
        self.step += 1
        loss = loss.detach().reshape(1)
        self.group.average([loss])
        self.loss_sum += float(loss)
        self.loss_count += 1

    def _progress(self) -> TrainingProgress:
        loss = self.loss_sum / self.loss_count if self.loss_count else math.nan
        return TrainingProgress(self.step, self.recipe.steps, loss, self.validation_loss)

    def _learning_rate(self, step: int) -> float:
        recipe = self.recipe
        if step < recipe.warmup_steps:
            return recipe.learning_rate * (step + 1) / recipe.warmup_steps
        done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
        span = recipe.learning_rate - recipe.final_learning_rate
        return recipe.final_learning_rate + 0.5 * span * (1 + math.cos(math.pi * done))

    def _batches(self, steps: Steps) -> Generator[Any, None, None]:
        return load_ahead(self.objective.batches(steps), workers=self.workers, seed=steps.seed)

    # -- validation ----------------------------------------------------------------------------

    def _validation_is_due(self) -> bool:
        due = self.step == self.recipe.steps or self.step % self.recipe.validate_every == 0
        return due and self.validated_step < self.step

    def _validate(self) -> None:
        """Measure, log, and keep the student when it is the best so far."""
        loss = self._validation_loss()
        with held_interrupts():
            self.validation_loss = loss
            self._stop_the_clock()
            self._log(self.loss_sum / max(1, self.loss_count))
            self.validated_step = self.step
            self.loss_sum, self.loss_count = 0.0, 0
            if not loss >= self.best:
                self.best = loss
                self._save_student()

    @torch.no_grad()
    def _validation_loss(self) -> float:
        """Mean loss over crops of held-out photos, the same ones every time."""
        if not self.held_out:
            return math.nan
        self.student.eval()
        steps = Steps(
            self.held_out, self.recipe.seed + 1, self.recipe.validation_batches, real=self.real_held_out
        )
        batches = self._batches(steps)
        with closing(batches):
            losses = [float(self.objective.held_out_loss(batch, step)) for step, batch in enumerate(batches)]
        return sum(losses) / len(losses)

    def _stop_the_clock(self) -> None:
        now = time.perf_counter()
        self.seconds += now - self.started
        self.started = now

    def _log(self, training_loss: float) -> None:
        log = self.output / _LOG
        new = not log.exists()
        rate = self._learning_rate(self.step - 1)
        row = [f"{self.seconds:.1f}", f"{rate:.3e}", f"{training_loss:.5f}", f"{self.validation_loss:.5f}"]
        with log.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(_LOG_FIELDS)
            writer.writerow([self.step, *row])


def _holds(path: Path, recipe: DistillRecipe) -> bool:
    """Whether a run's recipe is this one; keys that came later than the run stand at their defaults."""
    try:
        return load_recipe(path) == recipe
    except ConfigError:
        return False


def _truncate_log(log: Path, step: int) -> None:
    """Drop rows a killed run wrote after its last checkpoint, or only in part: each step appears once."""
    if not log.exists():
        return
    lines = log.read_text(encoding="utf-8").splitlines()
    rows = [(line, line.split(",")) for line in lines[1:]]
    kept = lines[:1] + [
        line for line, cells in rows if len(cells) == len(_LOG_FIELDS) and int(cells[0]) <= step
    ]
    with whole_file(log) as path:
        path.write_text("\n".join(kept) + "\n", encoding="utf-8", newline="\n")
