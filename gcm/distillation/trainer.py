"""The training loop: checkpoint, resume, validate, log.

A run folder holds ``recipe.yml``, ``log.csv`` (a row a validation), ``checkpoint.pt`` (everything
needed to go on) and ``student.safetensors`` (the best student so far).
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save
from torch.utils.data import DataLoader

from gcm.distillation.data import find_photos, split_photos
from gcm.distillation.objectives import create_objective
from gcm.distillation.process_group import Team, join_team
from gcm.distillation.recipe import DistillRecipe
from gcm.errors import ConfigError, DatasetError, OutputError, WeightsError
from gcm.storage.atomic import whole_file

__all__ = ["Progress", "distill"]

_CHECKPOINT = "checkpoint.pt"
_LOG = "log.csv"
_RECIPE = "recipe.yml"
_STUDENT = "student.safetensors"
_LOG_FIELDS = ("step", "seconds", "learning_rate", "training_loss", "validation_loss")

_SEEDS_APART = 1_000_003
"""Between the seeds of two processes' batches."""


@dataclass(frozen=True)
class Progress:
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
    device: str = "cpu",
    workers: int = 1,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train a student and return the path of its weights; goes on where an earlier run stopped.

    Started by `torchrun` or `accelerate launch` in several processes, each takes batches of its own (the
    recipe's size each), their gradients are averaged, and the first of them writes the files.

    Args:
        recipe: what to do.
        photos: folder of training photos (searched recursively).
        output: run folder, created where missing.
        device: torch device of teacher and student; of several processes, ``cuda`` is one for each.
        workers: processes that prepare crops.
        on_progress: called after every step.

    Raises:
        ConfigError: `output` holds a run of another recipe, the crops are too small, or there is no such
            device.
        WeightsError: the checkpoint in `output` is damaged, or the teacher's weights are.
        OutputError: `output` cannot be written.
        DatasetError: no photos, or none left beside the held-out ones.
    """
    with join_team(device) as team:
        run = _Run(recipe, photos, output, team, workers)
        run.resume()
        run.train(on_progress)
        team.wait()  # for the leader's last files
    return output / _STUDENT


class _Run:
    def __init__(self, recipe: DistillRecipe, photos: Path, output: Path, team: Team, workers: int) -> None:
        self.recipe = recipe
        self.output = output
        self.team = team
        self.workers = workers
        self.training_photos, self.held_out = split_photos(find_photos(photos), recipe.held_out)
        if not self.training_photos:
            raise DatasetError(f"{photos}: too few photos to hold some out; add photos or set held_out: 0")
        self.objective = create_objective(recipe, team.device)
        self.student = self.objective.student
        self.optimizer = torch.optim.AdamW(
            self.student.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.step = 0
        self.seconds = 0.0
        self.best = math.inf

    # -- state on disk -------------------------------------------------------------------------

    def resume(self) -> None:
        """Load the checkpoint of an earlier run of the same recipe, or begin."""
        if self.team.leads:
            self._claim_folder()
        self.team.wait()
        self._load()
        if self.team.leads:
            _truncate_log(self.output / _LOG, self.step)
        self.team.agree(self.student)

    def _claim_folder(self) -> None:
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.output}: cannot be made ({error.strerror}); choose another") from error
        recipe_file = self.output / _RECIPE
        mine = self.recipe.model_dump(mode="json")
        if recipe_file.exists():
            if _read_yaml(recipe_file) != mine:
                raise ConfigError(
                    f"{self.output}: holds a run of another recipe; choose another --output or remove it"
                )
        else:
            with whole_file(recipe_file) as path:
                path.write_text(yaml.safe_dump(mine, sort_keys=False))

    def _load(self) -> None:
        checkpoint = self.output / _CHECKPOINT
        if not checkpoint.exists():
            return
        try:
            state: dict[str, Any] = torch.load(checkpoint, map_location=self.team.device, weights_only=True)
            self.student.load_state_dict(state["student"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        except Exception as error:  # what damaged bytes make the readers raise has no end
            raise WeightsError(f"{checkpoint}: damaged; remove it to begin the run again") from error

    def _save(self) -> None:
        state = {
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
        }
        # Given a name, torch reports a full disk as an error of its own making.
        with whole_file(self.output / _CHECKPOINT) as path, path.open("wb") as file:
            torch.save(state, file)

    def _save_student(self) -> None:
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.student.state_dict().items()}
        with whole_file(self.output / _STUDENT) as path:
            path.write_bytes(save(tensors))

    # -- training ------------------------------------------------------------------------------

    def train(self, on_progress: Callable[[Progress], None]) -> None:
        recipe = self.recipe
        if self.step >= recipe.steps:
            return
        self.objective.prepare()
        validation = math.nan
        running = 0.0
        counted = 0
        started = time.perf_counter()
        # A seed for each process, so that each draws other batches; the first draws those of a lone one.
        seed = recipe.seed + _SEEDS_APART * self.team.rank
        for batch in self._loader(self.training_photos, seed, recipe.steps, self.step):
            rate = self._learning_rate()
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.student.train()
            loss = self.objective.loss(batch, self.step)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.team.average_gradients(self.student)
            self.optimizer.step()
            self.step += 1
            loss = loss.detach().reshape(1)
            self.team.average([loss])
            running += float(loss)
            counted += 1
            last = self.step == recipe.steps
            validates = last or self.step % recipe.validate_every == 0
            saves = last or self.step % recipe.checkpoint_every == 0
            if validates or saves:
                self.team.average_statistics(self.student)
            if not self.team.leads:
                continue
            if validates:
                validation = self._validate()
                self.seconds += time.perf_counter() - started
                started = time.perf_counter()
                self._log(rate, running / counted, validation)
                if not validation >= self.best:
                    self.best = validation
                    self._save_student()
            if saves:
                self._save()
            on_progress(Progress(self.step, recipe.steps, running / counted, validation))
            if self.step % recipe.validate_every == 0:
                running, counted = 0.0, 0

    def _learning_rate(self) -> float:
        recipe = self.recipe
        if self.step < recipe.warmup_steps:
            return recipe.learning_rate * (self.step + 1) / recipe.warmup_steps
        done = (self.step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
        span = recipe.learning_rate - recipe.final_learning_rate
        return recipe.final_learning_rate + 0.5 * span * (1 + math.cos(math.pi * done))

    def _loader(self, photos: list[Path], seed: int, steps: int, first: int) -> DataLoader[Any]:
        batches = self.objective.batches(photos, seed=seed, steps=steps, first=first)
        # Its own generator: the loader would otherwise draw from the caller's random numbers.
        generator = torch.Generator().manual_seed(seed)
        return DataLoader(batches, batch_size=None, num_workers=self.workers, generator=generator)

    @torch.no_grad()
    def _validate(self) -> float:
        """Mean loss over crops of held-out photos, the same ones every time."""
        if not self.held_out:
            return math.nan
        self.student.eval()
        losses = [
            float(self.objective.loss(batch, step))
            for step, batch in enumerate(
                self._loader(self.held_out, self.recipe.seed + 1, self.recipe.validation_batches, 0)
            )
        ]
        return sum(losses) / len(losses)

    def _log(self, rate: float, training: float, validation: float) -> None:
        log = self.output / _LOG
        new = not log.exists()
        with log.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(_LOG_FIELDS)
            writer.writerow(
                [self.step, f"{self.seconds:.1f}", f"{rate:.3e}", f"{training:.5f}", f"{validation:.5f}"]
            )


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


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
        path.write_text("\n".join(kept) + "\n", encoding="utf-8")
