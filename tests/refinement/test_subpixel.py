"""Sub-pixel peaks: exact on quadratics, unbiased on equal maps, silent where there is no peak."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gcm.refinement.maps import DenseMap
from gcm.refinement.subpixel import peak_offset, similarity_peaks


@pytest.mark.parametrize("peak", [(0.0, 0.0), (0.3, -0.45), (-1.2, 0.8)])
def test_a_quadratic_gives_its_peak(peak: tuple[float, float]) -> None:
    grid = torch.arange(-2.0, 3.0)
    x, y = grid[None, :] - peak[0], grid[:, None] - peak[1]
    scores = 1 - 0.10 * x**2 - 0.05 * y**2 + 0.04 * x * y
    offset, found = peak_offset(scores[None])
    assert found.all()
    np.testing.assert_allclose(offset[0].numpy(), peak, atol=1e-5)


@pytest.mark.parametrize("kind", ["edge", "flat", "ridge", "infinite"])
def test_no_peak_no_offset(kind: str) -> None:
    grid = torch.arange(-2.0, 3.0)
    x, y = grid[None, :].expand(5, 5), grid[:, None].expand(5, 5)
    scores = {"edge": x, "flat": torch.zeros(5, 5), "ridge": -((x + y) ** 2), "infinite": -(x**2) - y**2}[
        kind
    ]
    scores = scores.clone()
    if kind == "infinite":
        scores[1, 1] = -torch.inf
    offset, found = peak_offset(scores[None])
    assert not found.any()
    assert (offset == 0).all()


def smooth(shift: float) -> torch.Tensor:
    """A map that varies smoothly, sampled `shift` cells further right."""
    rng = np.random.default_rng(5)
    waves = rng.uniform(-1, 1, (24, 2))
    phase = rng.uniform(0, 6.28, 24)
    y, x = np.mgrid[0:20, 0:24]
    values = np.sin(
        waves[:, 0, None, None] * (x + shift) + waves[:, 1, None, None] * y + phase[:, None, None]
    )
    return torch.from_numpy(values).float()


@pytest.mark.parametrize("shift", [0.0, 0.25, -0.4])
def test_a_shifted_map(shift: float) -> None:
    cells = torch.stack(torch.meshgrid(torch.arange(5, 18), torch.arange(5, 15), indexing="xy"), -1).reshape(
        -1, 2
    )
    where, found = similarity_peaks(DenseMap(smooth(0.0), 2), DenseMap(smooth(shift), 2), cells, cells)
    assert found.float().mean() > 0.95
    error = where[found] - cells[found] + torch.tensor([shift, 0.0])
    assert error.abs().max() < (1e-6 if shift == 0 else 0.15)


def test_none_at_all() -> None:
    cells = torch.zeros((0, 2), dtype=torch.int64)
    where, found = similarity_peaks(DenseMap(smooth(0.0), 2), DenseMap(smooth(0.0), 2), cells, cells)
    assert where.shape == (0, 2)
    assert found.shape == (0,)
