"""``gcm distill`` with pairs of real photos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import yaml
from typer.testing import CliRunner

from gcm.distillation.real_sources import gather_real_pairs
from gcm.distillation.recipe import DistillRecipe
from gcm_cli.app import app

HERE = ("--device", "cpu", "--workers", "0")


@pytest.fixture
def recipe_file(tiny: DistillRecipe, tmp_path: Path) -> Path:
    """A tiny run of student `context`."""
    file = tmp_path / "tiny.yml"
    values = tiny.model_dump(mode="json") | {"student": "context", "steps": 2, "validate_every": 2}
    file.write_text(yaml.safe_dump(values))
    return file


def test_a_sheet_of_frames(recipe_file: Path, photos: Path, sequence: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    command = ["distill", str(recipe_file), "--photos", str(photos), "--preview", str(sheet), "--json"]
    changes = ["--set", f"rgbd.folders=[{sequence}]", "--set", "rgbd.share=1"]
    done = CliRunner().invoke(app, [*command, *changes])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["preview"] == str(sheet)
    frames = cv2.imread(str(sheet))
    assert frames.shape == (4 * 64, 3 * 2 * 64, 3)
    assert CliRunner().invoke(app, command).exit_code == 0
    assert (cv2.imread(str(sheet)) != frames).any()


@pytest.mark.usefixtures("no_xfeat")
def test_training_on_frames(recipe_file: Path, photos: Path, sequence: Path, tmp_path: Path) -> None:
    command = ["distill", str(recipe_file), "--photos", str(photos), "-o", str(tmp_path / "run"), *HERE]
    changes = ["--set", f"rgbd.folders={sequence}", "--set", "rgbd.share=0.8"]
    done = CliRunner().invoke(app, [*command, *changes])
    assert done.exit_code == 0, done.stderr
    assert "held-out loss" in done.stderr
    used = yaml.safe_load((tmp_path / "run" / "recipe.yml").read_text())
    assert used["rgbd"]["folders"] == [str(sequence)]
    again = CliRunner().invoke(app, [*command, *changes])
    assert "was finished already" in again.stderr
    other = CliRunner().invoke(app, command)
    assert "holds a run of another recipe" in other.stderr


@pytest.mark.usefixtures("no_xfeat")
def test_a_run_from_before_there_were_real_pairs_goes_on(
    recipe_file: Path, photos: Path, tmp_path: Path
) -> None:
    command = ["distill", str(recipe_file), "--photos", str(photos), "-o", str(tmp_path / "run"), *HERE]
    assert CliRunner().invoke(app, command).exit_code == 0
    kept = tmp_path / "run" / "recipe.yml"
    values = yaml.safe_load(kept.read_text())
    del values["rgbd"]
    kept.write_text(yaml.safe_dump(values))
    assert "was finished already" in CliRunner().invoke(app, command).stderr


@pytest.mark.usefixtures("no_xfeat")
def test_a_wrong_folder_is_one_line(recipe_file: Path, photos: Path, tmp_path: Path) -> None:
    command = ["distill", str(recipe_file), "--photos", str(photos), "-o", str(tmp_path / "run"), *HERE]
    done = CliRunner().invoke(app, [*command, "--set", f"rgbd.folders=[{tmp_path / 'none'}]"])
    assert done.exit_code == 1
    assert "none: no such folder; an RGB-D sequence is a folder with" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_frames_held_out_are_in_no_pair_of_the_training(tiny: DistillRecipe, sequence: Path) -> None:
    rgbd = tiny.rgbd.model_copy(update={"folders": (sequence,)})
    recipe = tiny.model_copy(update={"student": "context", "rgbd": rgbd, "held_out": 0.3})
    training, held_out = gather_real_pairs(recipe)
    ((_, kept),), ((_, out),) = training.sources, held_out.sources
    assert {number for pair in kept.pairs for number in (pair.first, pair.second)} <= {1, 2, 4, 5}
    assert all({pair.first, pair.second} & {0, 3} for pair in out.pairs)
    everything, nothing = gather_real_pairs(recipe.model_copy(update={"held_out": 0.0}))
    assert len(everything.sources[0][1].pairs) == len(kept.pairs) + len(out.pairs)
    assert not nothing.sources
