"""A few small photos, and a recipe that takes a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rgbd_scene import write_sequence
from torch.nn import functional as F

from gcm.distillation import objectives
from gcm.distillation.recipe import AugmentationRecipe, DistillRecipe


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    """A folder with six photos, one of them in a folder of its own."""
    root = tmp_path_factory.mktemp("photos")
    (root / "more").mkdir()
    for k in range(6):
        Image.fromarray(np.roll(photo, 31 * k, axis=k % 2)).save(
            root / ("more" if k == 5 else "") / f"{k}.png"
        )
    (root / "notes.txt").write_text("not a photo")
    return root


TINY: dict[str, Any] = {
    "steps": 6,
    "batch_size": 1,
    "sample_step": 4,
    "warmup_steps": 2,
    "validate_every": 3,
    "checkpoint_every": 2,
    "validation_batches": 1,
    "held_out": 0.3,
    "pooled_levels": 1,
}


@pytest.fixture(scope="session")
def tiny() -> DistillRecipe:
    crops = AugmentationRecipe.model_validate(
        {"crop": 64, "scale": (64, 128), "variants": 2, "exposure": 0.3}
    )
    return DistillRecipe.model_validate({**TINY, "augmentation": crops})


def colours(images: torch.Tensor) -> torch.Tensor:
    """A teacher that says what colour each place has: B x 128 x H x W."""
    x = F.avg_pool2d(images.float(), 5, stride=1, padding=2) / 255 - 0.5
    generator = torch.Generator().manual_seed(3)
    return torch.einsum("oc,bchw->bohw", torch.randn(128, 3, generator=generator), x)


@pytest.fixture
def fake_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test needs DISK."""
    monkeypatch.setattr(objectives, "create_teacher", lambda *_, **__: colours)


@pytest.fixture
def no_xfeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second stream starts from random weights, and its teacher has such."""
    monkeypatch.setattr(objectives, "start_context", lambda *_: None)
    monkeypatch.setattr(objectives, "load_xfeat", lambda *_: None)


@pytest.fixture(scope="session")
def sequence(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    """A folder with an RGB-D sequence of six frames."""
    textures = [np.roll(photo, 57 * k, axis=k % 2) for k in range(6)]
    return write_sequence(tmp_path_factory.mktemp("rgbd") / "rooms" / "one", textures)
