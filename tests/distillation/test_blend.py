"""``blend``: what is written is a mean of what was learnt and of what was there before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gcm.distillation import distill
from gcm.distillation.recipe import DistillRecipe

pytestmark = pytest.mark.usefixtures("fake_teacher")


def test_half_of_the_way(tiny: DistillRecipe, photos: Path, tmp_path: Path) -> None:
    recipe = tiny.model_copy(update={"held_out": 0.0, "validate_every": tiny.steps})
    trained, half = (
        load_file(
            distill(
                recipe.model_copy(update={"blend": blend}),
                photos,
                tmp_path / str(blend),
                device="cpu",
                workers=0,
            )
        )
        for blend in (1.0, 0.5)
    )
    quarter = load_file(
        distill(recipe.model_copy(update={"blend": 0.25}), photos, tmp_path / "0.25", device="cpu", workers=0)
    )
    changed = [name for name in trained if not torch.equal(trained[name], half[name])]
    assert changed
    for name in changed:  # 1/4 of the way is the middle of the start and of half of it
        start = 2 * half[name] - trained[name]
        torch.testing.assert_close(quarter[name], 0.75 * start + 0.25 * trained[name], atol=1e-5, rtol=1e-4)
