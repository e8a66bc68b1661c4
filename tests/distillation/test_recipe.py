"""Recipes are validated before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from gcm.config import config_folder
from gcm.distillation.recipe import DistillRecipe, load_recipe
from gcm.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yml"
    path.write_text(text)
    return path


def test_shipped_recipes_load() -> None:
    recipes = sorted((config_folder() / "distill").glob("*.yml"))
    assert recipes
    for path in recipes:
        assert isinstance(load_recipe(path), DistillRecipe)


def test_a_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, "teacher: r2d2\nsteps: 12\naugmentation: {crop: 96, scale: [100, 200]}\n")
    )
    assert (recipe.teacher, recipe.steps) == ("r2d2", 12)
    assert (recipe.augmentation.crop, recipe.augmentation.scale) == (96, (100, 200))
    assert recipe.batch_size == DistillRecipe.model_validate({}).batch_size


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("step: 12\n", "step: Extra inputs are not permitted (did you mean 'steps'?)"),
        (
            "augmentation: {crops: 96}\n",
            "augmentation.crops: Extra inputs are not permitted (did you mean 'crop'?)",
        ),
        ("teacher: superpoint\n", "teacher: "),
        ("steps: 0\n", "steps: "),
        ("held_out: 0.5\n", "held_out: "),
        ("learning_rate: -1\n", "learning_rate: "),
        ("precision: float8\n", "precision: "),
        ("augmentation: {crop: 10}\n", "augmentation.crop: "),
        ("augmentation: {noise_share: 1.5}\n", "augmentation.noise_share: "),
        ("augmentation: {scale: [300, 200]}\n", "augmentation.scale: must be two positive numbers"),
        ("augmentation: {scale: [0, 200]}\n", "augmentation.scale: must be two positive numbers"),
        ("", "a recipe is a list of 'key: value' lines"),
        ("- a\n", "a recipe is a list of 'key: value' lines"),
        ("steps: [1\nx", "not a YAML file"),
    ],
)
def test_bad_recipes_give_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_recipe(path)
    assert words in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_unreadable_recipes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        load_recipe(tmp_path / "none.yml")
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        load_recipe(tmp_path)
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ConfigError, match="not a YAML file"):
        load_recipe(tmp_path / "binary.yml")
