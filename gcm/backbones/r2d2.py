"""The R2D2 patch networks: teacher (Quad-L2Net) and distilled student.

Both keep full resolution throughout: where the original network would stride by `s`, the layers
*after* it multiply their dilation by `s` instead. The student's architecture is also that of the
descriptor we ship (see ``gcm/weights/embedded``), trained by ``gcm distill``.

Source: R2D2 (arXiv 1906.06195); student: GCM (arXiv 2403.05388), section on distillation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcm.backbones.base import Backbone, BackboneInfo
from gcm.backbones.patch_stream import FoldedLayer, SampledDescriptors, run_dense
from gcm.errors import WeightsError
from gcm.images.normalisation import IMAGENET, Normalisation, PerImage

__all__ = [
    "INFOS",
    "R2D2",
    "STUDENT",
    "TEACHER",
    "PatchLayer",
    "PatchNetwork",
    "patch_network_from_state",
    "patch_pyramid",
]


@dataclass(frozen=True)
class PatchLayer:
    """One convolution of a patch network: kernel size, output channels, dilation, what follows it."""

    kernel: int
    channels: int
    dilation: int
    norm: bool = True
    relu: bool = True

    @property
    def padding(self) -> int:
        return (self.kernel - 1) * self.dilation // 2


TEACHER: tuple[PatchLayer, ...] = (
    PatchLayer(3, 32, 1),
    PatchLayer(3, 32, 1),
    PatchLayer(3, 64, 1),
    PatchLayer(3, 64, 2),
    PatchLayer(3, 128, 2),
    PatchLayer(3, 128, 4),
    PatchLayer(2, 128, 4, relu=False),
    PatchLayer(2, 128, 8, relu=False),
    PatchLayer(2, 128, 16, norm=False, relu=False),
)
"""R2D2 WASF N16: 486k weights, receptive field 51 px."""

STUDENT: tuple[PatchLayer, ...] = (
    PatchLayer(3, 32, 1),
    PatchLayer(3, 64, 1),
    PatchLayer(3, 128, 2),
    PatchLayer(2, 128, 4, relu=False),
    PatchLayer(2, 128, 8, relu=False),
    PatchLayer(2, 128, 16, norm=False, relu=False),
)
"""The distilled student: 290k weights, receptive field 37 px."""


class PatchNetwork(nn.Module):
    """Full-resolution dense descriptors, B x 3 x H x W (normalised RGB) -> B x 128 x H x W, not unit length.

    Modules are numbered as in the published checkpoints (``ops.N`` counts convolution, batch norm and
    ReLU in order), so those load without renaming.
    """

    normalisation: Normalisation = IMAGENET
    """How the input must be normalised; that of a fine model says so itself."""

    def __init__(self, layers: tuple[PatchLayer, ...] = STUDENT) -> None:
        super().__init__()
        self.layers = layers
        ops: list[nn.Module] = []
        in_channels = 3
        for layer in layers:
            ops.append(
                nn.Conv2d(
                    in_channels, layer.channels, layer.kernel, padding=layer.padding, dilation=layer.dilation
                )
            )
            if layer.norm:
                ops.append(nn.BatchNorm2d(layer.channels, affine=False))
            if layer.relu:
                ops.append(nn.ReLU(inplace=True))
            in_channels = layer.channels
        self.ops = nn.ModuleList(ops)
        self.channels = in_channels

    @property
    def margins(self) -> tuple[int, int]:
        """Pixels by which a descriptor's receptive field reaches beyond it, before and after."""
        before = sum(layer.padding for layer in self.layers)
        after = sum((layer.kernel - 1) * layer.dilation - layer.padding for layer in self.layers)
        return before, after

    def forward(self, x: Tensor) -> Tensor:
        """Dense descriptors; in inference strip by strip, in less time and memory."""
        learning = torch.is_grad_enabled() and (
            x.requires_grad or any(p.requires_grad for p in self.parameters())
        )
        if self.training or learning or not self._symmetric:
            return self._run(x)
        return run_dense(self.folded(x.dtype), x)

    def sampled(
        self,
        image: Callable[[], Tensor],
        size: tuple[int, int],
        *,
        keep: bool,
        dtype: torch.dtype = torch.float32,
    ) -> SampledDescriptors:
        """The dense descriptors of an image, computed only where they are asked for (in inference).

        Args:
            image: gives the input, 1 x 3 x H x W.
            size: H and W.
            keep: whether they may be asked for again.
            dtype: what to compute in.
        """
        return SampledDescriptors(self.folded(dtype), (self.channels, *size), image, keep=keep)

    def folded(self, dtype: torch.dtype = torch.float32) -> list[FoldedLayer]:
        """The convolutions with batch norm folded in: its mean and deviation are constants in inference."""
        folded: list[FoldedLayer] = []
        ops = list(self.ops)
        for conv, after in zip(ops, [*ops[1:], None], strict=True):
            if not isinstance(conv, nn.Conv2d):
                continue
            layer = self.layers[len(folded)]
            weight = conv.weight
            bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias
            if isinstance(after, nn.BatchNorm2d):
                assert after.running_mean is not None
                assert after.running_var is not None
                scale = (after.running_var + after.eps).rsqrt()
                weight, bias = weight * scale[:, None, None, None], (bias - after.running_mean) * scale
            weight = weight.to(dtype).contiguous(memory_format=torch.channels_last)
            folded.append(FoldedLayer(weight, bias.to(dtype), layer.dilation, layer.relu))
        return folded

    @property
    def _symmetric(self) -> bool:
        return all(2 * layer.padding == (layer.kernel - 1) * layer.dilation for layer in self.layers)

    def _run(self, x: Tensor) -> Tensor:
        for op in self.ops:
            x = op(x)
        return x


def patch_network_from_state(state: Mapping[str, Tensor], origin: str) -> PatchNetwork:
    """Build the patch network a checkpoint's shapes belong to, and load it.

    Args:
        state: tensors named ``ops.N.*`` (``module.`` prefixes and the detector heads ``clf.*`` and
            ``sal.*`` are ignored).
        origin: where the state came from, for the error message.

    Raises:
        WeightsError: when it is neither the teacher nor the student.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {key: value for key, value in state.items() if key.startswith("ops.")}
    for layers in (STUDENT, TEACHER):
        network = PatchNetwork(layers).float()  # whatever PyTorch's default type is
        expected = network.state_dict()
        # Older checkpoints may lack the batch counters, which inference never reads.
        counters = {key for key in expected if key.endswith("num_batches_tracked")}
        if set(expected) - counters <= set(state) <= set(expected) and all(
            expected[key].shape == value.shape for key, value in state.items()
        ):
            network.load_state_dict(state, strict=False)
            return network.eval().requires_grad_(False)
    raise WeightsError(
        f"{origin}: not the weights of an R2D2 patch network (teacher or student); "
        "give a checkpoint with the keys ops.0.weight, ops.1.running_mean, ..."
    )


class R2D2(Backbone):
    """A patch network whose full-resolution map is 2 x 2 average-pooled into a pyramid of strides 1 to 16.

    The full-resolution map is pooled as it is; every pooled map is normalised over channels before
    it is pooled further, and so returned.
    """

    def __init__(self, info: BackboneInfo) -> None:
        super().__init__()
        self.info = info
        self.network = PatchNetwork(TEACHER if info.name == "R2D2" else STUDENT)

    def forward(self, x: Tensor) -> list[Tensor]:
        return patch_pyramid(self.network(x), len(self.info.strides))

    def load_weights(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Load a teacher's or a student's checkpoint, whichever it is."""
        self.network = patch_network_from_state(state, origin)


def patch_pyramid(dense: Tensor, levels: int) -> list[Tensor]:
    """Pool a full-resolution map into `levels` maps of strides 1, 2, 4, ... (see :class:`R2D2`)."""
    maps = [dense]
    x = dense
    for _ in range(levels - 1):
        x = F.normalize(F.avg_pool2d(x, 2), dim=1)
        maps.append(x)
    return maps


def _info(
    name: str,
    strides: tuple[int, ...],
    weights: str,
    description: str,
    citation: str,
    normalisation: Normalisation,
) -> BackboneInfo:
    return BackboneInfo(
        name,
        taps=("patch network", *(f"average pool {s}" for s in strides[1:])),
        strides=strides,
        channels=(128,) * len(strides),
        weights=weights,
        description=description,
        citation=citation,
        normalisation=normalisation,
    )


_R2D2_CITATION = (
    "Revaud et al., R2D2: Repeatable and Reliable Detector and Descriptor, NeurIPS 2019 (arXiv 1906.06195)"
)

INFOS: tuple[BackboneInfo, ...] = (
    _info(
        "R2D2",
        (1, 2, 4, 8, 16),
        "r2d2",
        "R2D2 patch network (teacher), average-pooled",
        _R2D2_CITATION,
        IMAGENET,
    ),
    _info(
        "R2D2_STU",
        (1, 2, 4, 8, 16),
        "r2d2_student",
        "GCM's distilled student, average-pooled",
        "GCM (arXiv 2403.05388)",
        IMAGENET,
    ),
    # Pooled to stride 16, a small receptive field loses too much; from stride 8 on it carries a match.
    _info(
        "GCM_PATCH",
        (1, 2, 4, 8),
        "gcm_patch",
        "our own embedded descriptor, average-pooled",
        "this package",
        PerImage(),
    ),
)
