"""Each kind of normalisation reaches the network through the matcher; every model of timm has one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typer.testing import CliRunner

from gcm.backbones import BackboneInfo, backbone_info, create_fine_model, list_backbones, list_fine_models
from gcm.backbones.cost import Cost
from gcm.config import MatcherConfig
from gcm.errors import ConfigError
from gcm.images import IMAGENET, MeanDeviation, PerImage
from gcm.matcher import Matcher

HALF = MeanDeviation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT = MeanDeviation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def picture(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A part of the photo whose sides no stride divides, bright on one side."""
    part = photo[:90, :125].copy()
    part[:, :60] //= 2
    return part


def expected_input(image: NDArray[np.uint8], normalisation: MeanDeviation | PerImage) -> NDArray[np.float64]:
    values = image.astype(np.float64)
    if isinstance(normalisation, MeanDeviation):
        return (values / 255 - normalisation.mean) / normalisation.deviation
    standard = (values - values.mean((0, 1))) / np.sqrt(values.var((0, 1)).mean())
    return standard.mean(axis=2, keepdims=True) if normalisation.grey else standard


def inputs_of(network: nn.Module) -> list[Tensor]:
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    return seen


def assert_normalised(x: Tensor, image: NDArray[np.uint8], normalisation: MeanDeviation | PerImage) -> None:
    expected = expected_input(image, normalisation)
    height, width, channels = expected.shape
    assert x.shape[1] == channels
    np.testing.assert_allclose(x[0, :, :height, :width].permute(1, 2, 0), expected, atol=1e-4)
    assert not x[..., height:, :].any()  # padding is the mean colour
    assert not x[..., width:].any()


def timm_checkpoint(fill: Callable[..., Any], name: str, path: Path) -> str:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False).eval()
    torch.save(fill(network), path)
    return str(path)


TIMM = {
    "timm:resnet10t.c3_in1k": IMAGENET,
    "timm:test_resnet.r160_in1k": HALF,
    "timm:tf_mobilenetv3_small_minimal_100.in1k": HALF,
    "timm:mobilevit_xxs.cvnets_in1k": UNIT,
}


@pytest.mark.parametrize("name", [*TIMM, "GCM_COMPACT", "GCM_SMALL", "GCM_PATCH", "R2D2_STU"])
def test_matcher_normalises_as_the_backbone_declares(
    name: str,
    fill: Callable[..., Any],
    tmp_path: Path,
    picture: NDArray[np.uint8],
    student_weights: str,
) -> None:
    info = backbone_info(name)
    ours = {"GCM_COMPACT", "GCM_SMALL"}
    declared = dict.fromkeys(ours, PerImage(grey=True)) | {"GCM_PATCH": PerImage(), "R2D2_STU": IMAGENET}
    assert info.normalisation == (TIMM | declared)[name]
    weights = None
    if name in TIMM:
        weights = timm_checkpoint(fill, name.removeprefix("timm:"), tmp_path / "w.pth")
    elif name == "R2D2_STU":
        weights = student_weights
    config = MatcherConfig(
        model=name, ratio_th=(1.0,) * len(info.step_strides), weights_path=weights, device="cpu"
    )
    matcher = Matcher(config)
    backbone = matcher.features.backbone
    network = backbone.get_submodule("network.stem" if name in ours else "network")
    seen = inputs_of(network)
    matches = matcher.match(picture, picture)
    assert len(matches) > 20
    assert np.abs(matches.points0 - matches.points1).max() < 0.5
    assert_normalised(seen[0], picture, info.normalisation)


@pytest.mark.parametrize("name", ["GCM_PATCH", "R2D2_STU"])
def test_fine_models_are_given_what_they_declare(name: str, student_weights: str) -> None:
    declared = {info.name: info.normalisation for info in list_fine_models()}
    assert declared["GCM_PATCH"] == PerImage()
    assert {kind for other, kind in declared.items() if other != "GCM_PATCH"} == {IMAGENET}
    fine = create_fine_model(name, weights=None if name == "GCM_PATCH" else student_weights)
    assert fine.normalisation == declared[name]


@pytest.mark.parametrize("fine", ["GCM_PATCH", "R2D2_STU"])
def test_matcher_normalises_as_the_fine_model_declares(
    fine: str, picture: NDArray[np.uint8], student_weights: str
) -> None:
    changes: dict[str, Any] = {} if fine == "GCM_PATCH" else {"fine_weights_path": student_weights}
    matcher = Matcher(
        MatcherConfig(model="GCM_COMPACT", ratio_th=(1.0,) * 5, fine_model=fine, device="cpu", **changes)  # type: ignore[call-arg]
    )
    seen: list[Tensor] = []
    network = matcher.features.fine
    assert network is not None
    sampled = network.sampled

    def spy(image: Callable[[], Tensor], *args: Any, **options: Any) -> Any:
        seen.append(image().clone())
        return sampled(image, *args, **options)  # type: ignore[operator]

    network.sampled = spy  # type: ignore[assignment]
    matcher.match(picture, picture)
    declared = {info.name: info.normalisation for info in list_fine_models()}
    assert_normalised(seen[0], picture, declared[fine])


def test_all_pretrained_models_of_timm_resolve() -> None:
    """683 of them once crashed in every match. Without building networks, so that it takes no time."""
    timm = pytest.importorskip("timm")
    from gcm.backbones.timm_models import timm_normalisation

    names = timm.list_models(pretrained=True)
    assert len(names) > 1000
    start = time.perf_counter()
    kinds = {name: timm_normalisation(name) for name in names}
    assert time.perf_counter() - start < 10
    for name, kind in kinds.items():
        config = timm.get_pretrained_cfg(name)
        assert isinstance(kind, MeanDeviation), name
        assert kind.mean == tuple(config.mean), name
        assert kind.deviation == tuple(config.std), name
        json.dumps(str(kind))
    assert {IMAGENET, HALF, UNIT} < set(kinds.values())


def test_listed_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from gcm_cli.app import app

    monkeypatch.setattr("gcm.backbones.cost.backbone_cost", lambda name, **size: Cost(1, 1))  # takes seconds
    done = CliRunner().invoke(app, ["backbones", "--json"])
    assert done.exit_code == 0, done.output
    rows = {row["name"]: row["normalisation"] for row in json.loads(done.stdout)["backbones"]}
    assert rows["RESNET18"] == "imagenet"
    assert rows["GCM_COMPACT"] == "standardised grey"
    assert rows == {info.name: str(info.normalisation) for info in list_backbones()}


def test_a_sentence_is_no_normalisation() -> None:
    """As another package's backbone might still declare it."""
    with pytest.raises(ConfigError, match="OTHER: normalisation 'imagenet' is neither"):
        BackboneInfo("OTHER", ("a",), (2,), (8,), None, normalisation="imagenet")  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
