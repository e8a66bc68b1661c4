"""Training in several processes, a GPU each: what they share and when they wait for each other.

`torchrun` and `accelerate launch` start the processes and tell each its number by environment variables
(``RANK``, ``LOCAL_RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``, ``MASTER_PORT``); without them there is one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from gcm.errors import ConfigError

__all__ = ["Team", "is_leader", "join_team"]


def is_leader() -> bool:
    """Whether this process is the one that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class Team:
    """The processes of a training. Each takes other batches; their gradients are averaged."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            distributed.barrier()

    def agree(self, module: nn.Module) -> None:
        """Give every process the leader's parameters."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one kind by their means over the processes."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])  # one message instead of many
        distributed.all_reduce(flat)
        flat /= self.size
        for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def average_gradients(self, module: nn.Module) -> None:
        """Between the backward pass and the optimiser's step."""
        self.average([p.grad for p in module.parameters() if p.grad is not None])

    def average_statistics(self, module: nn.Module) -> None:
        """Batch norm's running means and variances, of which each process has seen other batches."""
        self.average([b for b in module.buffers() if b.is_floating_point()])


@contextmanager
def join_team(device: str) -> Iterator[Team]:
    """The team this process belongs to; of one unless a launcher says otherwise.

    Args:
        device: of the team; of ``cuda`` each process takes the one of its number.

    Raises:
        ConfigError: no such device.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(0, 1, _device(device))
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    chosen = _device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), size, chosen)
    finally:
        distributed.destroy_process_group()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name} is not to be had here; use cpu") from error
    return device
