"""timm's models as backbones."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gcm.backbones.registry import backbone_info, build_backbone, create_backbone, known_weights
from gcm.config import MatcherConfig
from gcm.errors import ConfigError, DependencyError, WeightsError, to_install
from gcm.images import IMAGENET
from gcm.images.network_input import network_input
from gcm.matcher import Matcher

timm = pytest.importorskip("timm")

Fill = Callable[[nn.Module], dict[str, Tensor]]


def _checkpoint(fill: Fill, name: str, path: Path) -> nn.Module:
    """timm's whole model with seeded weights, saved as timm publishes them."""
    with torch.device("meta"):
        network: nn.Module = timm.create_model(name, pretrained=False).eval()
    torch.save(fill(network), path)
    return network


def test_info_follows_from_timm() -> None:
    info = backbone_info("timm:resnet18.a1_in1k")
    assert info.strides == (2, 4, 8, 16)
    assert info.channels == (64, 64, 128, 256)
    assert info.licence == "apache-2.0"
    entry = info.weights_entry
    assert entry is not None
    assert entry.urls == ("https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors",)
    assert known_weights("timm:resnet18.a1_in1k") == {entry.name: entry}


def test_maps_equal_hooks_on_timms_model(fill: Fill, tmp_path: Path) -> None:
    network = _checkpoint(fill, "resnet18", tmp_path / "w.pth")
    seen: list[Tensor] = []
    for tap in ("act1", "layer1", "layer2", "layer3"):
        network.get_submodule(tap).register_forward_hook(lambda m, i, output: seen.append(output.clone()))
    x = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    backbone = create_backbone("TIMM:resnet18", weights=tmp_path / "w.pth")
    with torch.no_grad():
        network(x)
        maps = backbone(x)
    for found, expected in zip(maps, seen, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert not any(key.startswith("network.layer4") for key in backbone.state_dict())


def test_input_is_brought_to_what_the_model_was_trained_on(fill: Fill, tmp_path: Path) -> None:
    name = "mobilenetv2_050.lamb_in1k"
    other = "tf_mobilenetv3_small_minimal_100.in1k"  # mean and deviation 0.5
    assert backbone_info(f"timm:{name}").normalisation == IMAGENET
    info = backbone_info(f"timm:{other}")
    assert str(info.normalisation) == "mean (0.5, 0.5, 0.5), deviation (0.5, 0.5, 0.5)"
    _checkpoint(fill, other, tmp_path / "w.pth")
    backbone = create_backbone(f"timm:{other}", weights=tmp_path / "w.pth")
    photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    seen: list[Tensor] = []
    backbone.get_submodule("network").register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        backbone(network_input(photo, 16, normalisation=info.normalisation))
    expected = torch.from_numpy(photo).permute(2, 0, 1)[None] / 127.5 - 1
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-5)


def test_matches_a_photo_with_itself(fill: Fill, tmp_path: Path, photo: np.ndarray) -> None:
    _checkpoint(fill, "convnext_atto", tmp_path / "w.pth")  # no stride-2 map
    config = MatcherConfig(
        model="timm:convnext_atto", ratio_th=(1.0,) * 4, weights_path=str(tmp_path / "w.pth"), device="cpu"
    )
    matches = Matcher(config).match(photo, photo)
    assert len(matches) > 100
    assert np.abs(matches.points0 - matches.points1).max() < 0.5


def test_checkpoint_with_a_key_missing_is_refused_by_name(fill: Fill, tmp_path: Path) -> None:
    """timm itself would go on with random values."""
    _checkpoint(fill, "resnet18", tmp_path / "w.pth")
    state = torch.load(tmp_path / "w.pth")
    del state["layer2.1.conv2.weight"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(WeightsError, match=r"no values for 'layer2\.1\.conv2\.weight'"):
        create_backbone("timm:resnet18", weights=tmp_path / "short.pth")


def test_checkpoint_of_another_network_is_refused(fill: Fill, tmp_path: Path) -> None:
    torch.save(fill(build_backbone("MOBILEV3")), tmp_path / "mobile.pth")
    with pytest.raises(WeightsError, match="another network than timm:resnet18"):
        create_backbone("timm:resnet18", weights=tmp_path / "mobile.pth")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet", "timm has no model 'resnet'; similar: "),
        ("timm:vit_tiny_patch16_224", "yields no maps of images of any size"),
    ],
)
def test_unusable_models_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        backbone_info(name)


def test_says_how_to_install_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(DependencyError, match=re.escape(to_install("timm"))):
        backbone_info("timm:resnet34")


def test_never_dials_out_when_offline() -> None:
    from gcm.errors import DownloadError

    with pytest.raises(DownloadError, match="GCM_OFFLINE"):
        create_backbone("timm:resnet18")
