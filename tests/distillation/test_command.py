"""``gcm distill``: from a recipe file to weights, and again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gcm.distillation.recipe import DistillRecipe
from gcm_cli.app import app

pytestmark = pytest.mark.usefixtures("fake_teacher")


def test_trains_and_then_has_nothing_to_do(tiny: DistillRecipe, photos: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yml"
    recipe.write_text(yaml.safe_dump(tiny.model_dump(mode="json")))
    command = ["distill", str(recipe), "--photos", str(photos), "-o", str(tmp_path / "run"), "--json"]
    done = CliRunner().invoke(app, [*command, "--workers", "0"])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    weights = Path(told["weights"])
    assert told["steps"] == tiny.steps
    assert told["validation_loss"] > 0
    before = weights.stat().st_mtime_ns
    again = CliRunner().invoke(app, [*command, "--workers", "0"])
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["validation_loss"] is None
    assert weights.stat().st_mtime_ns == before


def test_an_unknown_recipe_is_one_line(photos: Path, tmp_path: Path) -> None:
    command = ["distill", "disk_pach", "--photos", str(photos), "-o", str(tmp_path / "run")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "did you mean 'disk_patch'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
