"""Seeded weights for tests of structure; nothing but tests ever runs on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gcm.backbones.registry import build_backbone
from gcm.images.network_input import network_input

Fill = Callable[[nn.Module], dict[str, Tensor]]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def fill() -> Fill:
    """Gives a network on the meta device weights of healthy size, the same every time; returns its state."""

    def value(key: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
        random = torch.randn(tensor.shape, generator=generator)
        if key.endswith("running_var"):
            return 0.5 + random.abs()
        if tensor.dim() < 2:
            return random / 10 + (1 if key.endswith("weight") else 0)
        # Large linear layers would make attention a random permutation, so those stay small.
        return random * ((2 / tensor[0].numel()) ** 0.5 if tensor.dim() == 4 else 0.02)

    def give(network: nn.Module) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        state = {
            key: value(key, tensor, generator)
            if tensor.is_floating_point()
            else torch.zeros(tensor.shape, dtype=tensor.dtype)
            for key, tensor in network.state_dict().items()
        }
        for name, module in network.named_modules():
            if hasattr(module, "define_relative_position_index"):  # Swin's table of places, not of weights
                module.define_relative_position_index()
                state[f"{name}.relative_position_index"] = module.relative_position_index.clone()
        network.load_state_dict(state, assign=True)
        return state

    return give


@pytest.fixture(scope="session")
def seeded_checkpoint(tmp_path_factory: pytest.TempPathFactory, fill: Fill) -> Callable[..., Path]:
    """Checkpoint of a backbone with seeded weights, its batch norms adjusted to a photo."""
    folder = tmp_path_factory.mktemp("seeded")

    def make(name: str, photo: NDArray[np.uint8]) -> Path:
        backbone = build_backbone(name)
        fill(backbone)
        norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
            norm.train()
        with torch.no_grad():
            backbone(torch.cat([network_input(photo, 16), network_input(photo[::-1].copy(), 16)]))
        path = folder / f"{name}.pth"
        torch.save(backbone.state_dict(), path)
        return path

    return make
