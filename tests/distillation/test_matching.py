"""Matching losses: right maps lose little, shuffled ones much, and targets lie where the truth is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from gcm.distillation.matching import dense_matching_loss, map_cells, window_loss, window_targets
from gcm.distillation.recipe import AugmentationRecipe, DistillRecipe
from gcm.distillation.steps import Steps
from gcm.distillation.view_pairs import ViewDataset
from gcm.geometry import apply_homography, cell_to_pixel, pixel_to_cell


def test_cells_are_mapped_through_pixels() -> None:
    h = np.array([[1.1, 0.1, 4], [-0.05, 0.9, 2], [1e-4, 2e-4, 1]])
    cells = np.array([[0.0, 0], [3, 5], [7, 2]])
    expected = pixel_to_cell(apply_homography(h, cell_to_pixel(cells, 4)), 4)
    found = map_cells(torch.from_numpy(cells).float()[None], torch.from_numpy(h).float()[None], 4)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-4)


def test_window_targets_are_bilinear() -> None:
    target = window_targets(torch.tensor([5.25, 7.5]), torch.tensor([4.0, 6.0]), 4).view(4, 4)
    expected = torch.zeros(4, 4)
    expected[1, 1], expected[1, 2], expected[2, 1], expected[2, 2] = 0.375, 0.125, 0.375, 0.125
    torch.testing.assert_close(target, expected)


def shifted_maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A map, the same two cells further right, and the homography of that at stride 4."""
    generator = torch.Generator().manual_seed(0)
    map0 = torch.randn(2, 32, 14, 16, generator=generator)
    h = torch.eye(3).repeat(2, 1, 1)
    h[:, 0, 2] = 8
    return map0, torch.roll(map0, 2, dims=3), h


def test_dense_loss() -> None:
    map0, map1, h = shifted_maps()
    right = dense_matching_loss(map0, map1, h, stride=4, temperature=0.05)
    wrong = dense_matching_loss(map0, map0, h, stride=4, temperature=0.05)
    assert right < 0.1
    assert wrong > 5


def test_window_loss_and_its_gradient() -> None:
    map0, map1, h = shifted_maps()
    map1.requires_grad_()

    def loss(other: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        return window_loss(
            map0, other, h, stride=4, samples=50, side=5, temperature=0.05, generator=generator
        )

    assert loss(map1) < 0.1
    assert loss(map0) > 3
    (gradient,) = torch.autograd.grad(loss(map1), map1)
    assert gradient.isfinite().all()


def test_nothing_in_sight_costs_nothing() -> None:
    map0, map1, h = shifted_maps()
    h = h.clone()
    h[:, 0, 2] = 1000
    assert window_loss(map0, map1, h, stride=4, samples=20, side=5, temperature=0.1) == 0


def test_views_show_the_same_place(photos: Path) -> None:
    augmentation = AugmentationRecipe(
        crop=96, scale=(240, 320), rotation=20, noise_share=0, colour_share=0, blur_share=0, view_scale=1.2
    )
    files = sorted(photos.glob("*.png"))
    recipe = DistillRecipe(augmentation=augmentation, batch_size=3)
    dataset = ViewDataset(Steps(files, 1, 4), recipe)
    batch, again = dataset[2], ViewDataset(Steps(files, 1, 4, first=2), recipe)[0]
    for one, other in zip(batch.__dict__.values(), again.__dict__.values(), strict=True):
        torch.testing.assert_close(one, other)
    for k in range(3):
        view0, view1 = (batch.degraded[v, k].permute(1, 2, 0).numpy() for v in (0, 1))
        warped = cv2.warpPerspective(view0, batch.h_0_to_1[k].numpy(), (96, 96))
        seen = cv2.warpPerspective(np.ones_like(view0), batch.h_0_to_1[k].numpy(), (96, 96)) > 0
        assert seen.mean() > 0.2
        assert np.abs(warped.astype(float) - view1)[seen].mean() < 8
        # The teacher's copy is the student's, seen 3.5 pixels further.
        clean = batch.clean[1, k].permute(1, 2, 0).numpy().astype(float)
        shift = np.array([[1, 0, -3.5], [0, 1, -3.5], [0, 0, 1.0]])
        moved = cv2.warpPerspective(view1, shift, (96, 96))[:90, :90]
        assert np.abs(clean[:90, :90] - moved).mean() < 0.5 * np.abs(clean[:90, :90] - view1[:90, :90]).mean()


def test_the_loss_is_finite_and_falls() -> None:
    """A few steps on one batch, without a teacher."""
    from gcm.backbones.compact import CompactNetwork

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CompactNetwork()
        x = F.interpolate(torch.randn(2, 3, 12, 12), size=64, mode="bicubic")
    h = torch.eye(3)[None]
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(6):
        maps = network(torch.cat([x[:1], x[:1] + 0.1 * x[1:]]))
        loss = dense_matching_loss(maps[-1][:1], maps[-1][1:], h, stride=8, temperature=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
