"""ONNX Runtime's sessions, as the rest uses them: tensors in, tensors out."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gcm.errors import DependencyError, to_install

__all__ = ["Provider", "Session", "check_packages", "choose_providers"]

_KEPT_VALUES = 2**21
"""Input values up to which ONNX Runtime keeps its memory for the next image: two megapixels take 0.5 GiB.
Above, each layer asks the system for its own: half the memory, for nearly twice the network's time."""

_LEFT_OUT = {"AzureExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"}
"""Providers not taken unless named: one calls a server, the others compile minutes for every new size."""

_BY_DEVICE = {
    "cpu": (),
    "cuda": ("CUDAExecutionProvider", "ROCMExecutionProvider", "MIGraphXExecutionProvider"),
    "mps": ("CoreMLExecutionProvider",),
}

_PYTORCH = (2, 7)
"""The first whose exporter writes what is asked of it here."""

Provider: TypeAlias = str | tuple[str, dict[str, Any]]


def check_packages() -> None:
    """Refuse where a package that exporting and running takes is missing or too old.

    Raises:
        DependencyError: it is.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise DependencyError(f"ONNX needs more packages ({error}); {to_install('onnx')}") from error
    import torch

    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _PYTORCH:
        least = ".".join(map(str, _PYTORCH))
        raise DependencyError(
            f"ONNX needs PyTorch {least} or newer, this is {torch.__version__}; "
            f'pip install --upgrade "torch>={least}"'
        )


def choose_providers(device: str | None) -> tuple[list[Provider], list[str]]:
    """What ONNX Runtime computes with: first what is asked for, the CPU at last.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; all this build of ONNX Runtime has when None.

    Returns:
        The providers, and notes for people: one when the device asked for cannot be had.

    Raises:
        DependencyError: ONNX Runtime, or what makes its files, is missing.
    """
    check_packages()
    import onnxruntime

    available = [name for name in onnxruntime.get_available_providers() if name not in _LEFT_OUT]
    if device is None:
        return available, []
    kind, _, number = device.partition(":")
    chosen: list[Provider] = []
    for name in available:
        if name in _BY_DEVICE[kind]:
            chosen.append((name, {"device_id": int(number)}) if number else name)
    notes = []
    if kind != "cpu" and not chosen:
        notes = [f"this ONNX Runtime has no provider for {device}; the networks run on the CPU"]
    return [*chosen, "CPUExecutionProvider"], notes


class Session:
    """A session, made when it is first run, so that it takes PyTorch's number of threads then.

    It can be copied and pickled; copies make sessions of their own.

    Args:
        model: content of an ONNX file.
        providers: see :func:`choose_providers`.
        outputs: those to compute, all if None; what only others need is left out.
    """

    def __init__(
        self, model: bytes, providers: Sequence[Provider], outputs: Sequence[str] | None = None
    ) -> None:
        self._model = model if outputs is None else _with_outputs(model, outputs)
        self._providers = list(providers)
        self._lock = threading.Lock()
        self._sessions: dict[bool, Any] = {}
        """By whether they keep their memory."""

    def __getstate__(self) -> dict[str, Any]:
        return {"_model": self._model, "_providers": self._providers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_model"], state["_providers"])  # type: ignore[misc]

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Run it; outputs are float32 tensors where the first input is."""
        arrays = [np.ascontiguousarray(x.detach().float().cpu().numpy()) for x in inputs]
        session = self._made(sum(array.size for array in arrays) <= _KEPT_VALUES)
        feed = {entry.name: array for entry, array in zip(session.get_inputs(), arrays, strict=True)}
        return [torch.from_numpy(y).to(inputs[0].device) for y in session.run(None, feed)]

    @property
    def provider(self) -> str:
        """What computes it, or most of it."""
        return str(self._made(True).get_providers()[0])

    def _made(self, keeping: bool) -> Any:
        """The session that keeps its memory from one image to the next, or the one that does not."""
        import onnxruntime

        with self._lock:
            if keeping not in self._sessions:
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = torch.get_num_threads()
                options.log_severity_level = 3  # errors: it warns of what users cannot mend
                options.enable_mem_pattern = False  # it is for inputs of one size
                options.enable_cpu_mem_arena = keeping
                # Threads that spin while PyTorch's compute take the cores from them.
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                self._sessions[keeping] = onnxruntime.InferenceSession(
                    self._model, options, providers=self._providers
                )
            return self._sessions[keeping]


def _with_outputs(model: bytes, outputs: Sequence[str]) -> bytes:
    """The model with these outputs alone, and what they need: ONNX Runtime would compute the rest, too."""
    import onnx

    proto = onnx.load_from_string(model)
    graph = proto.graph
    needed = set(outputs)
    nodes = []
    for node in reversed(graph.node):  # they stand in the order of computation
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    for field, kept in (
        (graph.node, nodes[::-1]),
        (graph.output, [entry for entry in graph.output if entry.name in outputs]),
        (graph.initializer, [entry for entry in graph.initializer if entry.name in needed]),
    ):
        copies = [copy.deepcopy(entry) for entry in kept]
        del field[:]
        field.extend(copies)
    content: bytes = proto.SerializeToString()
    return content
