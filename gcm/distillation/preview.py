"""A contact sheet of what a training sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from gcm.distillation.data import Image
from gcm.distillation.objectives import create_objective
from gcm.distillation.pairs import PairBatch
from gcm.distillation.real_sources import OnPrepare, gather_real_pairs
from gcm.distillation.recipe import DistillRecipe
from gcm.distillation.steps import Steps
from gcm.images.folders import find_photos

__all__ = ["contact_sheet"]

_BATCHES, _COLUMNS = 12, 3
_DOTS = 24
"""Correspondences shown of a pair."""


def contact_sheet(
    recipe: DistillRecipe,
    photos: Path,
    on_prepare: OnPrepare = lambda preparation: None,
) -> Image:
    """The first samples of a training, H x W x 3 uint8 RGB: both views of a pair side by side, some
    correspondences in colour; of a recipe without pairs, the clean crop and the spoilt one.

    Args:
        recipe: what the training would do.
        photos: folder of its photos.
        on_prepare: called while real pairs are made ready, as by :func:`gcm.distillation.distill`.

    Raises:
        DatasetError: no photos, or a folder of real pairs is wrong.
        ConfigError: the crops are too small.
        DependencyError: what labels photos is not installed.
    """
    objective = create_objective(recipe, torch.device("cpu"))
    found = find_photos(photos)
    real, _ = gather_real_pairs(recipe, on_prepare)
    batches = objective.batches(Steps(found, recipe.seed, end=_BATCHES, real=real))
    samples = [_sample(batches[step]) for step in range(_BATCHES)]
    rows = [np.hstack(samples[k : k + _COLUMNS]) for k in range(0, len(samples), _COLUMNS)]
    return np.ascontiguousarray(np.vstack(rows))


def _sample(batch: Any) -> Image:
    """The first of a batch."""
    degraded: Tensor = batch.degraded
    if degraded.shape[0] == 1:  # one spoilt copy of one crop
        return np.hstack([_image(batch.clean[0]), _image(degraded[0, 0])])
    first, second = (_image(degraded[k, 0]) for k in (0, 1))
    if isinstance(batch, PairBatch):
        _draw_dots(first, second, batch.positions[0, 0].numpy())
    return np.hstack([first, second])


def _draw_dots(first: Image, second: Image, positions: Any) -> None:
    side = int(np.sqrt(len(positions)))
    cell = first.shape[0] / side
    shown = np.flatnonzero(np.isfinite(positions).all(axis=1))
    for number, k in enumerate(shown[:: max(1, len(shown) // _DOTS)]):
        hue = np.array([[[number * 179 // _DOTS % 180, 255, 255]]], np.uint8)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
        there = (k % side * cell + (cell - 1) / 2, k // side * cell + (cell - 1) / 2)
        for image, point in ((first, there), (second, positions[k])):
            cv2.circle(image, (round(float(point[0])), round(float(point[1]))), 3, colour, -1, cv2.LINE_AA)


def _image(tensor: Tensor) -> Image:
    """3 x H x W to an array that can be drawn on."""
    return np.ascontiguousarray(tensor.permute(1, 2, 0).numpy())
