"""Training descriptors from a frozen teacher, on single photos (docs/method.md, "Distillation").

    >>> from pathlib import Path
    >>> from gcm.distillation import distill, load_recipe
    >>> distill(load_recipe(Path("recipe.yml")), Path("photos"), Path("run"))

Names are imported when first used: a recipe is read without torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcm.distillation.recipe import AugmentationRecipe as AugmentationRecipe
    from gcm.distillation.recipe import DistillRecipe as DistillRecipe
    from gcm.distillation.recipe import find_recipe as find_recipe
    from gcm.distillation.recipe import load_recipe as load_recipe
    from gcm.distillation.teachers import create_teacher as create_teacher
    from gcm.distillation.trainer import TrainingProgress as TrainingProgress
    from gcm.distillation.trainer import distill as distill

_HOMES = {
    "AugmentationRecipe": "recipe",
    "DistillRecipe": "recipe",
    "TrainingProgress": "trainer",
    "create_teacher": "teachers",
    "distill": "trainer",
    "find_recipe": "recipe",
    "load_recipe": "recipe",
}

__all__ = [
    "AugmentationRecipe",
    "DistillRecipe",
    "TrainingProgress",
    "create_teacher",
    "distill",
    "find_recipe",
    "is_leader",
    "load_recipe",
]


def is_leader() -> bool:
    """Whether this process is the one of those a launcher started that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gcm.distillation.{_HOMES[name]}"), name)
