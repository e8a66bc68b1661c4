"""Pairs of views of single photos with known homographies, for matching losses.

Like crops (:mod:`gcm.distillation.data`), a pair is a function of (seed, index) alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gcm.distillation.data import Image, degrade, read_photo, stack_images
from gcm.distillation.recipe import AugmentationRecipe
from gcm.distillation.steps import StepDataset
from gcm.geometry import resize_matrix
from gcm.images.sizes import image_size

__all__ = ["ViewBatch", "ViewDataset", "photo_view", "place_matrices", "view_matrices"]

_TEACHER_SHIFT = 3.5
"""Pixels: the teacher's strided convolutions centre cell c on pixel 8 c, ours on 8 c + 3.5."""


@dataclass(frozen=True)
class ViewBatch:
    """Two views of each of N photos."""

    clean: Tensor
    """2 x N x 3 x S x S uint8 RGB, for the teacher; its pixel x is the student's x + 3.5."""
    degraded: Tensor
    """2 x N x 3 x S x S uint8 RGB, degraded, for the student."""
    h_0_to_1: Tensor
    """N x 3 x 3 float32, pixels of view 0 to pixels of view 1."""


class ViewDataset(StepDataset[ViewBatch]):
    """Batches of view pairs."""

    def __getitem__(self, index: int) -> ViewBatch:
        rng = self.generator(index)
        clean: list[list[Image]] = [[], []]
        degraded: list[list[Image]] = [[], []]
        relative = []
        size = self.augmentation.crop
        for _ in range(self.recipe.batch_size):
            photo = read_photo(self.photo(rng))
            matrices = view_matrices(photo.shape[1], photo.shape[0], self.augmentation, rng)
            for k, matrix in enumerate(matrices):
                shift = np.array([[1, 0, -_TEACHER_SHIFT], [0, 1, -_TEACHER_SHIFT], [0, 0, 1.0]])
                clean[k].append(photo_view(photo, shift @ matrix, size))
                degraded[k].append(degrade(photo_view(photo, matrix, size), self.augmentation, rng))
            relative.append(matrices[1] @ np.linalg.inv(matrices[0]))
        return ViewBatch(
            torch.stack([stack_images(images) for images in clean]),
            torch.stack([stack_images(images) for images in degraded]),
            torch.from_numpy(np.stack(relative)).float(),
        )


def view_matrices(
    width: int, height: int, recipe: AugmentationRecipe, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Homographies from a photo to two `crop` x `crop` views of it.

    Both show the same place; view 1 is turned by up to `rotation` degrees, scaled by up to
    `view_scale` and shifted by up to an eighth of the crop against view 0, and both are tilted.
    """
    low, high = recipe.scale
    size = np.exp(rng.uniform(np.log(low), np.log(high)))
    factor = max(size / max(width, height), 1.15 * recipe.crop / min(width, height))
    side = recipe.crop / factor
    centre = np.array(
        [
            rng.uniform(side / 2, width - side / 2) if width > side else width / 2,
            rng.uniform(side / 2, height - side / 2) if height > side else height / 2,
        ]
    )
    first = _view_matrix(centre, side, recipe, rng, moves=False)
    return first, _view_matrix(centre, side, recipe, rng, moves=True)


def place_matrices(
    sizes: tuple[tuple[int, int], tuple[int, int]],
    places: NDArray[np.float64],
    recipe: AugmentationRecipe,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Homographies from two photos to `crop` x `crop` views of a place that both show.

    Both photos are brought to one size, as a photo of :func:`view_matrices` is, and their views turned,
    scaled, shifted and tilted alike; what the cameras did comes on top.

    Args:
        sizes: width and height of each photo.
        places: 2 x 2, pixels: (x, y) of the place in each photo.
        recipe: how far views are moved.
        rng: draws everything.
    """
    low, high = recipe.scale
    size = np.exp(rng.uniform(np.log(low), np.log(high)))
    shift = rng.uniform(-1, 1, size=2) / 4  # the place need not lie in the middle
    matrices = []
    for (width, height), place, moves in zip(sizes, places, (False, True), strict=True):
        side = recipe.crop / max(size / max(width, height), 1.15 * recipe.crop / min(width, height))
        centre = np.clip(place + shift * side, side / 2, np.array([width, height]) - side / 2)
        matrices.append(_view_matrix(centre, side, recipe, rng, moves=moves))
    return matrices[0], matrices[1]


def _view_matrix(
    centre: NDArray[np.float64],
    side: float,
    recipe: AugmentationRecipe,
    rng: np.random.Generator,
    *,
    moves: bool,
) -> NDArray[np.float64]:
    """From a photo to the view of a square of it, tilted, and where it `moves` turned, scaled and shifted."""
    target = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32) * (recipe.crop - 1)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64) * side / 2
    if rng.random() < recipe.homography_share:
        corners = corners + rng.uniform(-recipe.tilt, recipe.tilt, size=(4, 2)) * side / 4
        if moves:
            angle = np.deg2rad(rng.uniform(-recipe.rotation, recipe.rotation))
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            corners = corners @ turn * np.exp(rng.uniform(-1, 1) * np.log(recipe.view_scale))
            centre = centre + rng.uniform(-1, 1, size=2) * side / 8
    matrix = cv2.getPerspectiveTransform((corners + centre).astype(np.float32), target)
    return np.asarray(matrix, dtype=np.float64)


def photo_view(photo: Image, matrix: NDArray[np.float64], side: int) -> Image:
    """Warp a photo; where that shrinks it, it is shrunk by area first, so that nothing aliases."""
    zoom = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if zoom < 0.7:
        height, width = photo.shape[:2]
        small = np.asarray(cv2.resize(photo, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
        photo, matrix = small, matrix @ resize_matrix(image_size(small), (width, height))
    view = cv2.warpPerspective(
        photo, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.ascontiguousarray(view, dtype=np.uint8)
