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
        ("rgbd: {folder: [a]}\n", "rgbd.folder: Extra inputs are not permitted (did you mean 'folders'?)"),
        ("rgbd: {folders: 3}\n", "rgbd.folders: "),
        ("collections: {teachers: [sift]}\n", "collections.teachers"),
        (
            "student: context\nrgbd: {folders: [a], share: 0.6}\ncollections: {folders: [b], share: 0.5}\n",
            "rgbd.share and collections.share: together more than 1",
        ),
        ("student: compact\nrgbd: {folders: [a]}\n", "rgbd.folders: student compact learns from single"),
        (
            "student: context\naugmentation: {crop: 250}\n",
            "augmentation.crop: 250 is no multiple of 32, as student context needs; use 224 or 256",
        ),
        (
            "student: attention\naugmentation: {crop: 66}\n",
            "66 is no multiple of 8, as student attention needs; use 64 or 72",
        ),
        ("augmentation: {scale: [0, 200]}\n", "augmentation.scale: must be two positive numbers"),
        ("", "holds no 'key: value' lines"),
        ("- a\n", "holds no 'key: value' lines"),
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
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(tmp_path / "none.yml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(tmp_path)
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ConfigError, match="not a YAML file"):
        load_recipe(tmp_path / "binary.yml")


def test_changes_go_through_the_same_checks(tmp_path: Path) -> None:
    path = write(tmp_path, "steps: 12\naugmentation: {crop: 96, blur: 1.0}\n")
    recipe = load_recipe(path, {"steps": 7, "augmentation.blur": 3, "seed": 4})
    assert (recipe.steps, recipe.seed, recipe.augmentation.blur, recipe.augmentation.crop) == (7, 4, 3.0, 96)
    bare = load_recipe(write(tmp_path, "steps: 12\n"), {"augmentation.blur": 3})
    assert bare.augmentation.blur == 3.0


@pytest.mark.parametrize("value", [["~/a", "b"], ("~/a", "b")])
def test_folders_are_a_list_or_one(tmp_path: Path, value: object) -> None:
    path = write(tmp_path, "student: context\n")
    assert load_recipe(path).rgbd.folders == ()
    recipe = load_recipe(path, {"rgbd.folders": value})
    assert recipe.rgbd.folders == (Path("~/a").expanduser(), Path("b"))
    assert load_recipe(path, {"rgbd.folders": "a b"}).rgbd.folders == (Path("a b"),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stepps": 3}, "stepps: Extra inputs are not permitted (did you mean 'steps'?)"),
        (
            {"augmentation.blurr": 3},
            "augmentation.blurr: Extra inputs are not permitted (did you mean 'blur'?)",
        ),
        ({"blur": 3}, "blur: Extra inputs are not permitted (did you mean 'augmentation.blur'?)"),
        ({"augmentation.blur": "much"}, "augmentation.blur: "),
        ({"augmentation": 3}, "augmentation: "),
        ({"steps.of": 3}, "steps.of: is no group of keys; those are augmentation, light, scenes, rgbd"),
        ({"steps": 0}, "steps: "),
    ],
)
def test_a_wrong_change_is_not_the_files_fault(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    path = write(tmp_path, "steps: 12\n")
    with pytest.raises(ConfigError) as error:
        load_recipe(path, changes)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)
