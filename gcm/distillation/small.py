"""How the small network learns: from the compact one what it describes, from a slim one how to do so cheaply.

The coarse map decides whether two photos show the same, and the compact network's is better than that of one
which is narrow from end to end. Most of its time goes into strides 2 and 4. So the small network keeps the
compact one's layers from stride 8 on as they are, learns to feed them from fewer channels, and takes its
finer maps from a network that has as few and was trained as the compact one is (student ``slim``).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gcm.backbones.base import load_strictly
from gcm.backbones.compact import CompactNetwork, Widths
from gcm.backbones.small import SmallNetwork
from gcm.distillation.losses import cosine_loss
from gcm.distillation.recipe import DistillRecipe
from gcm.distillation.view_objective import ViewObjective
from gcm.distillation.view_pairs import ViewBatch
from gcm.errors import ConfigError
from gcm.weights.loading import load_checkpoint
from gcm.weights.store import resolve_weights

__all__ = ["SLIM", "SmallObjective"]

SLIM = Widths((8, 24, 48, 80), (24, 32, 64), 16, 48, finest_head=False)
"""Of student ``slim``: the finer levels are those of the small network, the coarser ones narrow as well."""

_TRUNK = ("stage8.1", "stage16", "stage32", "across32", "across16", "across8", "fuse8", "head8")
"""The layers that stay as the compact network's."""

_MAPS = 2.0
"""Weight of the maps that come out beside what goes into the trunk."""


class SmallObjective(ViewObjective):
    """The small network on single views, spoilt as the compact network's are."""

    def __init__(self, recipe: DistillRecipe, device: torch.device) -> None:
        super().__init__(recipe, device)
        if recipe.slim is None:
            raise ConfigError(
                "slim: is missing; train it first (gcm distill slim --photos DIR --output RUN) and say "
                "--set slim=RUN/student.safetensors"
            )
        self.student = _SmallStudent().to(device).to(memory_format=torch.channels_last)
        self.slim = recipe.slim

    def begin(self, photos: list[Path]) -> dict[str, Tensor]:
        """Start from both: the trunk of the one, and of the other all that has the same size."""
        trunk, slim = (teacher.state_dict() for teacher in self._teachers())
        state = self.student.state_dict()
        for name, tensor in state.items():
            source = (trunk if name.startswith(_TRUNK) else slim)[name]
            if source.shape == tensor.shape:
                state[name] = source
        self.student.load_state_dict(state)
        return state

    def prepare(self) -> None:
        """Load the teachers."""
        self.trunk, self.finer = self._teachers()

    def loss(self, batch: ViewBatch, step: int) -> Tensor:
        """How far what goes into the trunk is from what the compact network puts in, and how far the maps are
        from those they should be."""
        x = self.spoilt_views(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            with torch.no_grad():
                (*_, coarse), middle = _maps_and_middle(self.trunk, x)
                finest, finer, _ = self.finer(x)
            maps, own_middle = _maps_and_middle(self.student, x)
        middle, own_middle = middle.float(), own_middle.float()
        loss = (own_middle - middle).square().mean() / middle.square().mean()
        for own, other in zip(maps, (finest, finer, coarse), strict=True):
            loss = loss + _MAPS * cosine_loss(own, other)
        return loss

    def _teachers(self) -> tuple[CompactNetwork, CompactNetwork]:
        """The compact network and the slim one."""
        compact = self.recipe.trunk or resolve_weights("gcm_compact")
        return self._load(CompactNetwork(), compact), self._load(CompactNetwork(SLIM), self.slim)

    def _load(self, network: CompactNetwork, path: Path | str) -> CompactNetwork:
        load_strictly(network, load_checkpoint(path), str(path))
        network.eval().requires_grad_(False)
        return network.to(self.device).to(memory_format=torch.channels_last)


class _SmallStudent(SmallNetwork):
    """The small network, its trunk frozen."""

    def __init__(self) -> None:
        super().__init__()
        for part in _trunk(self):
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> _SmallStudent:
        """As of any network; the statistics of the trunk stay."""
        super().train(mode)
        for part in _trunk(self):
            part.eval()
        return self


def _trunk(network: CompactNetwork) -> list[nn.Module]:
    return [network.get_submodule(name) for name in _TRUNK]


def _maps_and_middle(network: CompactNetwork, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """All maps, fine to coarse, and what goes up from stride 8."""
    seen: list[Tensor] = []
    hook = network.stage8.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        maps = network(x)
    finally:
        hook.remove()
    return maps, seen[0]
