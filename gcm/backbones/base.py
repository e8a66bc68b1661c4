"""What a backbone is to the rest of `gcm`: a network that returns maps from fine to coarse, and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

import torch
from torch import Tensor, nn

from gcm.errors import ConfigError, WeightsError
from gcm.images.normalisation import IMAGENET, MeanDeviation, Normalisation, PerImage
from gcm.refinement.maps import DenseMap, FeatureMap
from gcm.weights.catalogue import WeightEntry, get_entry
from gcm.weights.loading import load_checkpoint

__all__ = ["Backbone", "BackboneInfo", "load_strictly", "to_unit_range"]


@dataclass(frozen=True)
class BackboneInfo:
    """What a backbone says about itself.

    `taps`, `strides` and `channels` are parallel, fine to coarse, one entry a map. Strides are relative
    to the padded input. When the last two strides differ, the last map serves both stage 0 and the
    dense match of stage 1 (docs/method.md), so the matcher counts one level more.
    """

    name: str
    taps: tuple[str, ...]
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    weights: str | WeightEntry | None
    """Default weights: a name of the catalogue or an entry of its own; None when a path must be given."""
    description: str = ""
    citation: str = ""
    normalisation: Normalisation = IMAGENET
    """How the input of :meth:`Backbone.forward` must be normalised."""

    def __post_init__(self) -> None:
        if not isinstance(self.normalisation, MeanDeviation | PerImage):
            raise ConfigError(
                f"{self.name}: normalisation {self.normalisation!r} is neither a gcm.images.MeanDeviation "
                "nor a PerImage"
            )

    @property
    def step_strides(self) -> tuple[int, ...]:
        """Strides of the matcher's steps, fine to coarse, the coarsest one twice."""
        if len(self.strides) >= 2 and self.strides[-1] == self.strides[-2]:
            return self.strides
        return (*self.strides, self.strides[-1])

    @property
    def pad_multiple(self) -> int:
        """Image sides are padded to a multiple of this, so that every map has whole cells."""
        return self.strides[-1]

    @property
    def weights_entry(self) -> WeightEntry | None:
        """Catalogue entry of the default weights; None when a path must be given."""
        return get_entry(self.weights) if isinstance(self.weights, str) else self.weights

    @property
    def licence(self) -> str:
        """Licence of the default weights; empty when there are none."""
        entry = self.weights_entry
        return entry.licence if entry else ""


class Backbone(nn.Module):
    """Base class: from an input to its maps.

    The input is B x 3 x H x W float32 (B x 1 of grey), normalised as ``info.normalisation`` says, its sides
    multiples of ``info.pad_multiple``; :func:`gcm.images.network_input.network_input` makes it.
    Subclasses implement :meth:`forward`, returning one B x C_k x H/s_k x W/s_k map for each of
    ``info.strides``, fine to coarse, not normalised over channels. They hold only the layers up to the
    last tap, and no map may be overwritten by a later in-place operation.
    """

    info: BackboneInfo

    def forward(self, x: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def pyramid(self, x: Tensor) -> list[list[FeatureMap]]:
        """Each image's maps, fine to coarse; a backbone may compute some only where asked."""
        maps = self.kept_maps(x)
        return [self.restored([m[k] for m in maps]) for k in range(len(x))]

    @property
    def kept_taps(self) -> tuple[str, ...]:
        """Which of the maps :meth:`kept_maps` gives."""
        return self.info.taps

    def kept_maps(self, x: Tensor) -> list[Tensor]:
        """The maps a pyramid is made of; those it computes where they are asked for are left out."""
        maps: list[Tensor] = self(x)
        return maps

    def coarsest(self, x: Tensor) -> Tensor:
        """The last map alone, B x C x H x W; a backbone may leave out what only others need."""
        last: Tensor = self(x)[-1]
        return last

    def stored(self, maps: Sequence[FeatureMap]) -> list[Tensor] | None:
        """The tensors from which :meth:`restored` makes an image's maps again; None if it cannot."""
        tensors = [m.data for m in maps if isinstance(m, DenseMap)]
        return tensors if len(tensors) == len(maps) else None

    def restored(self, tensors: Sequence[Tensor]) -> list[FeatureMap]:
        """An image's maps, fine to coarse, from what :meth:`kept_maps` or :meth:`stored` gave of it."""
        return [DenseMap(tensor, stride) for tensor, stride in zip(tensors, self.info.strides, strict=True)]

    def fused(self) -> Backbone:
        """The same function with fewer layers, for inference, where the network has such; may change it."""
        return self

    def load_weights(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Fill the network from a checkpoint of the whole published network; surplus layers are ignored.

        Raises:
            WeightsError: a key is missing or has another shape.
        """
        load_strictly(self, state, origin)

    def load_file(self, path: str | PathLike[str]) -> None:
        """Fill the network from a checkpoint file.

        Raises:
            WeightsError: missing, damaged, or of another network.
        """
        self.load_weights(load_checkpoint(path), str(path))


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], origin: str, *, prefix: str = "") -> None:
    """Load all of `network`'s tensors from ``state[prefix + key]``, ignoring keys it has no use for.

    Batch norm's ``num_batches_tracked``, which inference never reads and checkpoints older than PyTorch
    0.4.1 do not have, may be missing.

    Raises:
        WeightsError: a key is missing or has another shape; the message names the first.
    """
    tensors: dict[str, Tensor] = {}
    for key, tensor in network.state_dict().items():
        value = state.get(prefix + key)
        if value is None and key.endswith("num_batches_tracked"):
            value = torch.zeros(tensor.shape, dtype=tensor.dtype)
        if value is None:
            raise WeightsError(
                f"{origin}: lacks '{prefix + key}'; these are weights of another network "
                f"than {_name(network)}"
            )
        if value.shape != tensor.shape:
            raise WeightsError(
                f"{origin}: '{prefix + key}' has shape {tuple(value.shape)} where {_name(network)} has "
                f"{tuple(tensor.shape)}; these are weights of another network"
            )
        tensors[key] = value.to(tensor.dtype)
    network.load_state_dict(tensors, assign=True)


def to_unit_range(x: Tensor) -> Tensor:
    """Undo ImageNet's normalisation: B x 3 x H x W -> RGB in 0..1 (padding becomes the mean colour)."""
    shape = (3, 1, 1)
    mean = torch.tensor(IMAGENET.mean, device=x.device, dtype=x.dtype).view(shape)
    std = torch.tensor(IMAGENET.deviation, device=x.device, dtype=x.dtype).view(shape)
    return x * std + mean


def _name(network: nn.Module) -> str:
    info = getattr(network, "info", None)
    return info.name if isinstance(info, BackboneInfo) else type(network).__name__
