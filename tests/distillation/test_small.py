"""The small network keeps the compact one's coarser layers, and comes to feed them as they were fed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from gcm.backbones.compact import CompactNetwork
from gcm.backbones.registry import create_backbone
from gcm.distillation.small import SLIM
from gcm.weights.store import resolve_weights
from gcm_cli.app import app

TRUNK = ("stage8.1", "stage16", "stage32", "across32", "across16", "across8", "fuse8", "head8")
SHORT = (
    "--device",
    "cpu",
    "--workers",
    "0",
    "--set",
    "augmentation.crop=64",
    "--set",
    "warmup_steps=2",
    "--set",
    "validate_every=5",
    "--set",
    "batch_size=2",
)


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slim") / "student.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(CompactNetwork(SLIM).state_dict(), path)
    return path


def test_the_command_trains_all_but_the_trunk(slim: Path, photos: Path, tmp_path: Path) -> None:
    command = ["distill", "small", "--photos", str(photos), "-o", str(tmp_path / "run"), "--steps", "40"]
    done = CliRunner().invoke(app, [*command, "--set", f"slim={slim}", *SHORT])
    assert done.exit_code == 0, done.stderr
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        losses = [float(row["validation_loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.9 * losses[0]
    student = load_file(tmp_path / "run" / "student.safetensors")
    compact, start = load_file(resolve_weights("gcm_compact")), load_file(slim)
    for name in student:
        if name.startswith(TRUNK):
            assert torch.equal(student[name], compact[name].to(student[name].dtype)), name
    assert student["fuse2.0.weight"].shape == start["fuse2.0.weight"].shape
    assert not torch.equal(student["fuse2.0.weight"], start["fuse2.0.weight"])
    # What was trained can be matched with.
    create_backbone("GCM_SMALL", weights=tmp_path / "run" / "student.safetensors")


def test_what_it_imitates_must_be_given(photos: Path, tmp_path: Path) -> None:
    command = ["distill", "small", "--photos", str(photos), "-o", str(tmp_path / "run"), *SHORT]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "gcm distill slim --photos" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    wrong = tmp_path / "wrong.safetensors"
    save_file({"a": torch.zeros(1)}, wrong)
    done = CliRunner().invoke(app, [*command, "--set", f"slim={wrong}"])
    assert done.exit_code != 0
    assert "wrong.safetensors" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_embedded_network_agrees_with_the_compact_one(photo: torch.Tensor) -> None:
    """It is the compact network's coarse map that it gives, from half of the work."""
    maps = []
    for name in ("GCM_SMALL", "GCM_COMPACT"):
        backbone = create_backbone(name)
        x = torch.as_tensor(photo).float().mean(dim=2)[None, None]
        x = (x - x.mean()) / x.std()
        with torch.no_grad():
            maps.append(backbone.coarsest(x[..., : x.shape[-2] // 32 * 32, : x.shape[-1] // 32 * 32]))
    similarity = torch.cosine_similarity(*maps, dim=1)
    assert similarity.mean() > 0.9
