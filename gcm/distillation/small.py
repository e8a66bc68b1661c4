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
from gcm.distillation.real_pairs import NO_REAL_PAIRS, RealPairs
from gcm.distillation.recipe import DistillRecipe
from gcm.distillation.view_pairs import ViewBatch, ViewDataset
from gcm.errors import ConfigError
from gcm.images.network_input import standardise
from gcm.images.normalisation import NORMALISATIONS
from gcm.weights.loading import load_checkpoint
from gcm.weights.store import resolve_weights

__all__ = ["SLIM", "SmallObjective"]

SLIM = Widths((8, 24, 48, 80), (24, 32, 64), 16, 48, finest_head=False)
"""Of student ``slim``: the finer levels are those of the small network, the coarser ones narrow as well."""

_TRUNK = ("stage8.1", "stage16", "stage32", "across32", "across16", "across8", "fuse8", "head8")
"""The layers that stay as the compact network's."""

_MAPS = 2.0
"""Weight of the maps that come out beside what goes into the trunk."""


class SmallObjective:
    """The small network on single views, spoilt as the compact network's are."""

    def __init__(self, recipe: DistillRecipe, device: torch.device) -> None:
        if recipe.augmentation.crop % 32:
            raise ConfigError(f"augmentation.crop: {recipe.augmentation.crop} is no multiple of 32; use 224")
        if recipe.slim is None:
            raise ConfigError(
                "slim: is missing; train it first (gcm distill slim --photos DIR --output RUN) and say "
                "--set slim=RUN/student.safetensors"
            )
        self.recipe, self.device = recipe, device
        self.student = _SmallStudent().to(device).to(memory_format=torch.channels_last)
        self.slim = recipe.slim

    def batches(
        self,
        photos: list[Path],
        *,
        seed: int,
        steps: int,
        first: int = 0,
        real: RealPairs = NO_REAL_PAIRS,
    ) -> ViewDataset:
        """Batches of views, two of each photo."""
        recipe = self.recipe
        return ViewDataset(
            photos, recipe.augmentation, batch_size=recipe.batch_size, seed=seed, steps=steps, first=first
        )

    def begin(self, photos: list[Path]) -> dict[str, Tensor]:
        """Start from both: the trunk of the one, and of the other all that has the same size."""
        trunk, slim = (self._load(network, path) for network, path in self._teachers())
        state = self.student.state_dict()
        for name, tensor in state.items():
            source = (trunk if name.startswith(_TRUNK) else slim).state_dict()[name]
            if source.shape == tensor.shape:
                state[name] = source
        self.student.load_state_dict(state)
        return state

    def prepare(self) -> None:
        """Load the teachers."""
        self.trunk, self.finer = (
            self._load(network, path).requires_grad_(False) for network, path in self._teachers()
        )

    def held_out_loss(self, batch: ViewBatch, step: int) -> Tensor:
        """As :meth:`loss`."""
        return self.loss(batch, step)

    def loss(self, batch: ViewBatch, step: int) -> Tensor:
        """How far what goes into the trunk is from what the compact network puts in, and how far the maps are
        from those they should be."""
        recipe = self.recipe
        x = standardise(batch.degraded.to(self.device), NORMALISATIONS[recipe.normalisation]).flatten(0, 1)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            with torch.no_grad():
                coarse, middle = _coarse_and_middle(self.trunk, x)[1:]
                finest, finer, _ = self.finer(x)
            maps, own_coarse, own_middle = _coarse_and_middle(self.student, x)
        middle, own_middle = middle.float(), own_middle.float()
        loss = (own_middle - middle).square().mean() / middle.square().mean()
        for own, other in ((maps[0], finest), (maps[1], finer), (own_coarse, coarse)):
            loss = loss + _MAPS * cosine_loss(own, other)
        return loss

    def _teachers(self) -> tuple[tuple[CompactNetwork, Path | str], tuple[CompactNetwork, Path | str]]:
        compact = self.recipe.trunk or resolve_weights("gcm_compact")
        return (CompactNetwork(), compact), (CompactNetwork(SLIM), self.slim)

    def _load(self, network: CompactNetwork, path: Path | str) -> CompactNetwork:
        load_strictly(network, load_checkpoint(path), str(path))
        return network.eval().to(self.device).to(memory_format=torch.channels_last)


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


def _coarse_and_middle(network: CompactNetwork, x: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """All maps, the coarsest of them once more, and what goes up from stride 8."""
    seen: list[Tensor] = []
    hook = network.stage8.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        maps = network(x)
    finally:
        hook.remove()
    return maps, maps[-1], seen[0]
