"""The configuration: published files, presets, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gcm.backbones.registry import FINE_MODELS, backbone_info
from gcm.config import DEFAULT_PRESET, MatcherConfig, config_folder, list_presets, load_config
from gcm.errors import ConfigError
from gcm.matcher import Matcher

PUBLISHED_KEYS = {
    "ratio_th",
    "fine_ratio",
    "model",
    "fine_model",
    "up_sample",
    "enable_two_stage",
    "bidirectional",
    "device",
    "output_directory",
    "fine_weights_path",
}

PUBLISHED = {
    f"{family}_{suffix}": (model, fine, ratio)
    for family, model, fine in (
        ("Avg_R2D2", "R2D2_STU", None),
        ("ResNet18_R2D2", "RESNET18", "R2D2"),
        ("ResNet18_dstlR2D2", "RESNET18", "R2D2_STU"),
        ("VGG_dstlR2D2", "COARSEVGG19", "R2D2_STU"),
    )
    for suffix, ratio in (("6", 0.6), ("95", 0.95))
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files(name: str) -> None:
    model, fine, ratio = PUBLISHED[name]
    raw = yaml.safe_load((config_folder() / f"{name}.yml").read_text())
    assert set(raw) == PUBLISHED_KEYS
    config = load_config(name)
    assert config.model == model
    assert config.fine_model == fine
    assert config.fine_ratio == ratio
    assert config.ratio_th == ((ratio, *[1.0] * 5) if fine is None else (1.0,) * 5)
    assert config.up_sample == (16, 1)
    assert config.enable_two_stage
    assert config.bidirectional
    assert config.compat
    assert config.device is None
    assert config.fine_weights_path is None
    assert config.weights_path is None
    assert config.output_directory
    assert (config.resize, config.down_sample, config.max_side) == (None, None, None)


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_fits_its_models(name: str) -> None:
    config = load_config(name)
    assert len(config.ratio_th) == len(backbone_info(config.model).level_strides)
    assert config.fine_model is None or config.fine_model in FINE_MODELS


def test_presets() -> None:
    assert {*PUBLISHED, DEFAULT_PRESET} <= set(list_presets())
    assert load_config() == load_config(None) == load_config("default") == load_config("DEFAULT")
    assert load_config("avg_r2d2_6") == load_config("Avg_R2D2_6")
    assert not load_config().compat  # our own presets


def test_a_wrong_name_gets_a_suggestion() -> None:
    with pytest.raises(
        ConfigError, match=r"no configuration named 'Avg_R2D2_7' \(did you mean 'Avg_R2D2_6'\?\)"
    ):
        load_config("Avg_R2D2_7")
    with pytest.raises(ConfigError, match=r"known: .*default"):
        load_config("xyzzy")


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yml"
    path.write_text(text)
    return path


USER_FILE = """
ratio_th: [0.9, 1.0, 1.0, 1.0, 1.0]
fine_ratio: 0.8
model: VGG19_BN
fine_model: r2d2
up_sample: [16, 1]
down_sample: [2, 2]
resize: [640, 480]
enable_two_stage: false
bidirectional: false
device: 0
output_directory: Results/mine
fine_weights_path: weights/r2d2_WASF_N16.pt
weights_path: weights/vgg.pth
compat: false
max_side: 2000
"""


def test_a_user_s_file_with_every_key(tmp_path: Path) -> None:
    path = write(tmp_path, USER_FILE)
    assert set(yaml.safe_load(USER_FILE)) >= {
        *PUBLISHED_KEYS,
        "down_sample",
        "resize",
        "weights_path",
        "compat",
    }
    for source in (path, str(path)):
        config = load_config(source)
        assert config.ratio_th == (0.9, 1, 1, 1, 1)
        assert config.fine_ratio == 0.8
        assert config.model == "VGG19_BN"
        assert config.up_sample == (16, 1)
        assert config.down_sample == (2, 2)
        assert config.resize == (640, 480)
        assert not config.enable_two_stage
        assert not config.bidirectional
        assert not config.compat
        assert config.device == "cuda:0"
        assert config.fine_weights_path == "weights/r2d2_WASF_N16.pt"
        assert config.max_side == 2000


def test_a_user_s_file_comes_before_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "model: VGG16\nratio_th: 1\n").rename("default.yml")
    assert load_config("default.yml").model == "VGG16"
    assert load_config("default").model != "VGG16"


@pytest.mark.parametrize("empty", ["", "null", "~", "None", "''"])
def test_empty_values_mean_not_set(tmp_path: Path, empty: str) -> None:
    optional = set(MatcherConfig.model_fields) - {"model", "ratio_th"}
    text = "model: RESNET18\nratio_th: [1, 1, 1, 1, 1]\n" + "".join(f"{key}: {empty}\n" for key in optional)
    assert load_config(write(tmp_path, text)) == MatcherConfig(model="RESNET18", ratio_th=(1,) * 5)


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("ratio_thr", "ratio_th"),
        ("Model", "model"),
        ("enable_two_stages", "enable_two_stage"),
        ("finemodel", "fine_model"),
    ],
)
def test_misspelt_keys_get_a_suggestion(tmp_path: Path, key: str, suggestion: str) -> None:
    path = write(tmp_path, f"model: RESNET18\nratio_th: [1, 1, 1, 1, 1]\n{key}: 1\n")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert f"unknown key '{key}' (did you mean '{suggestion}'?)" in str(error.value)
    assert str(path) in str(error.value)
    with pytest.raises(ConfigError, match="unknown key"):
        load_config("default", **{key: 1})


BAD_VALUES: list[tuple[str, Any]] = [
    ("ratio_th", [1.0, 1.5]),
    ("ratio_th", [0]),
    ("ratio_th", [-0.5]),
    ("ratio_th", []),
    ("ratio_th", "high"),
    ("ratio_th", [float("nan")]),
    ("ratio_th", {"a": 1}),
    ("fine_ratio", 0),
    ("fine_ratio", 2),
    ("fine_ratio", [0.5]),
    ("model", [1]),
    ("up_sample", [16]),
    ("up_sample", [16, 0]),
    ("up_sample", [16, 1, 1]),
    ("enable_two_stage", "perhaps"),
    ("bidirectional", 7),
    ("compat", "x"),
    ("device", "gpu"),
    ("device", "cuda:x"),
    ("device", "cuda:"),
    ("device", -1),
    ("device", True),
    ("resize", 0),
    ("resize", [640, 480, 3]),
    ("resize", [640, -1]),
    ("resize", "large"),
    ("down_sample", 0.5),
    ("down_sample", [2, 0]),
    ("max_side", -5),
    ("max_side", 1.5),
    ("weights_path", 5),
]


@pytest.mark.parametrize(("key", "value"), BAD_VALUES, ids=str)
def test_bad_values_give_one_line(tmp_path: Path, key: str, value: Any) -> None:
    values = {"model": "RESNET18", "ratio_th": [1, 1, 1, 1, 1], key: value}
    path = write(tmp_path, yaml.safe_dump(values))
    with pytest.raises(ConfigError) as error:
        load_config(path)
    text = str(error.value)
    assert text.startswith(f"{path}: {key}: ")
    assert f"given: {value!r}" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (0, "cuda:0"),
        (1, "cuda:1"),
        ("0", "cuda:0"),
        ("cuda", "cuda"),
        ("CUDA:1", "cuda:1"),
        ("cpu", "cpu"),
        ("mps", "mps"),
        ("auto", None),
        (None, None),
    ],
)
def test_devices(device: Any, expected: str | None) -> None:
    assert load_config("default", device=device).device == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "list of 'key: value' lines"),
        ("- a\n- b\n", "list of 'key: value' lines"),
        ("just words", "list of 'key: value' lines"),
        ("model: [unclosed\nratio_th: 3", "not a YAML file"),
        ("model: RESNET18\n", "the key 'ratio_th' is missing"),
        ("ratio_th: [1]\n", "the key 'model' is missing"),
        ("model:\nratio_th: [1]\n", "the key 'model' is missing"),
        ("1: 2\n", "unknown key '1'"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, text))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_yaml_does_not_run_code(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    path = write(tmp_path, f"model: !!python/object/apply:os.mkdir ['{victim}']\n")
    with pytest.raises(ConfigError, match="not a YAML file"):
        load_config(path)
    assert not victim.exists()
    yaml.unsafe_load(path.read_text())
    assert victim.exists()  # so it would have, had it been let


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(tmp_path / "none.yml")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00rubbish\x80")
    with pytest.raises(ConfigError, match="not a YAML file"):
        load_config(tmp_path / "binary.yml")
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path)
    assert "\n" not in str(error.value)


def test_changes_go_through_the_same_checks() -> None:
    config = load_config("Avg_R2D2_6", max_side=500, device="cpu")
    assert (config.max_side, config.device, config.model) == (500, "cpu", "R2D2_STU")
    again = load_config(config, max_side=None)
    assert again.max_side is None
    assert again.device == "cpu"
    assert config.max_side == 500  # configurations do not change
    with pytest.raises(ConfigError, match=r"^fine_ratio: must lie in .*\(given: 7\)"):
        load_config(config, fine_ratio=7)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ratio_th": [1, 1, 1]}, "ratio_th has 3 values where RESNET18 needs 5"),
        ({"up_sample": [8, 1]}, r"up_sample is \[8, 1\]"),
        ({"up_sample": [16, 2]}, r"up_sample is \[16, 2\]"),
        ({"model": "RESNET81"}, "did you mean 'RESNET18'"),
        ({"model": "resnet18", "fine_model": "R2D3"}, "did you mean 'R2D2'"),
    ],
)
def test_what_does_not_fit_the_backbone(changes: dict[str, Any], words: str, shared: Path) -> None:
    weights = shared / "weights" / "resnet18_imagenet1k_v1_bnfolded_to_layer3.pth"
    with pytest.raises(ConfigError, match=words):
        Matcher("ResNet18_dstlR2D2_6", **{"weights_path": str(weights), **changes})


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    documented = {cells[1].strip(" `"): cells[3].strip() for cells in rows}
    fields = MatcherConfig.model_fields
    assert documented == {key: field.description for key, field in fields.items()}
