"""The catalogue agrees with what it describes."""

from __future__ import annotations

from pathlib import Path

import pytest
from torchvision import models
from torchvision.models import segmentation

from gcm.backbones.fine import FINE_MODELS
from gcm.backbones.registry import known_weights, list_backbones
from gcm.errors import ConfigError, WeightsError
from gcm.storage.atomic import sha256_of
from gcm.weights.catalogue import CATALOGUE, get_entry
from gcm.weights.store import find_weights

TORCHVISION = {
    "vgg16": models.VGG16_Weights.IMAGENET1K_V1,
    "vgg19": models.VGG19_Weights.IMAGENET1K_V1,
    "vgg19_bn": models.VGG19_BN_Weights.IMAGENET1K_V1,
    "resnet18": models.ResNet18_Weights.IMAGENET1K_V1,
    "resnet50": models.ResNet50_Weights.IMAGENET1K_V1,
    "resnext50_32x4d": models.ResNeXt50_32X4D_Weights.IMAGENET1K_V2,
    "efficientnet_v2_s": models.EfficientNet_V2_S_Weights.IMAGENET1K_V1,
    "mobilenet_v3_large": models.MobileNet_V3_Large_Weights.IMAGENET1K_V2,
    "swin_t": models.Swin_T_Weights.IMAGENET1K_V1,
    "deeplabv3_resnet50": segmentation.DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1,
    "fcn_resnet50": segmentation.FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1,
    "deeplabv3_mobilenet_v3_large": segmentation.DeepLabV3_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1,
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_address_hash_and_size_are_torchvisions(name: str) -> None:
    weights, entry = TORCHVISION[name], CATALOGUE[name]
    assert entry.urls == (weights.url,)
    assert entry.sha256_prefix is not None
    assert weights.url.endswith(f"-{entry.sha256_prefix}.pth")
    assert len(entry.sha256_prefix) == 8
    assert entry.about is not None
    assert entry.about / 2**20 == pytest.approx(weights.meta["_file_size"], abs=0.001)


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.name)
def test_every_entry_says_what_people_need(entry) -> None:
    assert entry.licence
    assert entry.citation
    assert entry.name == entry.name.lower()
    assert all(url.startswith("https://") and "baidu" not in url for url in entry.urls)
    assert entry.urls or entry.embedded or entry.package or entry.homepage
    assert entry.non_commercial == ("non-commercial" in entry.licence)
    assert not entry.package or entry.extra


def test_every_default_is_in_the_catalogue() -> None:
    names = {info.weights_entry.name for info in list_backbones() if info.weights_entry}
    names |= {info.weights for info in FINE_MODELS.values()}
    assert names | {"gcm_attention"} == set(CATALOGUE)  # no backbone: part of the guided method


@pytest.mark.parametrize("name", ["r2d2", "r2d2_student"])
def test_r2d2_hashes(name: str, shared: Path) -> None:
    entry = CATALOGUE[name]
    path = shared / "weights" / entry.filename
    assert entry.size == path.stat().st_size
    assert entry.sha256 == sha256_of(path)


@pytest.mark.parametrize("name", ["disk", "aliked", "efficientnet_lite0"])
def test_packaged_hashes(name: str) -> None:
    path = find_weights(CATALOGUE[name])
    if path is None:
        pytest.skip(f"the package of '{name}' is not installed")
    assert CATALOGUE[name].size == path.stat().st_size
    assert CATALOGUE[name].sha256 == sha256_of(path)


def test_names_of_networks_mean_their_weights() -> None:
    assert set(known_weights("PSM")) == {"psmnet_kitti2015"}
    assert set(known_weights("coarsevgg19")) == {"vgg19"}
    assert set(known_weights("DISK")) == {"disk"}
    assert set(known_weights("ResNet50")) == {"resnet50"}
    assert set(known_weights()) == set(CATALOGUE)


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'RESNET50'"):
        known_weights("resnet05")
    with pytest.raises(WeightsError, match=r"did you mean 'swin_t'"):
        get_entry("swint")
