"""Weights that lie in the shared folder, for configurations whose own have to be fetched."""

from __future__ import annotations

from pathlib import Path

from gcm.config import MatcherConfig
from gcm.options import PublishedOptions

__all__ = ["local_weights"]

WEIGHTS = {
    "RESNET18": "resnet18_imagenet1k_v1_bnfolded_to_layer3.pth",
    "R2D2": "r2d2_WASF_N16.pt",
    "R2D2_STU": "dstl_r2d2.pt",
    "COARSEVGG16": "vgg16_imagenet_features_fp16.pth",
}


def local_weights(config: MatcherConfig, shared: Path) -> dict[str, str]:
    """Changes to a configuration that make it use the weights in the shared folder, where it names none."""
    networks = {"weights_path": (config.model, config.weights_path)}
    if isinstance(config.method, PublishedOptions):
        networks["fine_weights_path"] = (config.method.fine_model or "", config.method.fine_weights_path)
    changes = {}
    for key, (network, path) in networks.items():
        file = shared / "weights" / WEIGHTS.get(network.upper(), "")
        if path is None and file.is_file():
            changes[key] = str(file)
    return changes
