"""What a backbone is to the rest of `gcm`: a network that returns maps from fine to coarse, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from gcm.errors import WeightsError

__all__ = ["Backbone", "BackboneInfo", "load_strictly"]


@dataclass(frozen=True)
class BackboneInfo:
    """What a backbone says about itself.

    `taps`, `strides` and `channels` are parallel, fine to coarse, one entry a map. Strides are relative
    to the padded input. When the last two strides differ, the last map serves both stage 0 and the
    dense match of stage 1 (specification, section 2), so the matcher counts one level more.
    """

    name: str
    taps: tuple[str, ...]
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    weights: str | None
    """Catalogue name of the default weights; None when a path must be given."""
    description: str = ""
    citation: str = ""
    normalisation: str = "imagenet"

    @property
    def level_strides(self) -> tuple[int, ...]:
        """Strides of the matcher's levels m[0] .. m[n-1], the coarsest one twice."""
        if len(self.strides) >= 2 and self.strides[-1] == self.strides[-2]:
            return self.strides
        return (*self.strides, self.strides[-1])

    @property
    def pad_multiple(self) -> int:
        """Image sides are padded to a multiple of this, so that every map has whole cells."""
        return self.strides[-1]


class Backbone(nn.Module):
    """Base class: B x 3 x H x W normalised input (sides multiples of ``info.pad_multiple``) -> maps.

    Subclasses implement :meth:`forward`, returning one B x C_k x H/s_k x W/s_k map for each of
    ``info.strides``, fine to coarse, not normalised over channels. They hold only the layers up to the
    last tap, and no map may be overwritten by a later in-place operation.
    """

    info: BackboneInfo

    def forward(self, x: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def load_weights(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Fill the network from a checkpoint of the whole published network; surplus layers are ignored.

        Raises:
            WeightsError: a key is missing or has another shape.
        """
        load_strictly(self, state, origin)


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], origin: str, *, prefix: str = "") -> None:
    """Load all of `network`'s tensors from ``state[prefix + key]``, ignoring keys it has no use for.

    Batch norm's ``num_batches_tracked``, which inference never reads, may be missing.

    Raises:
        WeightsError: a key is missing or has another shape; the message names the first.
    """
    expected = network.state_dict()
    found: dict[str, Tensor] = {}
    for key, tensor in expected.items():
        value = state.get(prefix + key)
        if value is None:
            if key.endswith("num_batches_tracked"):
                continue
            raise WeightsError(
                f"{origin}: lacks '{prefix + key}'; these are weights of another network than {_name(network)}"
            )
        if value.shape != tensor.shape:
            raise WeightsError(
                f"{origin}: '{prefix + key}' has shape {tuple(value.shape)} where {_name(network)} has "
                f"{tuple(tensor.shape)}; these are weights of another network"
            )
        found[key] = value
    network.load_state_dict(found, strict=False, assign=True)


def _name(network: nn.Module) -> str:
    info = getattr(network, "info", None)
    return info.name if isinstance(info, BackboneInfo) else type(network).__name__
