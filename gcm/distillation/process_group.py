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
from gcm.features.device import choose_device

__all__ = ["ProcessGroup", "join_process_group"]


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a training, as one of them sees them.

    Each takes other batches; their gradients are averaged.
    """

    rank: int
    """Number of this process, from 0."""
    world_size: int
    """How many there are."""
    device: torch.device

    @property
    def is_leader(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until all have come here."""
        if self.world_size > 1:
            distributed.barrier()

    def broadcast(self, module: nn.Module) -> None:
        """Give every process the leader's parameters."""
        if self.world_size > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one kind by their means over the processes."""
        if self.world_size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])  # one message instead of many
        distributed.all_reduce(flat)
        flat /= self.world_size
        for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def average_gradients(self, module: nn.Module) -> None:
        """Between the backward pass and the optimiser's step."""
        self.average([p.grad for p in module.parameters() if p.grad is not None])

    def average_statistics(self, module: nn.Module) -> None:
        """Batch norm's running means and variances, of which each process has seen other batches."""
        self.average([b for b in module.buffers() if b.is_floating_point()])


@contextmanager
def join_process_group(device: str | None) -> Iterator[ProcessGroup]:
    """The group this process belongs to; of one unless a launcher says otherwise.

    Args:
        device: of the group, the best there is when None; of ``cuda`` each process takes the one of its
            number.

    Raises:
        UsageError: no such device.
    """
    chosen = _device(device)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield ProcessGroup(0, 1, chosen)
        return
    if chosen.type == "cuda":
        if chosen.index is None:
            chosen = _device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield ProcessGroup(distributed.get_rank(), world_size, chosen)
    finally:
        distributed.destroy_process_group()


def _device(name: str | None) -> torch.device:
    try:
        return choose_device(name, strict=True)[0]
    except RuntimeError as error:  # torch's for a word it does not know
        raise ConfigError(f"no device is named {name}; use cpu, cuda, cuda:1, mps") from error
