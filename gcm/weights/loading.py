"""Reading checkpoints without running anything they contain."""

from __future__ import annotations

import pickle
import re
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from gcm.errors import WeightsError

__all__ = ["load_checkpoint"]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "extractor")


def load_checkpoint(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors or PyTorch checkpoint, on the CPU.

    A checkpoint that wraps its tensors (``{"state_dict": ...}``) is unwrapped, and a ``module.`` prefix
    that every key has (left by data-parallel training) is removed. Half-precision values become float32.

    Raises:
        WeightsError: missing or damaged, or a pickle that holds anything but tensors and plain data
            (such files could run code; they are refused, never executed).
    """
    path = Path(path)
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder; give a weight file")
    if not path.exists():
        raise WeightsError(f"{path}: no such weight file")
    try:
        if path.suffix == ".safetensors":
            data: Any = load_file(path)
        else:
            data = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if re.search(r"unsupported (global|class)", str(error), re.IGNORECASE):
            raise WeightsError(
                f"{path}: holds more than tensors and could run code, so it was not loaded; "
                "save its state_dict alone, or as .safetensors"
            ) from error
        raise WeightsError(f"{path}: not a weight file (damaged, or of another kind)") from error
    except Exception as error:  # what damaged bytes make the readers raise has no end
        raise WeightsError(f"{path}: not a weight file (damaged, or of another kind)") from error
    return _tensors(data, path)


def _tensors(data: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(2):
        if isinstance(data, dict):
            inner = next((data[key] for key in _WRAPPERS if isinstance(data.get(key), dict)), None)
            data = data if inner is None else inner
    if not isinstance(data, dict):
        raise WeightsError(f"{path}: holds no named tensors; save a model's state_dict")
    state = {str(key): value for key, value in data.items() if isinstance(value, Tensor)}
    if not state:
        raise WeightsError(f"{path}: holds no named tensors; save a model's state_dict")
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return {
        key: value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
        for key, value in state.items()
    }
