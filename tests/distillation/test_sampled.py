"""The sampled forward pass gives the dense one's values."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from gcm.backbones.r2d2 import STUDENT, TEACHER, PatchLayer, PatchNetwork
from gcm.distillation.sampled import sampled_forward

NETWORKS = {"student": STUDENT, "teacher": TEACHER}


def network(layers: tuple[PatchLayer, ...]) -> PatchNetwork:
    """Random weights in double precision, with batch norm that does something."""
    generator = torch.Generator().manual_seed(1)
    result = PatchNetwork(layers).double()
    for name, tensor in result.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) - (0 if "var" in name else 0.5))
    return result.eval().requires_grad_(False)


@cache
def dense_pass(name: str, size: tuple[int, int]) -> tuple[PatchNetwork, Tensor, Tensor]:
    """A network, an image and what the network makes of it."""
    net = network(NETWORKS[name])
    x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return net, x, net(x)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(64, 64), (71, 58)])
def test_equals_the_dense_one(name: str, step: int, size: tuple[int, int]) -> None:
    net, x, dense = dense_pass(name, size)
    before, after = net.margins
    expected = dense[..., before : size[0] - after : step, before : size[1] - after : step]
    found = sampled_forward(net, x, step)
    assert found.shape == expected.shape
    assert min(found.shape[-2:]) >= 1
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(dense.abs().max()))


def test_a_network_of_one_by_one_convolutions() -> None:
    net = network((PatchLayer(3, 8, 1), PatchLayer(1, 16, 1), PatchLayer(2, 4, 2, norm=False, relu=False)))
    x = torch.randn(2, 3, 20, 21, dtype=torch.float64)
    before, after = net.margins
    expected = net(x)[..., before : 20 - after : 3, before : 21 - after : 3]
    torch.testing.assert_close(sampled_forward(net, x, 3), expected)


@pytest.mark.parametrize(("name", "receptive_field"), [("student", 37), ("teacher", 51)])
def test_margins_are_the_receptive_field(name: str, receptive_field: int) -> None:
    net = network(NETWORKS[name])
    before, after = net.margins
    assert before + after + 1 == receptive_field
    # The output just inside the margins depends on the first pixel and the last, and on none beyond.
    x = torch.zeros(1, 3, 60, 60, dtype=torch.float64, requires_grad=True)
    net(x)[0, :, before, 60 - 1 - after].sum().backward()
    assert x.grad is not None
    rows, columns = (x.grad[0].abs().sum(dim=(0, dim)).nonzero().flatten() for dim in (2, 1))
    assert (int(rows.min()), int(rows.max())) == (0, receptive_field - 1)
    assert (int(columns.min()), int(columns.max())) == (60 - receptive_field, 59)


def test_gradients_flow_to_every_weight() -> None:
    net = network(STUDENT).requires_grad_(True).train()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    sampled_forward(net, x, 4).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.ops[0].parameters())
    assert net.ops[-1].weight.grad.abs().sum() > 0  # type: ignore[union-attr]
