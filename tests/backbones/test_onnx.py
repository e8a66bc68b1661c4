"""Networks as ONNX files, and matching by ONNX Runtime, on real photos."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from benchmarks.parity.__main__ import compare
from gcm.backbones import registry
from gcm.backbones.base import Backbone, BackboneInfo
from gcm.backbones.onnx import session
from gcm.backbones.registry import create_attention, create_backbone
from gcm.config import load_config
from gcm.errors import ConfigError, DependencyError, to_install
from gcm.features.keypoints import compare_keypoints, detect_keypoints
from gcm.images.files import load_image
from gcm.images.network_input import network_input
from gcm.matcher import Matcher
from gcm_cli.app import app

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 7):
    pytest.skip("the extra onnx asks for PyTorch 2.7 or newer", allow_module_level=True)

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def photos() -> list[Any]:
    """The photos of the example pair, and parts of them whose sides are no multiples of anything."""
    left, right = (load_image(EXAMPLES / f"{name}.jpg") for name in ("left", "right"))
    return [left, right, left[:203, :331], right[100:141, 50:199]]


def export(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["export-network", *arguments])


def run(file: Path, x: Tensor) -> list[Tensor]:
    """The outputs of a file, by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(y) for y in session.run(None, {"image": x.numpy()})]


def largest_difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    assert [m.shape for m in ours] == [m.shape for m in theirs]
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("model", "precision", "bound", "value_bytes"),
    [
        ("GCM_COMPACT", "float32", 1e-4, 4),
        ("GCM_SMALL", "float32", 1e-4, 4),
        pytest.param("GCM_SMALL", "float16", 1e-2, 2, marks=pytest.mark.e2e),
        pytest.param("GCM_CONTEXT", "float32", 1e-4, 4, marks=pytest.mark.e2e),
        pytest.param("GCM_CONTEXT", "float16", 1e-2, 2, marks=pytest.mark.e2e),
    ],
)
def test_an_exported_network_gives_the_maps_of_pytorch(
    tmp_path: Path, photos: list[Any], model: str, precision: str, bound: float, value_bytes: int
) -> None:
    file = tmp_path / "gcm.onnx"
    result = export("-o", str(file), "--set", f"model={model}", "--precision", precision, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["opset"] == 18
    assert told["difference"] < bound
    backbone = create_backbone(model)
    assert told["outputs"] == list(backbone.info.taps)
    for photo in photos:
        x = network_input(photo, 8, normalisation=backbone.info.normalisation)
        with torch.inference_mode():
            assert largest_difference(backbone(x), run(file, x)) < bound
    weights = sum(p.numel() for p in backbone.parameters())
    assert file.stat().st_size < 1.1 * value_bytes * weights
    flat = torch.zeros(2, 1, 64, 96)  # an image of a single colour, twice
    assert all(bool(m.isfinite().all()) and len(m) == 2 for m in run(file, flat))


def test_a_file_says_what_it_is_and_nothing_of_this_machine(tmp_path: Path) -> None:
    import onnx

    file = tmp_path / "gcm.onnx"
    result = export("-o", str(file), "--config", "fast")
    assert "opset 18" in result.stdout
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["gcm.network"] == "GCM_SMALL"
    assert said["gcm.strides"] == "1 2 4 8"
    assert "standardised grey" in said["gcm.input"]
    assert said["gcm.licence"].startswith("Apache-2.0")
    assert str(Path(registry.__file__).parent).encode() not in file.read_bytes()
    assert model.graph.input[0].type.tensor_type.shape.dim[2].dim_param  # of any height


@pytest.mark.parametrize("preset", ["fast", pytest.param("default", marks=pytest.mark.e2e)])
def test_either_runtime_finds_the_same_matches(preset: str) -> None:
    pair = EXAMPLES / "left.jpg", EXAMPLES / "right.jpg"
    ours, theirs = (
        Matcher(preset, device="cpu", precision="float32", runtime=runtime).match(*pair)
        for runtime in ("torch", "onnxruntime")
    )
    assert ours.info["runtime"] == "torch"
    assert theirs.info["runtime"] == "onnxruntime, CPUExecutionProvider"
    agreement = compare((ours.points0, ours.points1), (theirs.points0, theirs.points1), 0.05)
    assert agreement.golden > 1000
    assert agreement.found >= 0.995
    assert agreement.extra <= 0.005
    assert theirs.confidence == pytest.approx(ours.confidence, abs=0.01)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("preset", "photos"),
    [
        ("default", ("oxford-dev/v_graf/1.ppm", "oxford-dev/v_graf/3.ppm")),
        ("default", ("fmat-dev/BrusselsA.jpg", "fmat-dev/BrusselsB.jpg")),
        ("fast", ("fmat-dev/Leuven2A.jpg", "fmat-dev/Leuven2B.jpg")),
    ],
)
def test_maps_that_differ_in_the_last_digit_lead_to_the_same_matches(
    shared: Path, preset: str, photos: tuple[str, str]
) -> None:
    """Tilted, of a scene, and seen in several ways: what another runtime or processor makes of warps."""
    pair = [shared / "data" / photo for photo in photos]
    ours, theirs = (
        Matcher(preset, device="cpu", precision="float32", runtime=runtime).match(*pair)
        for runtime in ("torch", "onnxruntime")
    )
    agreement = compare((ours.points0, ours.points1), (theirs.points0, theirs.points1), 0.05)
    assert agreement.golden > 3000
    assert agreement.found >= 0.995
    assert agreement.extra <= 0.005


def test_a_large_image_by_a_session_that_keeps_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    matcher = Matcher("fast", device="cpu", runtime="onnxruntime")
    photo = load_image(EXAMPLES / "left.jpg")[:128, :160]
    matches = matcher.match(photo, photo)
    monkeypatch.setattr(session, "_KEPT_VALUES", 1000)
    matcher.features.cache.clear()
    again = matcher.match(photo, photo)
    assert np.array_equal(again.points1, matches.points1)
    assert len(again) > 100
    kept = matcher.features.backbone._kept  # type: ignore[union-attr]
    assert set(kept._sessions) == {True, False}


@pytest.mark.e2e
def test_the_command_matches_by_onnxruntime() -> None:
    pair = [str(EXAMPLES / "left.jpg"), str(EXAMPLES / "right.jpg")]
    settings = ["--config", "fast", "--set", "runtime=onnxruntime", "--precision", "float16"]
    result = CliRunner().invoke(app, ["match", *pair, *settings, "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["runtime"] == "onnxruntime, CPUExecutionProvider"
    assert document["precision"] == "float16"
    assert len(document["matches"]) > 1000


def test_copies_batches_and_small_images() -> None:
    matcher = Matcher("fast", device="cpu", runtime="onnxruntime")
    assert matcher.precision == "float32"  # of `auto`
    photo = load_image(EXAMPLES / "left.jpg")[:128, :160]
    matches = matcher.match(photo, photo)
    assert len(matches) > 100
    for other in (copy.deepcopy(matcher), pickle.loads(pickle.dumps(matcher))):
        assert np.array_equal(other.match(photo, photo).points1, matches.points1)
    matcher.features.cache.clear()
    many = matcher.match_many([(photo, photo), (photo, photo[:, ::-1])])
    assert isinstance(many[0], type(matches))
    assert len(many[0]) == len(matches)
    # Smaller than what the exported network takes.
    backbone = matcher.features.backbone
    with torch.inference_mode():
        for size in ((8, 8), (24, 40), (40, 8)):
            x = torch.linspace(-1, 1, size[0] * size[1]).view(1, 1, *size)
            ours = create_backbone("GCM_SMALL").kept_maps(x)
            assert largest_difference(ours, backbone.kept_maps(x)) < 1e-5
            assert largest_difference(ours[-1:], [backbone.coarsest(x)]) < 1e-5


@pytest.mark.e2e
def test_the_attention_network_by_onnxruntime(photos: list[Any]) -> None:
    from gcm.backbones.onnx.runtime import OnnxAttention
    from gcm.images.normalisation import PerImage

    network = create_attention()
    other = OnnxAttention(network, ["CPUExecutionProvider"])
    inputs = [network_input(photo, 1, normalisation=PerImage(grey=True)) for photo in photos[:2]]
    with torch.inference_mode():
        first, second = (detect_keypoints(network, x, 500)[0] for x in inputs)
        first_other = detect_keypoints(other, inputs[0], 500)[0]
        assert len(first.points) == 500
        assert torch.equal(first.points, first_other.points)
        assert float((first.descriptors - first_other.descriptors).abs().max()) < 1e-4
        ours = compare_keypoints(network, first, second)
        theirs = compare_keypoints(other, first, second)
    # Of what is all but impossible, logarithms differ more.
    assert float((ours[0].exp() - theirs[0].exp()).abs().max()) < 1e-3
    assert all(float((a - b).abs().max()) < 0.1 for a, b in zip(ours[1:], theirs[1:], strict=True))
    assert float(ours[0].exp().max()) > 0.9


@pytest.mark.e2e
@pytest.mark.parametrize("part", ["keypoints", "matcher"])
def test_parts_of_the_attention_network_are_exported(tmp_path: Path, part: str) -> None:
    result = export("-o", str(tmp_path / "a.onnx"), "--part", part, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["difference"] < 1e-3
    assert (tmp_path / "a.onnx").stat().st_size > 1e6


@pytest.mark.e2e
def test_a_network_is_exported_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GCM_HOME", str(tmp_path))
    Matcher("fast", device="cpu", runtime="onnxruntime")
    (file,) = (tmp_path / "onnx").iterdir()
    whole = file.read_bytes()
    monkeypatch.setattr("gcm.backbones.onnx.files.checked_export", None)
    Matcher("fast", device="cpu", runtime="onnxruntime")
    monkeypatch.undo()
    monkeypatch.setenv("GCM_HOME", str(tmp_path))
    file.write_bytes(whole[:1000])
    Matcher("fast", device="cpu", runtime="onnxruntime")
    assert file.read_bytes() == whole


class Stubborn(Backbone):
    """A backbone whose layers hang on the numbers in the image."""

    def __init__(self, info: BackboneInfo) -> None:
        super().__init__()
        self.info = info
        self.conv = torch.nn.Conv2d(3, 8, 8, stride=8)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.conv(x)
        return [y if float(x.mean()) > 0 else -y]


class OneSize(Stubborn):
    """A backbone that gives something else in training."""

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.conv(x)
        return [2 * y if torch.compiler.is_compiling() else y]


@pytest.mark.parametrize(
    ("kind", "words"), [(Stubborn, "cannot be exported to ONNX"), (OneSize, "differs from PyTorch by")]
)
def test_a_backbone_that_cannot_be_exported_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Stubborn], words: str
) -> None:
    info = BackboneInfo("STUBBORN", ("conv",), (8,), (8,), None)
    monkeypatch.setitem(registry._OURS, "STUBBORN", registry._Registered(info, kind))
    weights = tmp_path / "weights.pth"
    torch.save(kind(info).state_dict(), weights)
    settings = ["--set", "model=STUBBORN", "--set", f"weights_path={weights}"]
    result = export("-o", str(tmp_path / "a.onnx"), *settings)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "a.onnx").exists()
    with pytest.raises(ConfigError, match=words):
        Matcher("fast", model="STUBBORN", weights_path=str(weights), ratio_th=[1, 1], runtime="onnxruntime")


def test_an_old_pytorch_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.6.0+cpu")
    result = export("-o", str(tmp_path / "a.onnx"))
    assert result.exit_code == 1
    assert "ONNX needs PyTorch 2.7 or newer, this is 2.6.0+cpu; pip install" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    result = export("-o", str(tmp_path / "a.onnx"))
    assert result.exit_code == 1
    assert to_install("onnx") in result.stderr
    with pytest.raises(DependencyError, match="ONNX needs more packages"):
        Matcher("fast", device="cpu", runtime="onnxruntime")


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    result = export("-o", str(tmp_path / "a.pth"))
    assert result.exit_code == 2
    assert "must end in .onnx" in result.stderr
    with pytest.raises(ConfigError, match=r"^precision bfloat16: onnxruntime computes in float32"):
        load_config("fast", runtime="onnxruntime", precision="bfloat16")
    with pytest.raises(ConfigError, match=r"^runtime: "):
        load_config("fast", runtime="tensorflow")


def test_providers_follow_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from gcm.backbones.onnx.session import choose_providers

    there = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "AzureExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*there, "CPUExecutionProvider"])
    assert choose_providers("cpu") == (["CPUExecutionProvider"], [])
    assert choose_providers(None) == (["CUDAExecutionProvider", "CPUExecutionProvider"], [])
    chosen = [("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]
    assert choose_providers("cuda:1") == (chosen, [])
    providers, notes = choose_providers("mps")
    assert providers == ["CPUExecutionProvider"]
    assert "no provider for mps" in notes[0]
