"""The stereo networks' feature extractors load the checkpoints that exist, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gcm.backbones.registry import build_backbone, create_backbone
from gcm.errors import WeightsError

Fill = Callable[[nn.Module], dict[str, Tensor]]


def _norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def _unit(name: str, channels: int, out: int, kernel: int = 3) -> dict[str, tuple[int, ...]]:
    return {f"{name}.0.weight": (out, channels, kernel, kernel)} | _norm(f"{name}.1", out)


def _trunk(nested: bool) -> dict[str, tuple[int, ...]]:
    """Keys and shapes both networks share; in PSMNet a unit before a ReLU lies one level deeper."""
    shapes: dict[str, tuple[int, ...]] = {}
    for k, channels in enumerate((3, 32, 32)):
        shapes |= _unit(f"firstconv.{2 * k if nested else k}", channels, 32)
    channels = 32
    for layer, out, blocks, changes in (
        (1, 32, 3, False),
        (2, 64, 16, True),
        (3, 128, 3, True),
        (4, 128, 3, False),
    ):
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            shapes |= _unit(f"{name}.conv1.0" if nested else f"{name}.conv1", channels, out)
            shapes |= _unit(f"{name}.conv2", out, out)
            if changes and block == 0:
                shapes |= _unit(f"{name}.downsample", channels, out, 1)
            channels = out
    return shapes


def psmnet_shapes() -> dict[str, tuple[int, ...]]:
    """PSMNet's feature extractor, as in ``module.feature_extraction.*`` of its checkpoints."""
    shapes = _trunk(nested=True)
    for branch in (1, 2, 3, 4):
        shapes |= _unit(f"branch{branch}.1", 128, 32, 1)
    return shapes | _unit("lastconv.0", 320, 128) | {"lastconv.2.weight": (32, 128, 1, 1)}


def deeppruner_shapes() -> dict[str, tuple[int, ...]]:
    """DeepPruner-fast's feature extractor."""
    shapes = _trunk(nested=False)
    for branch in (2, 3, 4):
        shapes |= _unit(f"branch{branch}.1", 128, 32, 1)
    return shapes | _unit("lastconv.0", 352, 128) | {"lastconv.1.weight": (32, 128, 1, 1)}


def crestereo_shapes() -> dict[str, tuple[int, ...]]:
    """CREStereo's feature network; every convolution has a bias, instance norm has nothing."""
    kernels = {"conv1": (64, 3, 7, 7), "conv2": (256, 128, 1, 1)}
    channels = 64
    for layer, out in ((1, 64), (2, 96), (3, 128)):
        for block in (0, 1):
            name = f"layer{layer}.{block}"
            kernels[f"{name}.conv1"] = (out, channels, 3, 3)
            kernels[f"{name}.conv2"] = (out, out, 3, 3)
            kernels[f"{name}.downsample.0"] = (out, channels, 1, 1)
            channels = out
    return {
        f"{name}.{part}": shape if part == "weight" else shape[:1]
        for name, shape in kernels.items()
        for part in ("weight", "bias")
    }


def _tensors(shapes: dict[str, tuple[int, ...]], prefix: str) -> dict[str, Tensor]:
    """Every tensor with a value of its own, so that a mix-up shows."""
    return {prefix + key: torch.full(shape, 0.001 * (k + 1)) for k, (key, shape) in enumerate(shapes.items())}


def _nested_deeper(key: str) -> str:
    return re.sub(r"firstconv\.([024])\.", lambda m: f"firstconv.{int(m[1]) // 2}.0.", key)


SURPLUS = {"module.dres0.0.0.weight": torch.zeros(2), "module.classif1.2.weight": torch.zeros(3)}

FORMATS: dict[str, tuple[str, dict[str, tuple[int, ...]], Callable[[dict[str, tuple[int, ...]]], object]]] = {
    "DeepPruner-fast .tar": (
        "DEEPPRUNER_FATS",
        deeppruner_shapes(),
        lambda s: {
            "epoch": 12,
            "state_dict": _tensors(s, "module.feature_extraction.") | SURPLUS,
            "train_loss": 0.5,
        },
    ),
    "PSMNet .tar": (
        "PSM",
        psmnet_shapes(),
        lambda s: {"state_dict": _tensors(s, "module.feature_extraction.") | SURPLUS, "train_loss": 0.5},
    ),
    "PSMNet .pth, not data-parallel": (
        "PSM",
        psmnet_shapes(),
        lambda s: _tensors(s, "feature_extraction.") | {"dres0.0.0.weight": torch.zeros(2)},
    ),
    "PSMNet, firstconv nested deeper": (
        "PSM",
        psmnet_shapes(),
        lambda s: {
            _nested_deeper(key): value for key, value in _tensors(s, "module.feature_extraction.").items()
        },
    ),
    "PSMNet, extractor alone": ("PSM", psmnet_shapes(), lambda s: _tensors(s, "")),
    "CREStereo, whole": (
        "CRE",
        crestereo_shapes(),
        lambda s: _tensors(s, "fnet.") | {"update_block.gru.convz1.weight": torch.zeros(2)},
    ),
    "CREStereo, fnet alone": ("CRE", crestereo_shapes(), lambda s: _tensors(s, "")),
    "CREStereo, fnet alone, data-parallel": ("CRE", crestereo_shapes(), lambda s: _tensors(s, "module.")),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_loads_fully(kind: str, tmp_path: Path) -> None:
    name, shapes, wrap = FORMATS[kind]
    path = tmp_path / "checkpoint.tar"
    torch.save(wrap(shapes), path)
    backbone = create_backbone(name, weights=path)
    state = {k: v for k, v in backbone.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert set(state) == set(shapes), "the extractor has other tensors than the checkpoint"
    for key, value in _tensors(shapes, "").items():
        assert torch.equal(state[key], value), key


@pytest.mark.parametrize(
    ("name", "shapes", "prefix", "missing"),
    [
        ("PSM", psmnet_shapes(), "feature_extraction.", "layer2.15.conv1.0.0.weight"),
        ("PSM", psmnet_shapes(), "feature_extraction.", "firstconv.0.0.weight"),
        ("DEEPPRUNER_FATS", deeppruner_shapes(), "feature_extraction.", "lastconv.1.weight"),
        ("CRE", crestereo_shapes(), "fnet.", "layer3.0.downsample.0.bias"),
    ],
)
def test_a_missing_key_is_named(
    name: str, shapes: dict[str, tuple[int, ...]], prefix: str, missing: str, tmp_path: Path
) -> None:
    state = _tensors(shapes, prefix)
    del state[prefix + missing]
    torch.save({"state_dict": state}, tmp_path / "short.tar")
    with pytest.raises(WeightsError, match=re.escape(f"lacks '{prefix}{missing}'")):
        create_backbone(name, weights=tmp_path / "short.tar")


def test_weights_of_the_other_network_are_refused(tmp_path: Path) -> None:
    torch.save(_tensors(psmnet_shapes(), "feature_extraction."), tmp_path / "psm.pth")
    with pytest.raises(WeightsError, match="another network than DEEPPRUNER_FATS"):
        create_backbone("DEEPPRUNER_FATS", weights=tmp_path / "psm.pth")


def _tap(module: nn.Module) -> list[Tensor]:
    seen: list[Tensor] = []
    module.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    return seen


def test_residual_blocks_of_the_pyramids_have_no_relu_after_their_sum(fill: Fill) -> None:
    for name in ("PSM", "DEEPPRUNER_FATS"):
        backbone = build_backbone(name)
        fill(backbone)
        with torch.no_grad():
            fine = backbone(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)))[0]
        assert fine.min() < 0


def test_psm_halves_its_output_by_taking_every_other_cell(fill: Fill) -> None:
    backbone = build_backbone("PSM")
    fill(backbone)
    output = _tap(backbone.get_submodule("lastconv"))
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(maps[1], output[0])
    assert torch.equal(maps[2], output[0][..., ::2, ::2])


def test_cre_taps(fill: Fill) -> None:
    backbone = build_backbone("CRE")
    fill(backbone)
    fine, output = _tap(backbone.get_submodule("layer1")), _tap(backbone.get_submodule("conv2"))
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(maps[0], fine[0])
    assert torch.equal(maps[1], output[0])
    expected = output[0].reshape(1, 256, 8, 2, 12, 2).mean((3, 5))
    torch.testing.assert_close(maps[2], expected, rtol=0, atol=1e-5)


def test_pools_of_psm_see_the_context_in_the_order_of_the_paper(fill: Fill) -> None:
    """The 320 channels are layer2, layer4, then the pools from small to large."""
    backbone = build_backbone("PSM")
    fill(backbone)
    parts = {key: _tap(backbone.get_submodule(key)) for key in ("layer2", "layer4", "branch1", "branch4")}
    seen: list[Tensor] = []
    backbone.get_submodule("lastconv").register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    with torch.no_grad():
        backbone(torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(1)))
    fused = seen[0]
    assert fused.shape == (1, 320, 64, 64)
    assert torch.equal(fused[:, :64], parts["layer2"][0])
    assert torch.equal(fused[:, 64:192], parts["layer4"][0])
    assert parts["branch4"][0].shape[-2:] == (8, 8)
    assert parts["branch1"][0].shape[-2:] == (1, 1)
    torch.testing.assert_close(fused[:, 288:], parts["branch1"][0].expand(1, 32, 64, 64), rtol=1e-5, atol=0)
