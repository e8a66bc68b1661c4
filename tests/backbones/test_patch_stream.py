"""Patch networks strip by strip and at chosen pixels, against the plain network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gcm.backbones import patch_stream
from gcm.backbones.r2d2 import STUDENT, TEACHER, PatchLayer, PatchNetwork

Fill = Callable[[nn.Module], dict[str, Tensor]]
SIZES = [(70, 53), (17, 31), (5, 7), (1, 1)]


@pytest.fixture(params=[STUDENT, TEACHER], ids=["student", "teacher"])
def network(request: pytest.FixtureRequest, fill: Fill) -> PatchNetwork:
    result = PatchNetwork(request.param)
    fill(result)
    return result.eval().requires_grad_(False)


def plain(network: PatchNetwork, x: Tensor) -> Tensor:
    for op in network.ops:
        x = op(x)
    return x


def noise(height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(height))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("strip", [1, 900, 10**6])
def test_strips_equal_the_whole(
    network: PatchNetwork, size: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(patch_stream.STRIP_PIXELS, "cpu", strip)
    x = torch.cat([noise(*size), -noise(*size)])
    with torch.inference_mode():
        close(network(x), plain(network, x.clone()))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("band", [1, 10**6])
def test_chosen_pixels_equal_the_whole_s(
    network: PatchNetwork, size: tuple[int, int], keep: bool, band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch_stream, "BAND_PIXELS", band)
    monkeypatch.setitem(patch_stream.STRIP_PIXELS, "cpu", 400)
    height, width = size
    x = noise(*size)
    generator = torch.Generator().manual_seed(1)
    cells = torch.stack([torch.randint(0, n, (30, 4), generator=generator) for n in (width, height)], -1)
    cells[..., 1].clamp_(max=height * 2 // 3)  # so that rows at the end are skipped
    with torch.inference_mode():
        expected = plain(network, x.clone())[0].permute(1, 2, 0)[cells[..., 1], cells[..., 0]]
        sampled = network.sampled(lambda: x, size, keep=keep)
        close(sampled.descriptors(cells), expected)
        close(sampled.descriptors(cells[:1].flip(1)), expected[:1].flip(1))  # again, and few
        assert sampled.descriptors(cells[:0]).shape == (0, 4, 128)


@pytest.mark.parametrize(("keep", "expected"), [(True, 1), (False, 2)])
def test_an_image_that_comes_again_does_not_run_again(
    network: PatchNetwork, keep: bool, expected: int
) -> None:
    runs = 0
    cells = torch.tensor([[3, 4], [49, 39]])

    def image() -> Tensor:
        nonlocal runs
        runs += 1
        return noise(40, 50)

    with torch.inference_mode():
        sampled = network.sampled(image, (40, 50), keep=keep)
        sampled.descriptors(cells)
        sampled.descriptors(cells)
    assert runs == expected
    assert sampled.nbytes == (40 * 50 * 128 * 4 if keep else 0)


def test_what_is_not_wanted_is_not_computed(network: PatchNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(patch_stream.STRIP_PIXELS, "cpu", 1)
    x = noise(400, 16)
    x[..., 200:, :] = torch.nan
    with torch.inference_mode():
        sampled = network.sampled(lambda: x, (400, 16), keep=False)
        assert sampled.descriptors(torch.tensor([[8, 100], [3, 120]])).isfinite().all()


def test_half_precision_stays_near(network: PatchNetwork) -> None:
    x = noise(40, 50)
    cells = torch.stack(torch.meshgrid(torch.arange(50), torch.arange(40), indexing="xy"), -1)
    with torch.inference_mode():
        exact = network.sampled(lambda: x, (40, 50), keep=True).descriptors(cells)
        rough = network.sampled(lambda: x, (40, 50), keep=True, dtype=torch.bfloat16).descriptors(cells)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).norm() / exact.norm() < 0.03


def test_networks_that_learn_run_plainly(fill: Fill) -> None:
    network = PatchNetwork(STUDENT)
    fill(network)
    network(noise(20, 20)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_kernels_that_reach_further_to_one_side_run_plainly() -> None:
    network = PatchNetwork((PatchLayer(2, 4, 1, norm=False, relu=False),)).eval()
    with torch.inference_mode():
        assert network(noise(9, 9)).shape == (1, 4, 8, 8)
