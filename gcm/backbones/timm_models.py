"""Any convolutional model of timm, as ``timm:<name>`` (``pip install ".[timm]"``).

timm's ``features_only`` models say their taps, channels and reductions; of those up to stride 16 become the
backbone's maps. timm's own loader reads the checkpoint, since it knows the formats of its models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from os import PathLike
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from gcm.backbones.base import Backbone, BackboneInfo
from gcm.errors import ConfigError, DependencyError, WeightsError, to_install
from gcm.images.normalisation import IMAGENET, MeanDeviation
from gcm.weights.catalogue import WeightEntry
from gcm.weights.loading import load_checkpoint

__all__ = ["PREFIX", "Timm", "timm_info"]

PREFIX = "timm:"

_COARSEST = 16


@cache
def timm_info(name: str) -> BackboneInfo:
    """What timm says of a model, ``timm:resnet18.a1_in1k`` or without the tag for timm's default weights.

    Raises:
        DependencyError: timm is not installed.
        ConfigError: timm has no such model, or it yields no maps of images of any size.
    """
    timm = _timm(name)
    model_name = name[len(PREFIX) :]
    if not timm.is_model(model_name.partition(".")[0]):
        near = timm.list_models(f"*{model_name.partition('.')[0]}*")[:3]
        raise ConfigError(
            f"timm has no model '{model_name}'{'; similar: ' + ', '.join(near) if near else ''}; "
            "timm.list_models() names all"
        )
    indices, info = _maps(model_name, timm)
    config = timm.get_pretrained_cfg(model_name)
    return BackboneInfo(
        PREFIX + model_name,
        taps=tuple(info[k]["module"] for k in indices),
        strides=tuple(info[k]["reduction"] for k in indices),
        channels=tuple(info[k]["num_chs"] for k in indices),
        weights=_weights(PREFIX + model_name, config),
        description=f"timm {model_name}",
        citation="Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models",
        normalisation=timm_normalisation(model_name),
    )


def timm_normalisation(model_name: str) -> MeanDeviation:
    """The mean and deviation a model of timm was trained with; ImageNet's where timm states none.

    Raises:
        DependencyError: timm is not installed.
        ConfigError: it takes no colour images.
    """
    config = _timm(PREFIX + model_name).get_pretrained_cfg(model_name)
    if config is None:
        return IMAGENET
    mean, deviation = tuple(config.mean), tuple(config.std)
    return MeanDeviation(mean, deviation)


class Timm(Backbone):
    """A timm model up to its last map of stride 16 or less."""

    def __init__(self, info: BackboneInfo) -> None:
        super().__init__()
        self.info = info
        timm = _timm(info.name)
        self._model_name = info.name[len(PREFIX) :]
        self._indices, _ = _maps(self._model_name, timm)
        self.network: nn.Module = timm.create_model(
            self._model_name, features_only=True, out_indices=self._indices, pretrained=False
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.network(x)
        return maps

    def load_file(self, path: str | PathLike[str]) -> None:
        """Load a checkpoint of the whole timm model, in any of the formats timm knows.

        Raises:
            WeightsError: missing, damaged, or of another network.
        """
        state = load_checkpoint(path)  # refuses what is no weight file, or one that could run code
        try:
            self.network = _timm(self.info.name).create_model(
                self._model_name,
                features_only=True,
                out_indices=self._indices,
                pretrained=True,
                pretrained_cfg_overlay={"file": str(path)},
            )
        except (RuntimeError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(
                f"{path}: these are weights of another network than {self.info.name} ({reason})"
            ) from error
        # timm leaves what a checkpoint lacks at random values, so look each tensor up in it.
        known = {_digest(tensor) for tensor in state.values()}
        for key, tensor in self.network.state_dict().items():
            if tensor.is_floating_point() and _digest(tensor) not in known:
                raise WeightsError(
                    f"{path}: holds no values for '{key}'; these are weights of another network than "
                    f"{self.info.name}, or not in the format timm saves"
                )

    def load_weights(self, state: Mapping[str, Tensor], origin: str) -> None:
        """timm reads files only; see :meth:`load_file`."""
        raise WeightsError(f"{origin}: weights of a timm model are loaded from a file")


def _digest(tensor: Tensor) -> bytes:
    """Shape and values, briefly."""
    values = tensor.detach().float().contiguous().numpy()
    return repr(values.shape).encode() + hashlib.blake2b(values.tobytes(), digest_size=16).digest()


def _timm(name: str) -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise DependencyError(
            f"the backbone '{name}' needs the package timm; install it with: {to_install('timm')}"
        ) from error
    module: ModuleType = timm
    return module


def _maps(model_name: str, timm: ModuleType) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
    """Indices of the maps to use, one a stride, fine to coarse; and what timm says of all."""
    try:
        with torch.device("meta"):
            model = timm.create_model(model_name, features_only=True, pretrained=False).eval()
            shapes = [tuple(m.shape[1:]) for m in model(torch.empty(1, 3, 96, 160))]
    except Exception as error:  # timm and its models raise anything, plain assertions included
        raise ConfigError(
            f"{PREFIX}{model_name}: yields no maps of images of any size "
            f"({' '.join(str(error).split())[:120]}); choose a convolutional model"
        ) from error
    info: list[dict[str, Any]] = model.feature_info.get_dicts()
    chosen = {}  # the deepest map of each stride whose shape is as timm says
    for k, entry in enumerate(info):
        stride = entry["reduction"]
        if stride <= _COARSEST and shapes[k] == (entry["num_chs"], 96 // stride, 160 // stride):
            chosen[stride] = k
    if len(chosen) < 2:
        raise ConfigError(f"{PREFIX}{model_name}: has no maps of at least two strides up to {_COARSEST}")
    return tuple(chosen[stride] for stride in sorted(chosen)), info


def _weights(name: str, config: Any) -> WeightEntry | None:
    """Where timm's weights of a model lie; None when timm has none."""
    if config is None or not config.has_weights:
        return None
    licence = config.license or "not stated by timm"
    stem = name.replace(":", "-")
    if config.hf_hub_id:
        urls = (f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors",)
        filename, page = f"{stem}.safetensors", f"https://huggingface.co/{config.hf_hub_id}"
    elif config.url:
        urls, filename, page = (config.url,), f"{stem}.pth", config.origin_url or config.url
    else:
        return None
    return WeightEntry(
        name,
        filename,
        urls,
        licence=licence,
        non_commercial="nc" in licence.lower().split("-"),
        citation=config.paper_ids if isinstance(config.paper_ids, str) else "",
        homepage=page,
    )
