"""The configuration: published files, presets, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_origin

import pytest
import torch
import yaml
from pydantic import BaseModel

from gcm.backbones.registry import FINE_MODELS, backbone_info
from gcm.config import (
    DEFAULT_PRESET,
    METHODS,
    MatcherConfig,
    config_folder,
    known_keys,
    list_presets,
    load_config,
)
from gcm.errors import ConfigError
from gcm.matcher import Matcher
from gcm.options import GuidedOptions, PublishedOptions, SearchOptions, ViewOptions

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
    method = config.method
    assert isinstance(method, PublishedOptions)
    assert method.fine_model == fine
    assert method.fine_ratio == ratio
    assert config.ratio_th == ((ratio, *[1.0] * 5) if fine is None else (1.0,) * 5)
    assert config.up_sample == (16, 1)
    assert method.enable_two_stage
    assert method.bidirectional
    assert method.compat
    assert config.device is None
    assert method.fine_weights_path is None
    assert config.weights_path is None
    assert config.output_directory
    assert (config.resize, config.down_sample, config.max_side) == (None, None, None)


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_fits_its_models(name: str) -> None:
    config = load_config(name)
    assert len(config.ratio_th) == len(backbone_info(config.model).step_strides)
    fine_model = getattr(config.method, "fine_model", None)
    assert fine_model is None or fine_model in FINE_MODELS


def test_presets() -> None:
    assert {*PUBLISHED, DEFAULT_PRESET} <= set(list_presets())
    assert load_config() == load_config(None) == load_config("default") == load_config("DEFAULT")
    assert load_config("avg_r2d2_6") == load_config("Avg_R2D2_6")
    assert isinstance(load_config().method, GuidedOptions)  # our own presets


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
        method = config.method
        assert isinstance(method, PublishedOptions)
        assert method.fine_ratio == 0.8
        assert config.model == "VGG19_BN"
        assert config.up_sample == (16, 1)
        assert config.down_sample == (2, 2)
        assert config.resize == (640, 480)
        assert not method.enable_two_stage
        assert not method.bidirectional
        assert not method.compat
        assert config.device == "cuda:0"
        assert method.fine_weights_path == "weights/r2d2_WASF_N16.pt"
        assert config.max_side == 2000


def test_a_user_s_file_comes_before_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "model: VGG16\nratio_th: 1\n").rename("default.yml")
    assert load_config("default.yml").model == "VGG16"
    assert load_config("default").model != "VGG16"


@pytest.mark.parametrize("empty", ["", "null", "~", "None", "''"])
def test_empty_values_mean_not_set(tmp_path: Path, empty: str) -> None:
    optional = set(known_keys()) - {"model", "ratio_th"}
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
    ("down_sample", float("nan")),
]

BAD_GROUPS: list[tuple[str, Any]] = [
    ("neighbours.residual_bounds", [3, 1]),
    ("neighbours.residual_bounds", [0, 1]),
    ("views.side", 8),
    ("alignment.alike", [0.5]),
    ("smoothing.doubt", 0),
    ("planes.share", 1.5),
]


@pytest.mark.parametrize(("key", "value"), BAD_GROUPS, ids=str)
def test_bad_values_in_groups_give_one_line(key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        Matcher("default", **{key: value})
    assert str(error.value).startswith(f"{key}: ")
    assert "\n" not in str(error.value)


def test_a_dump_is_a_configuration() -> None:
    assert GuidedOptions(views=ViewOptions(grid=4)).views.grid == 4
    assert PublishedOptions(hypotheses="auto", search=SearchOptions(grid=4)).search.grid == 4
    for source in ("default", "Avg_R2D2_6"):
        config = load_config(source)
        assert MatcherConfig(**config.model_dump()) == config


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
        (torch.device("cuda", 1), "cuda:1"),
        (torch.device("cpu"), "cpu"),
        (None, None),
    ],
)
def test_devices(device: Any, expected: str | None) -> None:
    assert load_config("default", device=device).device == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no 'key: value' lines"),
        ("- a\n- b\n", "holds no 'key: value' lines"),
        ("just words", "holds no 'key: value' lines"),
        ("model: [unclosed\nratio_th: 3", "not a YAML file"),
        (
            "model: GCM_COMPACT\nratio_th: [1, 1, 1, 1, 1]\nmodel: GCM_SMALL\n",
            "the key 'model' stands there twice",
        ),
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


# -- the two methods ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "changes", "words"),
    [
        ("default", {"compat": True}, "compat: does not apply to the method 'guided'"),
        ("default", {"enable_two_stage": False}, "enable_two_stage: does not apply to the method 'guided'"),
        ("default", {"bidirectional": False}, "bidirectional: does not apply to the method 'guided'"),
        ("fast", {"fine_ratio": 0.5}, "fine_ratio: does not apply to the method 'guided'"),
        ("default", {"fine_model": "R2D2"}, r"fine_model: .*\(it belongs to 'published'\)"),
        (
            "ResNet18_R2D2_95",
            {"second_round": True},
            "second_round: does not apply to the method 'published'",
        ),
        ("ResNet18_R2D2_95", {"subpixel": False}, "subpixel: does not apply to the method 'published'"),
        ("ResNet18_R2D2_95", {"geometry": "auto"}, r"geometry: .*\(it belongs to 'guided'\)"),
        ("Avg_R2D2_6", {"neighbours.share": 0.1}, "neighbours: does not apply to the method 'published'"),
        (
            "default",
            {"geometry": "none", "hypotheses": "full"},
            "hypotheses does not apply with geometry none",
        ),
        (
            "default",
            {"geometry": "none", "second_round": True},
            "second_round does not apply with geometry none",
        ),
        ("default", {"verify": False, "smooth": True}, "smooth does not apply without verify"),
        ("default", {"smooth": False, "smoothing.doubt": 3}, "smoothing does not apply without smooth"),
        ("default", {"smooth": False, "alignment.radius": 3}, "alignment does not apply without smooth"),
        ("default", {"verify": False, "min_confidence": 1}, "min_confidence does not apply without verify"),
        ("default", {"verify": False, "lines.fewest": 9}, "lines does not apply without verify"),
        ("default", {"verify": False, "smoothing.doubt": 3}, "smoothing does not apply without verify"),
        (
            "Avg_R2D2_6",
            {"enable_two_stage": False, "hypotheses": "auto"},
            "hypotheses does not apply without enable_two_stage",
        ),
        (
            "Avg_R2D2_6",
            {"enable_two_stage": False, "coarse_threshold": 9},
            "coarse_threshold does not apply without enable_two_stage",
        ),
        (
            "Avg_R2D2_6",
            {"hypotheses": "auto", "coarse_threshold": 9},
            "coarse_threshold does not apply with hypotheses",
        ),
        ("Avg_R2D2_6", {"fine_ratio": 0.5}, "fine_ratio does not apply without fine_model"),
        ("Avg_R2D2_6", {"search.grid": 4}, "search does not apply without hypotheses"),
        ("Avg_R2D2_6", {"fine_weights_path": "a.pt"}, "fine_weights_path does not apply without fine_model"),
        ("default", {"method": "guidde"}, "method: no method 'guidde'.*did you mean 'guided'"),
        ("default", {"neighbours.share": 1.5}, r"neighbours\.share: .*\(given: 1.5\)"),
        ("default", {"neighbours.shares": 0.1}, r"unknown key 'neighbours\.shares' \(did you mean 'share'"),
        ("default", {"neighbours": 3}, "neighbours: "),
    ],
)
def test_keys_that_do_not_apply_are_refused(preset: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{words}"):
        load_config(preset, **changes)
    with pytest.raises(ConfigError, match=words):
        Matcher(preset, **changes)


def test_keys_that_do_not_apply_are_refused_in_files(tmp_path: Path) -> None:
    flat = "model: GCM_COMPACT\nratio_th: [1, 1, 1, 1, 1]\n"
    path = write(tmp_path, flat + "geometry: auto\ncompat: false\n")
    with pytest.raises(ConfigError, match=r"mine\.yml: compat: does not apply to the method 'guided'"):
        load_config(path)
    path = write(tmp_path, flat + "smooth: true\n")
    with pytest.raises(ConfigError, match=r"mine\.yml: smooth: does not apply to the method 'published'"):
        load_config(path)
    with pytest.raises(ValueError, match="does not apply with geometry none"):
        MatcherConfig(model="GCM_COMPACT", ratio_th=(1,) * 5, geometry="none", second_round=True)


def test_changes_that_make_values_of_a_preset_pointless() -> None:
    preset = load_config("default").method
    upright = preset.model_copy(update={"geometry": "none", "hypotheses": "upright", "second_round": True})
    assert load_config("default", geometry="none").method == upright
    assert load_config("default", verify=False).method == preset.model_copy(update={"verify": False})
    again = load_config(load_config("default", geometry="none"), max_side=500)
    assert again.method == upright
    assert load_config("default", method="published").method == PublishedOptions()
    guided = load_config("ResNet18_dstlR2D2_6", method="guided", geometry="multi")
    assert guided.method == GuidedOptions(geometry="multi")
    assert guided.up_sample == (16, 1)


@pytest.mark.parametrize(
    "text",
    [
        "geometry: multi\nmatches_per_cell: 1\nneighbours: {share: 0.2}\n",
        "method: guided\ngeometry: multi\nmatches_per_cell: 1\nneighbours: {share: 0.2}\n",
        "method:\n  guided:\n    geometry: multi\n    matches_per_cell: 1\n    neighbours: {share: 0.2}\n",
        "method: {name: guided, geometry: multi, matches_per_cell: 1}\nneighbours.share: 0.2\n",
    ],
)
def test_ways_to_write_a_method(tmp_path: Path, text: str) -> None:
    config = load_config(write(tmp_path, "model: GCM_COMPACT\nratio_th: [1, 1, 1, 1, 1]\n" + text))
    assert isinstance(config.method, GuidedOptions)
    assert (config.method.geometry, config.method.matches_per_cell) == ("multi", 1)
    assert config.method.neighbours.share == 0.2
    assert config.method.neighbours.fewest == 4
    assert MatcherConfig(**config.model_dump()) == config
    assert load_config(config) == config


def test_up_sample_is_compared_with_what_finest_stride_leaves(tmp_path: Path) -> None:
    text = "model: GCM_COMPACT\nratio_th: [1, 1, 1, 1, 1]\nmethod: guided\nfinest_stride: 2\nup_sample: {}\n"
    assert Matcher(write(tmp_path, text.format("[8, 2]")), device="cpu").steps[-1].stride == 2
    with pytest.raises(ConfigError, match=r"up_sample is \[8, 1\] where GCM_COMPACT has \[8, 2\]"):
        Matcher(write(tmp_path, text.format("[8, 1]")), device="cpu")


def described(options: type[BaseModel], prefix: str) -> dict[str, str | None]:
    """Every key of a method's options, groups and what is in them included."""
    fields: dict[str, str | None] = {}
    for key, field in options.model_fields.items():
        if key == "name":
            continue
        fields[prefix + key] = field.description
        if prefix.endswith("frame.") and key == "neighbours":
            continue  # described in the group of that name
        inner = field.annotation
        # On Python 3.10 tuple[int, ...] is a type, too.
        if get_origin(inner) is None and isinstance(inner, type) and issubclass(inner, BaseModel):
            fields |= described(inner, f"{prefix}{key}.")
    return fields


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")
    documented: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            cells = line.split("|")
            documented[cells[1].strip(" `")] = cells[3].strip()
    fields = {key: field.description for key, field in MatcherConfig.model_fields.items()}
    for options in METHODS.values():
        fields |= described(options, "")
    # A group of options has its own table; chances stand in that of the group they belong to.
    assert documented == {
        key: told for key, told in fields.items() if not key.endswith((".chance", ".turned_chance"))
    }


def test_keys_may_be_written_as_they_stand_in_a_file() -> None:
    assert load_config(**{"method.guided.views.sure": 7}) == load_config(**{"views.sure": 7})
    with pytest.raises(ConfigError, match=r"^unknown key 'views\.sur' \(did you mean 'sure'"):
        load_config(**{"method.guided.views.sur": 7})
    with pytest.raises(ConfigError, match="search"):  # of the other method
        load_config(**{"method.published.search": "dense"})


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("ratio_th", "abc", "must be a list of values, as in [1, 2]"),
        ("ratio_th", [1, "x"], "must be a number"),
        ("guide.windows", [1, 2, 3], "must have at most 2 values, not 3"),
        ("guide.windows", [1], "a value is missing"),
        ("max_side", 1.5, "must be a whole number"),
        ("max_side", "abc", "must be a whole number"),
        ("verify", "maybe", "must be true or false"),
        ("views", 3, "must be a group of keys, each with its value"),
        ("planes.zoom", 0, "must be more than 0"),
        ("matches_per_cell", 9, "must be at most 4"),
        ("matches_per_cell", 0, "must be at least 1"),
        ("seeds.matchers", [1], "must be text"),
    ],
)
def test_values_are_refused_in_plain_words(key: str, value: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(**{key: value})
    assert str(caught.value) == f"{key}: {told} (given: {value!r})"
