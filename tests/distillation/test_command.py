"""``gcm distill``: from a recipe file to weights, and again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gcm.distillation.recipe import DistillRecipe
from gcm_cli.app import app

HERE = ("--device", "cpu", "--workers", "0")

pytestmark = pytest.mark.usefixtures("fake_teacher")


def test_trains_and_then_has_nothing_to_do(tiny: DistillRecipe, photos: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yml"
    recipe.write_text(yaml.safe_dump(tiny.model_dump(mode="json")))
    command = ["distill", str(recipe), "--photos", str(photos), "-o", str(tmp_path / "run"), "--json"]
    done = CliRunner().invoke(app, [*command, *HERE])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    weights = Path(told["weights"])
    assert told["steps"] == tiny.steps
    assert told["validation_loss"] > 0
    before = weights.stat().st_mtime_ns
    again = CliRunner().invoke(app, [*command, *HERE])
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["validation_loss"] is None
    assert weights.stat().st_mtime_ns == before


def test_an_unknown_recipe_is_one_line(photos: Path, tmp_path: Path) -> None:
    command = ["distill", "disk_pach", "--photos", str(photos), "-o", str(tmp_path / "run")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "did you mean 'disk_patch'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_steps_and_keys_are_set_on_the_command_line(
    tiny: DistillRecipe, photos: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "tiny.yml"
    recipe.write_text(yaml.safe_dump(tiny.model_dump(mode="json")))
    command = ["distill", str(recipe), "--photos", str(photos), "-o", str(tmp_path / "run"), "--json"]
    changes = [
        "--steps",
        "1",
        "--set",
        "augmentation.blur=3",
        "--set",
        "seed=5",
        "--device",
        "cpu",
        "--workers",
        "0",
    ]
    done = CliRunner().invoke(app, [*command, *changes])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 1
    used = yaml.safe_load((tmp_path / "run" / "recipe.yml").read_text())
    assert (used["steps"], used["seed"], used["augmentation"]["blur"]) == (1, 5, 3.0)
    wrong = CliRunner().invoke(app, [*command, "--set", "augmentation.blurr=3"])
    assert wrong.exit_code == 2
    assert "did you mean 'blur'" in wrong.stderr


def test_a_line_now_and_then_off_a_terminal(
    tiny: DistillRecipe, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gcm_cli.progress.SECONDS_BETWEEN_LINES", 0.0)
    recipe = tmp_path / "tiny.yml"
    recipe.write_text(yaml.safe_dump(tiny.model_dump(mode="json")))
    command = [
        "distill",
        str(recipe),
        "--photos",
        str(photos),
        "--steps",
        "2",
        "--device",
        "cpu",
        "--workers",
        "0",
    ]
    done = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "run")])
    assert done.exit_code == 0, done.stderr
    assert re.search(r"^loss [\d.]+: 1 of 2 \(50 %\)", done.stderr, re.MULTILINE)
    assert re.search(r"^loss [\d.]+, held out [\d.]+: 2 of 2 \(100 %\)", done.stderr, re.MULTILINE)
    quiet = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "again"), "--quiet"])
    assert (quiet.exit_code, quiet.stderr) == (0, "")
