"""Training in two processes, started as `torchrun` and `accelerate launch` start them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from gcm.distillation import is_leader
from gcm.distillation.process_group import ProcessGroup, join_process_group
from gcm.distillation.recipe import DistillRecipe
from gcm.errors import UsageError
from gcm.features.device import choose_device

SCRIPT = """
import os, sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from conftest import colours
from gcm.distillation import objectives, trainer
from gcm.distillation.recipe import load_recipe
objectives.create_teacher = lambda *_, **__: colours
torch.set_num_threads(1)
photos, output, seen = (Path(a) for a in sys.argv[1:])
original = trainer._Training.train
def train(self, *callbacks):
    original(self, *callbacks)
    torch.save(self.student.state_dict(), seen / f"{{self.group.rank}}.pt")
trainer._Training.train = train
def watch(progress):
    if progress.step == int(os.environ.get("STOP", 0)):
        os._exit(9)  # as a kill would
recipe = load_recipe(output.parent / "recipe.yml")
trainer.distill(recipe, photos, output, device="cpu", workers=0, on_progress=watch)
"""


def run_in_two(tmp_path: Path, photos: Path, recipe: DistillRecipe, output: Path, *, stop: int = 0) -> None:
    (tmp_path / "recipe.yml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, str(script), str(photos), str(output), str(tmp_path)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "STOP": str(stop)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=settings, check=False)
    assert (done.returncode != 0) == bool(stop), done.stderr[-2000:]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in second)


@pytest.mark.e2e
def test_two_processes_train_one_student(photos: Path, tiny: DistillRecipe, tmp_path: Path) -> None:
    output = tmp_path / "run"
    run_in_two(tmp_path, photos, tiny, output)
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert same(*states)
    saved = torch.load(output / "checkpoint.pt", weights_only=True)
    assert same(saved["student"], states[0])
    assert saved["step"] == 6
    with (output / "log.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["3", "6"]  # one of them writes
    assert set(load_file(output / "student.safetensors")) == set(states[0])
    # Killed after step 5, of which the checkpoint is step 4's, and started again: the same student.
    other = tmp_path / "other"
    run_in_two(tmp_path, photos, tiny, other, stop=5)
    assert torch.load(other / "checkpoint.pt", weights_only=True)["step"] == 4
    run_in_two(tmp_path, photos, tiny, other)
    assert same(torch.load(other / "checkpoint.pt", weights_only=True)["student"], saved["student"])


def test_without_a_launcher_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert is_leader()
    with join_process_group("cpu") as group:
        assert group == ProcessGroup(0, 1, torch.device("cpu"))
        values = [torch.ones(3), torch.zeros(2, 2)]
        group.average(values)  # none to wait for
        group.barrier()
        assert torch.equal(values[0], torch.ones(3))
    with join_process_group(None) as group:
        assert group.device == choose_device(None)[0]
    with pytest.raises(UsageError, match="not available"), join_process_group("cuda:77"):
        pass
    monkeypatch.setenv("RANK", "1")
    assert not is_leader()
