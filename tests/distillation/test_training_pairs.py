"""Training pairs: what they say of where a place lies in the other view is what the pixels show."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gcm.backbones.registry import create_attention
from gcm.distillation.attention import true_matches
from gcm.distillation.light import change_light
from gcm.distillation.matching import cell_matching_loss, share_found
from gcm.distillation.objectives import Objective, create_objective
from gcm.distillation.pairs import CELL, PairBatch, PairDataset, cell_centres
from gcm.distillation.real_pairs import Pair, RealPairs
from gcm.distillation.recipe import AugmentationRecipe, DistillRecipe, LightRecipe
from gcm.distillation.scenes import draw_scene
from gcm.distillation.steps import Steps

SIZE = 128
VIEWS = {"baseline": 0.3, "zoom": 1.3, "light": 0.0}


@pytest.fixture(scope="module")
def textures(photo: np.ndarray) -> list[np.ndarray]:
    """Smooth enough that half a pixel changes little."""
    photos = [np.roll(photo, 57 * k, axis=k % 2) for k in range(6)]
    return [np.asarray(cv2.GaussianBlur(image, (0, 0), 3), np.uint8) for image in photos]


@pytest.mark.parametrize("seed", range(6))
def test_a_scene_shows_in_view_1_what_it_says(textures: list[np.ndarray], seed: int) -> None:
    points = cell_centres(SIZE, 4)
    scene = draw_scene(textures, SIZE, points, np.random.default_rng(seed), **VIEWS)
    assert [image.shape for image in scene.images] == [(SIZE, SIZE, 3)] * 2
    shown = np.isfinite(scene.to1).all(axis=1)
    assert shown.mean() > 0.1
    first = sampled(scene.images[0], points[shown])
    second = sampled(scene.images[1], scene.to1[shown])
    elsewhere = sampled(scene.images[1], np.roll(scene.to1[shown], 7, axis=0))
    assert np.median(np.abs(first - second)) < 6
    assert np.median(np.abs(first - elsewhere)) > 3 * np.median(np.abs(first - second))


@pytest.mark.parametrize("seed", range(3))
def test_what_a_scene_says_of_both_views_agrees(textures: list[np.ndarray], seed: int) -> None:
    points = cell_centres(SIZE, 1)
    scene = draw_scene(textures, SIZE, points, np.random.default_rng(seed), **VIEWS)
    shown = np.flatnonzero(np.isfinite(scene.to1).all(axis=1))
    landed = np.rint(scene.to1[shown]).astype(int)
    back = scene.to0.reshape(SIZE, SIZE, 2)[landed[:, 1], landed[:, 0]]
    off = np.linalg.norm(back - points[shown], axis=1)
    known = np.isfinite(off)
    assert known.mean() > 0.9  # a rounded place may fall off an edge
    assert np.median(off[known]) < 1


def sampled(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    grey = image.astype(np.float32).mean(axis=2)
    x, y = points.astype(np.float32).T
    return cv2.remap(grey, x[None], y[None], cv2.INTER_LINEAR)[0]


LIGHTS = [
    "sensor_share",
    "tone_share",
    "haze_share",
    "shadow_share",
    "night_share",
    "lamp_share",
    "invert_share",
]
NO_LIGHT = dict.fromkeys(LIGHTS, 0.0)


@pytest.mark.parametrize("change", LIGHTS)
def test_each_change_of_light(photo: np.ndarray, change: str) -> None:
    recipe = LightRecipe.model_validate({**NO_LIGHT, change: 1.0})
    lit = change_light(photo, recipe, np.random.default_rng(1))
    assert lit.shape == photo.shape
    assert lit.dtype == np.uint8
    assert np.abs(lit.astype(int) - photo).mean() > 3
    np.testing.assert_array_equal(lit, change_light(photo, recipe, np.random.default_rng(1)))


def test_no_change_of_light(photo: np.ndarray) -> None:
    recipe = LightRecipe.model_validate(NO_LIGHT)
    np.testing.assert_array_equal(change_light(photo, recipe, np.random.default_rng(1)), photo)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_batch_is_a_function_of_seed_and_step(photos: Path, tiny: DistillRecipe, share: float) -> None:
    recipe = tiny.model_copy(
        update={"student": "context", "scenes": tiny.scenes.model_copy(update={"share": share})}
    )
    files = sorted(photos.rglob("*.png"))
    first = PairDataset(Steps(files, 3, 9), recipe)[4]
    again = PairDataset(Steps(files, 3, 9, first=2), recipe)[2]
    other = PairDataset(Steps(files, 4, 9), recipe)[4]
    assert torch.equal(first.degraded, again.degraded)
    assert torch.equal(first.positions.nan_to_num(-1), again.positions.nan_to_num(-1))
    assert not torch.equal(first.degraded, other.degraded)
    crop = recipe.augmentation.crop
    assert first.positions.shape == (2, 1, (crop // CELL) ** 2, 2)
    known = first.positions[~first.positions.isnan()]
    assert ((known >= 0) & (known <= crop - 1)).all()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_without_real_pairs_items_are_what_they_were(photos: Path, tiny: DistillRecipe, share: float) -> None:
    """No random number is drawn for what nobody asked for."""
    scenes = tiny.scenes.model_copy(update={"share": share})
    recipe = tiny.model_copy(update={"student": "context", "scenes": scenes, "batch_size": 3})
    dataset = PairDataset(Steps(sorted(photos.rglob("*.png")), 3, 9), recipe)
    batch = dataset[4]
    rng = np.random.default_rng([3, 4])
    pairs = [dataset._scene(rng) if rng.random() < share else dataset._plane(rng) for _ in range(3)]
    for view in (0, 1):
        for k, pair in enumerate(pairs):
            assert np.array_equal(batch.clean[view, k].permute(1, 2, 0).numpy(), pair.views[view])
            lit = dataset._degraded(pair.views[view], rng)
            assert np.array_equal(batch.degraded[view, k].permute(1, 2, 0).numpy(), lit)
            np.testing.assert_array_equal(
                batch.positions[view, k].numpy(), pair.positions[view].astype(np.float32)
            )
    assert batch.known.all()


class Unknown:
    """A source of which nobody knows anything."""

    def draw(self, recipe: AugmentationRecipe, centres: np.ndarray, rng: np.random.Generator) -> Pair:
        view = np.full((recipe.crop, recipe.crop, 3), int(rng.integers(256)), np.uint8)
        nowhere, unknown = np.full_like(centres, np.nan), np.zeros(len(centres), bool)
        return Pair((view, view), (nowhere, nowhere), (unknown, unknown))


def test_real_pairs_have_their_share(photos: Path, tiny: DistillRecipe) -> None:
    files, recipe = sorted(photos.rglob("*.png")), tiny.model_copy(update={"batch_size": 40})
    real = RealPairs(((0.3, Unknown()), (0.2, Unknown())))
    batch = PairDataset(Steps(files, 3, 9, real=real), recipe)[1]
    again = PairDataset(Steps(files, 3, 9, first=1, real=real), recipe)[0]
    assert torch.equal(batch.degraded, again.degraded)
    assert torch.equal(batch.known, again.known)
    assert 10 < int((~batch.known.any(dim=2)).sum(dim=1)[0]) < 30


@pytest.fixture
def attention(tiny: DistillRecipe) -> Objective:
    """The attention network as it is shipped, in training."""
    crops = tiny.augmentation.model_copy(update={"crop": 96})
    recipe = tiny.model_copy(update={"student": "attention", "keypoints": 32, "augmentation": crops})
    objective = create_objective(recipe, torch.device("cpu"))
    objective.student.load_state_dict(create_attention().state_dict())
    return objective


def test_what_is_unknown_has_neither_a_partner_nor_none(attention: Objective, photo: np.ndarray) -> None:
    """A place of which nobody knows where it lies teaches nothing; one that is hidden has no partner."""
    images = torch.from_numpy(photo[:96, :96]).permute(2, 0, 1).repeat(2, 1, 1, 1, 1)
    nowhere = torch.full((2, 1, 48 * 48, 2), torch.nan)
    known = torch.ones(2, 1, 48 * 48, dtype=torch.bool)
    hidden = PairBatch(images, images, nowhere, known)
    assert float(attention.loss(hidden, 0).detach()) > 0
    unknown = PairBatch(images, images, nowhere, ~known)
    assert float(attention.loss(unknown, 0).detach()) == 0
    there = torch.from_numpy(cell_centres(96, 2)).float().expand(2, 1, -1, 2)
    assert float(attention.held_out_loss(PairBatch(images, images, there, known), 0)) < 0.2
    # What is found of unknown places is no mistake.
    left = (there[..., :1] < 48).expand_as(there)
    half = PairBatch(images, images, there.where(left, torch.nan), left[..., 0])
    assert float(attention.held_out_loss(half, 0)) < 0.2
    wrong = PairBatch(images, images, half.positions, known)
    assert float(attention.held_out_loss(wrong, 0)) > float(attention.held_out_loss(half, 0)) + 0.1


def test_a_black_view_teaches_nothing(attention: Objective) -> None:
    """It has no keypoints."""
    images = torch.zeros(2, 1, 3, 96, 96, dtype=torch.uint8)
    batch = PairBatch(
        images,
        images,
        torch.full((2, 1, 48 * 48, 2), torch.nan),
        torch.ones(2, 1, 48 * 48, dtype=torch.bool),
    )
    loss = attention.loss(batch, 0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(attention.held_out_loss(batch, 0)) == 1


def moved_maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A map, the same three cells further right, and where each cell went; what left the map went nowhere."""
    generator = torch.Generator().manual_seed(0)
    map0 = torch.randn(1, 32, 10, 12, generator=generator)
    map1 = torch.roll(map0, 3, dims=3)
    y, x = torch.meshgrid(torch.arange(10.0), torch.arange(12.0), indexing="ij")
    to1, to0 = (torch.stack([x + shift, y], dim=-1).reshape(1, -1, 2) for shift in (3, -3))
    for cells in (to1, to0):
        cells[(cells[..., 0] < 0) | (cells[..., 0] > 11)] = torch.nan
    return map0, map1, to1, to0


def test_matching_of_cells_anywhere() -> None:
    map0, map1, to1, to0 = moved_maps()
    assert cell_matching_loss(map0, map1, to1, to0, temperature=0.05) < 0.1
    assert cell_matching_loss(map0, map0, to1, to0, temperature=0.05) > 5
    assert share_found(map0, map1, to1, to0) == 1
    assert share_found(map0, map0, to1, to0) == 0


def test_a_pair_that_shares_nothing_loses_nothing() -> None:
    map0, map1, to1, _ = moved_maps()
    nowhere = torch.full_like(to1, torch.nan)
    map0.requires_grad_()
    loss = cell_matching_loss(map0, map1, nowhere, nowhere, temperature=0.05)
    loss.backward()
    assert float(loss.detach()) == 0


def test_keypoints_that_are_one_place() -> None:
    side = 32
    ticks = torch.arange(side) * 2.0 + 0.5
    places = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)
    to1, to0 = places + torch.tensor([10.0, 0.0]), places - torch.tensor([10.0, 0.0])
    to1[:, 27:] = torch.nan
    points0 = torch.tensor([[20.0, 20.0], [60.0, 9.0], [30.0, 40.0], [12.0, 50.0]])
    points1 = torch.tensor([[30.5, 20.5], [44.0, 41.0], [3.0, 3.0]])
    pairs, none0, none1 = true_matches(points0, points1, to1, to0)
    assert pairs.tolist() == [[0, 0]]
    # The third lies 4 px from where it should, so nobody says; the second is not seen, the fourth has nobody.
    assert none0.tolist() == [False, True, False, True]
    assert none1.tolist() == [False, False, True]
