"""Networks as ONNX files, for other runtimes: sizes and batch free, in float32 or float16.

Three networks can be exported: the maps of a backbone, and of the attention network the detector of keypoints
and the matcher of their descriptors. What a file takes and gives stands in its metadata.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gcm.backbones.attention import AttentionNetwork
from gcm.backbones.base import Backbone
from gcm.backbones.onnx.session import check_packages
from gcm.errors import ConfigError
from gcm.images.normalisation import PerImage

__all__ = [
    "OPSET",
    "Exportable",
    "backbone_maps",
    "export_onnx",
    "keypoint_detector",
    "keypoint_matcher",
]

OPSET = 18
"""Version of ONNX's operators that the files use; ONNX Runtime has it since 1.14 (2023)."""

_DTYPES = {"float32": torch.float32, "float16": torch.float16}
_LEAST_SIDE = 32
"""Pixels: a side of the smallest image that an exported backbone takes. Below, ours leave layers out."""


@dataclass(frozen=True)
class Exportable:
    """A network, what goes in and what comes out."""

    network: nn.Module
    """Takes and returns tensors alone."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    samples: tuple[tuple[Tensor, ...], ...]
    """Inputs of several sizes: what goes in for the export, and then to compare with PyTorch."""
    free: tuple[dict[int, Any], ...]
    """Of each input the axes of any length, by :class:`torch.export.Dim`."""
    metadata: dict[str, str]
    """What a user of the file must know; `network` is its name."""
    tolerance: float = 1e-4
    """Most by which a float32 file may differ from PyTorch on noise, as a part of the largest value."""


def backbone_maps(backbone: Backbone) -> Exportable:
    """The maps of a backbone, fine to coarse, from images normalised as it says."""
    info = backbone.info
    channels = 1 if isinstance(info.normalisation, PerImage) and info.normalisation.grey else 3
    multiple = info.pad_multiple
    least = smallest_side(backbone)
    dim = torch.export.Dim
    sides = [multiple * dim(name, min=least // multiple) for name in ("rows", "columns")]
    return Exportable(
        _Maps(backbone),
        ("image",),
        info.taps,
        # In the first, a length of 1, and two that are equal, would be taken for fixed.
        (
            (_noise(2, channels, least + 3 * multiple, least + 5 * multiple),),
            (_noise(1, channels, least + 4 * multiple, least),),
        ),
        ({0: dim("batch"), 2: sides[0], 3: sides[1]},),
        {
            "network": info.name,
            "input": f"image: batch x {channels} ({'grey' if channels == 1 else 'RGB'}) x height x width "
            f"float32, {info.normalisation}, sides multiples of {multiple} and at least {least}, "
            "padded with zeros right and below",
            "strides": " ".join(map(str, info.strides)),
            "channels": " ".join(map(str, info.channels)),
            "normalisation": str(info.normalisation),
            "licence": info.licence,
        },
    )


def smallest_side(backbone: Backbone) -> int:
    """Pixels: a side of the smallest image that the exported backbone takes."""
    multiple = backbone.info.pad_multiple
    return max(2, -(-_LEAST_SIDE // multiple)) * multiple


def keypoint_detector(network: AttentionNetwork) -> Exportable:
    """Coarse descriptors and the scores of all pixels, see :meth:`AttentionNetwork.detect`."""
    dim = torch.export.Dim
    sides = [8 * dim(name, min=2) for name in ("rows", "columns")]
    return Exportable(
        _Detector(network),
        ("image",),
        ("descriptors", "scores"),
        ((_noise(2, 1, 104, 152),), (_noise(1, 1, 48, 16),)),
        ({0: dim("batch"), 2: sides[0], 3: sides[1]},),
        {
            "network": "gcm_attention, keypoints",
            "input": "image: batch x 1 (grey) x height x width float32, mean 0, deviation 1, "
            "sides multiples of 8",
        },
    )


def keypoint_matcher(network: AttentionNetwork) -> Exportable:
    """The attention network's matcher, see :class:`gcm.backbones.attention.AttentionMatcher`."""
    dim = torch.export.Dim
    batch, first, second = dim("batch"), dim("first", min=2), dim("second", min=2)
    return Exportable(
        network.matcher,
        ("points0", "points1", "descriptors0", "descriptors1"),
        ("log_probability", "logits0", "logits1"),
        tuple(
            (
                *(_noise(b, count, 2).clamp(-1, 1) for count in (m, n)),
                *(nn.functional.normalize(_noise(b, count, 64), dim=-1) for count in (m, n)),
            )
            for b, m, n in ((2, 37, 53), (1, 80, 9))
        ),
        tuple({0: batch, 1: count} for count in (first, second, first, second)),
        {
            "network": "gcm_attention, matcher",
            "input": "points: batch x N x 2, -1 to 1 along the longer side, 0 in the middle; "
            "descriptors: batch x N x 64, unit length",
        },
        tolerance=1e-3,  # PyTorch itself differs by 4e-4 from the same computed in float64
    )


def _noise(*shape: int) -> Tensor:
    """Mean 0, deviation 1; always the same, and whatever else draws numbers draws as before."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def export_onnx(exportable: Exportable, *, precision: str = "float32") -> bytes:
    """The content of an ONNX file.

    Args:
        exportable: what to export; stays as it is.
        precision: ``float32`` or ``float16``, of weights and computation; what goes in and comes out is
            float32 in either.

    Raises:
        ConfigError: this network cannot be exported.
        DependencyError: onnx or onnxscript is missing.
    """
    check_packages()
    network = exportable.network
    if precision != "float32":
        network = _Reduced(copy.deepcopy(network).to(_DTYPES[precision]), _DTYPES[precision])
    names = exportable.metadata["network"]
    dynamic = exportable.free if precision == "float32" else (exportable.free,)
    with _silence(), torch.enable_grad():
        try:
            program = torch.onnx.export(
                network.eval(),
                exportable.samples[0],
                dynamo=True,
                opset_version=OPSET,
                input_names=list(exportable.inputs),
                output_names=list(exportable.outputs),
                dynamic_shapes=dynamic,
                verbose=False,
            )
            assert program is not None
        except Exception as error:  # what the exporter raises has no end
            raise ConfigError(
                f"{names}: cannot be exported to ONNX ({_summary(error)}); use runtime: torch"
            ) from error
    return _finished(program.model_proto, exportable, precision)


def _finished(model: Any, exportable: Exportable, precision: str) -> bytes:
    """With what users must know, and without the exporter's notes (paths of this machine among them)."""
    from gcm import __version__

    model.producer_name, model.producer_version = "gcm", __version__
    del model.metadata_props[:]
    for key, value in {**exportable.metadata, "precision": precision}.items():
        model.metadata_props.add(key=f"gcm.{key}", value=value)
    graph = model.graph
    del graph.value_info[:]
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _summary(error: BaseException) -> str:
    """What is at the root of an exporter's error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's prints, logs and warnings to itself: of every step, and of an error once more."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.fx", "torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


class _Maps(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(image))


class _Detector(nn.Module):
    def __init__(self, network: AttentionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.detect(image)


class _Reduced(nn.Module):
    """A network of half precision between inputs and outputs of float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(m.float() for m in self.network(*(x.to(self.dtype) for x in inputs)))
