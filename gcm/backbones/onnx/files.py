"""ONNX files of our networks: compared with PyTorch, and kept in the cache folder by their weights' hash."""

from __future__ import annotations

import hashlib
import logging
import re
from contextlib import ExitStack, suppress
from pathlib import Path

import torch
from torch import nn

from gcm.backbones.onnx.export import OPSET, Exportable, export_onnx
from gcm.backbones.onnx.session import Session, check_packages
from gcm.errors import ConfigError, OutputError
from gcm.storage.atomic import whole_file
from gcm.storage.locks import exclusive_lock
from gcm.weights.store import cache_folder

__all__ = ["cached_export", "checked_export"]

_FORMAT = 1
"""Of the files in the cache; one more whenever what is exported changes."""

_COARSER = {"float32": 1, "float16": 100}
"""By how much a tolerance grows with a precision: float16 rounds to 5e-4 where float32 does to 6e-8."""

_log = logging.getLogger(__name__)


def checked_export(exportable: Exportable, precision: str) -> tuple[bytes, float]:
    """The content of an ONNX file, compared with PyTorch, and how far it is from that.

    Returns:
        The content; the largest difference of any output, as a part of that output's largest value, over
        inputs of two sizes.

    Raises:
        ConfigError: the network cannot be exported, or gives something else then.
        DependencyError: a package is missing.
    """
    model = export_onnx(exportable, precision=precision)
    session = Session(model, ["CPUExecutionProvider"])
    largest = 0.0
    for inputs in exportable.samples:
        with torch.inference_mode():
            for ours, theirs in zip(exportable.network(*inputs), session(*inputs), strict=True):
                if ours.shape != theirs.shape:
                    largest = float("inf")
                else:
                    largest = max(largest, float((ours - theirs).abs().max() / ours.abs().max()))
    tolerance = exportable.tolerance * _COARSER[precision]
    if not largest <= tolerance:  # nan, too
        raise ConfigError(
            f"{exportable.metadata['network']}: its ONNX file in {precision} differs from PyTorch by "
            f"{largest:.1g} of the largest value, more than {tolerance:g}; use "
            f"{'runtime: torch' if precision == 'float32' else 'float32'}"
        )
    return model, largest


def cached_export(exportable: Exportable, precision: str) -> bytes:
    """The ONNX file of a network, from the cache folder or, the first time, into it.

    Raises:
        ConfigError: the network cannot be exported.
        DependencyError: a package is missing.
    """
    check_packages()
    name = re.sub(r"\W+", "_", exportable.metadata["network"].lower())
    path = cache_folder().parent / "onnx" / f"{name}_{precision}_{_hash(exportable.network, precision)}.onnx"
    model = _read(path)
    if model is not None:
        return model
    with ExitStack() as stack:
        with suppress(OSError):  # a folder nobody may write into
            stack.enter_context(exclusive_lock(path.with_suffix(".lock"), wait=True))
        model = _read(path)  # of another process that was faster
        if model is None:
            model, _ = checked_export(exportable, precision)
            _save(model, path)
    return model


def _read(path: Path) -> bytes | None:
    """The model in a file; None when there is none, or a damaged one."""
    import onnx

    try:
        model = path.read_bytes()
        onnx.checker.check_model(model)
    except FileNotFoundError:
        return None
    except Exception as error:  # what damaged bytes make it raise has no end
        _log.warning(
            "%s: cannot be read (%s); exporting the network again", path, " ".join(str(error).split())
        )
        return None
    return model


def _save(model: bytes, path: Path) -> None:
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(model)
    except OutputError as error:  # next time it is exported again
        _log.warning("%s", error)


def _hash(network: nn.Module, precision: str) -> str:
    """Of all that an exported file depends on."""
    from gcm import __version__

    digest = hashlib.sha256(f"{_FORMAT} {OPSET} {precision} {__version__} {torch.__version__}".encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
