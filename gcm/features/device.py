"""Where the networks run, and in what precision they compute there."""

from __future__ import annotations

import torch

from gcm.errors import ConfigError, UsageError

__all__ = ["choose_device", "choose_precision"]


def choose_device(name: str | None, *, strict: bool = False) -> tuple[torch.device, list[str]]:
    """The device that is asked for, or the best there is.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; the best there is when None.
        strict: refuse a device that this machine lacks. Otherwise the CPU takes its place, because published
            configurations name a GPU and must run on a machine without one.

    Returns:
        The device, and notes for people: one when another device than the one asked for is used.

    Raises:
        UsageError: `strict`, and this machine has no such device.
        ConfigError: a GPU's number beyond those that are there.
    """
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name is None:
        return torch.device(best), []
    kind = name.partition(":")[0]
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and best != "mps"):
        if strict:
            raise UsageError(f"device {name} is not available on this machine; use cpu")
        return torch.device("cpu"), [f"device {name} is not available here; used cpu"]
    index = torch.device(name).index or 0
    if kind == "cuda" and index >= (count := torch.cuda.device_count()):
        raise ConfigError(f"device {name} does not exist; there are {count}, counted from cuda:0")
    return torch.device(name), []


def choose_precision(name: str, device: torch.device, *, runtime: str = "torch") -> str:
    """The precision that is asked for; for ``auto`` the one this hardware computes fastest in."""
    if name != "auto":
        return name
    if runtime == "onnxruntime":
        return "float16" if device.type == "cuda" else "float32"
    if device.type == "cuda":
        # Where there is bfloat16 there is TF32 for float32, and an H200 took longer in bfloat16 for an image.
        return "float32" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    # Without these instructions bfloat16 is emulated, and slower than float32. PyTorch tells only privately.
    tells = (getattr(torch.cpu, f"_is_{what}_supported", None) for what in ("avx512_bf16", "amx_tile"))
    has = device.type == "cpu" and any(tell is not None and tell() for tell in tells)
    # A user may keep PyTorch from them (ATEN_CPU_CAPABILITY), and see what other processors compute.
    allowed = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return "bfloat16" if has and allowed else "float32"
