"""Losses."""

from __future__ import annotations

import pytest
import torch

from gcm.distillation.losses import cosine_loss, pyramid_loss


def test_cosine_loss() -> None:
    a = torch.randn(2, 8, 3, 4, generator=torch.Generator().manual_seed(0))
    assert float(cosine_loss(a, 7 * a)) == pytest.approx(0, abs=1e-6)
    assert float(cosine_loss(a, -0.1 * a)) == pytest.approx(2, abs=1e-6)  # apart is bad, unlike |cos|
    x, y = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    x[:, 0], y[0, :, 0] = 1, torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(cosine_loss(x, y)) == pytest.approx(0.5)


def test_pyramid_loss_adds_its_levels() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1, 8, 8, 8, generator=generator) for _ in range(2))
    dense = float(cosine_loss(a, b))
    assert float(pyramid_loss(a, b, levels=0, weight=9)) == pytest.approx(dense)

    def pooled(x: torch.Tensor) -> torch.Tensor:
        blocks = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean(dim=(3, 5))
        return blocks / blocks.norm(dim=1, keepdim=True)

    first = float(cosine_loss(pooled(a), pooled(b)))
    second = float(cosine_loss(pooled(pooled(a)), pooled(pooled(b))))
    assert float(pyramid_loss(a, b, levels=1, weight=0.5)) == pytest.approx(dense + 0.5 * first)
    assert float(pyramid_loss(a, b, levels=2, weight=0.5)) == pytest.approx(dense + 0.5 * (first + second))
