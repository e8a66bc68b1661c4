"""The matcher's configuration: validated, and read from the published YAML files unchanged.

What both methods need stands at the top; the rest belongs to `method`, which is one of two sets of options::

    model: GCM_COMPACT
    ratio_th: [1.0, 1.0, 1.0, 1.0, 1.0]
    method:
      guided:
        geometry: auto

A method's keys may also stand at the top, as in the published files. Without `method`, a configuration with
`geometry` is guided, any other published.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gcm.errors import ConfigError, did_you_mean, plainly
from gcm.options import GuidedOptions, PublishedOptions, inapplicable
from gcm.storage.yaml_files import read_yaml

__all__ = ["DEFAULT_PRESET", "MatcherConfig", "config_folder", "list_presets", "load_config"]

DEFAULT_PRESET = "default"

METHODS: dict[str, type[PublishedOptions] | type[GuidedOptions]] = {
    "published": PublishedOptions,
    "guided": GuidedOptions,
}


class MatcherConfig(BaseModel):
    """How to match. Unknown keys, and keys that do not apply to the method, are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="backbone, by name; case does not matter")
    ratio_th: tuple[float, ...] = Field(
        description="ratio thresholds, one a level from fine to coarse (the coarsest twice); "
        "1 keeps every mutual pair"
    )
    method: Annotated[PublishedOptions | GuidedOptions, Field(discriminator="name")] = Field(
        PublishedOptions(), description="the way to match, `published` or `guided`, with its options"
    )
    weights_path: str | None = Field(None, description="a local file with the backbone's weights")
    up_sample: tuple[int, int] | None = Field(
        None, description="stride of the coarsest map and of the last refinement; derived when empty"
    )
    finest_stride: Literal[1, 2, 4] = Field(
        1, description="stride of the last map to refine to; guided positions are finer than that"
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "float32",
        description="what the networks compute in; auto: bfloat16 or float16 where that is faster",
    )
    device: str | None = Field(None, description="cpu, cuda, cuda:1, mps; the best there is when empty")
    runtime: Literal["torch", "onnxruntime"] = Field(
        "torch",
        description="what computes the backbone and the attention network: torch, or onnxruntime (extra "
        "`onnx`; float32 or float16)",
    )
    resize: int | tuple[int, int] | None = Field(
        None,
        description="network input: width and height, or the longer side alone; "
        "answers stay in original pixels",
    )
    down_sample: float | tuple[float, float] | None = Field(
        None, description="divide the image's sides (or width and height each) by this before matching"
    )
    max_side: int | None = Field(None, description="shrink images whose longer side exceeds this")
    max_pixels: int = Field(
        250_000_000,
        description="largest image that is read whole; a larger JPEG is read at reduced size, "
        "any other refused",
    )
    feature_cache: int = Field(
        2048, ge=0, description="megabytes of features of earlier images that are kept; 0 keeps none"
    )
    homography_threshold: float = Field(
        3.0, gt=0, description="pixels; reprojection error of the inliers of the final homography"
    )
    output_directory: str | None = Field(None, description="where extract writes unless told otherwise")

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, values: Any) -> Any:
        return _without_empty(_nest(values)) if isinstance(values, Mapping) else values

    @field_validator("ratio_th", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int | float) else value

    @field_validator("ratio_th")
    @classmethod
    def _in_range(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or any(not (0 < v <= 1 or v == -1) for v in value):
            raise ValueError("each ratio must lie in (0, 1], or be -1 for no test")
        return value

    @field_validator("resize", "max_side", "max_pixels", "down_sample", "up_sample")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        numbers = value if isinstance(value, tuple) else (value,)
        if any(v is not None and not v >= 1 for v in numbers):  # nan, too
            raise ValueError("must be at least 1")
        return value

    @field_validator("resize", "down_sample", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return None if value is False else value

    @field_validator("device", mode="before")
    @classmethod
    def _device(cls, value: Any) -> Any:
        # By name, since torch is not imported here.
        if (type(value).__module__, type(value).__name__) == ("torch", "device"):
            return str(value)
        # The published files may say `device: 0`, as CUDA users write it.
        number = isinstance(value, int) and not isinstance(value, bool)
        return f"cuda:{value}" if number or (isinstance(value, str) and value.isdigit()) else value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str | None) -> str | None:
        if value is None or value.lower() == "auto":
            return None
        if not re.fullmatch(r"(cpu|cuda|mps)(:\d+)?", value.lower()):
            raise ValueError(f"'{value}' is no device; use cpu, cuda, cuda:N, mps or auto")
        return value.lower()

    @model_validator(mode="after")
    def _precision_of_runtime(self) -> MatcherConfig:
        if self.runtime == "onnxruntime" and self.precision == "bfloat16":
            raise ValueError("precision bfloat16: onnxruntime computes in float32 or float16")
        return self

    def __repr__(self) -> str:
        """What differs from the defaults."""
        values = self.model_dump(exclude_defaults=True)
        method = {key: value for key, value in values.pop("method", {}).items() if key != "name"}
        changed = ", ".join(f"{key}={value!r}" for key, value in (values | method).items())
        return f"MatcherConfig({self.method.name}: {changed})"

    __str__ = __repr__


def known_keys() -> list[str]:
    """Every key a configuration may hold: the common ones, then those of the methods."""
    method_keys = [key for options in METHODS.values() for key in options.model_fields if key != "name"]
    return list(dict.fromkeys([*MatcherConfig.model_fields, *method_keys]))


def config_folder() -> Path:
    """Where the shipped configurations lie: in the wheel beside this file, in a checkout above it."""
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "configs"


def list_presets() -> list[str]:
    """Names of the shipped configurations."""
    return sorted(path.stem for path in config_folder().glob("*.yml"))


def load_config(source: str | PathLike[str] | MatcherConfig | None = None, **changes: Any) -> MatcherConfig:
    """A configuration by preset name, file or object, with single values changed.

    Args:
        source: name of a shipped configuration (case does not matter), path of a YAML file, an object,
            or None for the default preset.
        **changes: keys to set; they go through the same checks. An option within a group is named with
            dots, as in ``{"neighbours.share": 0.2}``, or as in a file, ``method.guided.neighbours.share``.
            A change of `method` drops the source's options of the other method.

    Raises:
        ConfigError: no such preset or file, not YAML, unknown key (with a suggestion), a key that does not
            apply to the method, bad value.
    """
    if isinstance(source, MatcherConfig):
        values, origin = source.model_dump(exclude_unset=True), "configuration"
        values["method"] = {**values.get("method", {}), "name": source.method.name}
    elif source is None or isinstance(source, str | PathLike):
        path = _find_config(source or DEFAULT_PRESET)
        values, origin = read_yaml(path), str(path)
    else:
        raise ConfigError(
            f"a configuration is the name of a preset, the path of a YAML file or a MatcherConfig, "
            f"not {type(source).__name__}"
        )
    _refuse_unknown(values, f"{origin}: ")
    _refuse_unknown(changes, "")
    merged = _merge(_nest(values), _nest(changes, name_method=False))
    return _validate(_without_empty(merged), origin, changes)


def _find_config(source: str | PathLike[str]) -> Path:
    text = str(source)
    path = Path(source).expanduser()
    if path.is_file():
        return path
    for preset in config_folder().glob("*.yml"):
        if preset.stem.lower() == text.lower():
            return preset
    if path.suffix in {".yml", ".yaml"}:
        raise ConfigError(f"{text}: no such configuration file")
    presets = list_presets()
    raise ConfigError(
        f"no configuration named '{text}'{did_you_mean(text, presets)}; known: {', '.join(presets)}"
    )


# -- from flat keys to the union ---------------------------------------------------------------


_CALLED = {"preset": " (a preset is named by 'config')"}
"""What people call things that have another name."""


def _short(key: str) -> str:
    """A key as options call it, of one that may be written as a file has it, below the method's name."""
    name = key.removeprefix("method.")
    method, _, inner = name.partition(".")
    return inner if name != key and method in METHODS and inner else name


def _refuse_unknown(values: Mapping[str, Any], where: str) -> None:
    known = known_keys()
    for key in values:
        if _short(key).partition(".")[0] not in known:
            raise ConfigError(
                f"{where}unknown key '{key}'{_CALLED.get(key) or did_you_mean(key, known)}; known: "
                f"{', '.join(known)}"
            )


def _nest(values: Mapping[str, Any], *, name_method: bool = True) -> dict[str, Any]:
    """The values with a method's keys below `method`.

    Args:
        values: flat, nested or both.
        name_method: name the method, where the values do not, by the keys they hold.
    """
    common: dict[str, Any] = {}
    method: dict[str, Any] = {}
    for key, value in values.items():
        name = _short(key)
        if key == "method":
            method |= _method_values(value)
        elif name.partition(".")[0] in MatcherConfig.model_fields or not _is_method_key(name):
            common[key] = value
        else:
            group, dot, inner = name.partition(".")
            if dot:
                method[group] = {**_as_dict(method.get(group)), inner: value}
            else:
                method[name] = value
    if name_method and "name" not in method:
        method["name"] = "published" if _empty("geometry", method.get("geometry")) else "guided"
    return {**common, "method": method} if method else common


def _without_empty(nested: dict[str, Any]) -> dict[str, Any]:
    """The values that are set."""
    common = {key: value for key, value in nested.items() if not _empty(key, value)}
    method = {k: v for k, v in _as_dict(common.get("method")).items() if not _empty(k, v)}
    return {**common, "method": method}


def _method_values(value: Any) -> dict[str, Any]:
    """Of ``method: guided``, ``method: {guided: {...}}``, an object or its plain values."""
    if isinstance(value, PublishedOptions | GuidedOptions):
        return {**value.model_dump(exclude_unset=True), "name": value.name}
    if isinstance(value, str) and not _empty("method", value):
        return {"name": value.lower()}
    if isinstance(value, Mapping):
        if len(value) == 1 and next(iter(value)) in METHODS:
            name, options = next(iter(value.items()))
            return {**_as_dict(options), "name": name}
        return dict(value)
    return {} if value is None or isinstance(value, str) else {"name": value}


def _is_method_key(key: str) -> bool:
    return any(key.partition(".")[0] in options.model_fields for options in METHODS.values())


def _as_dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The values changed; of the old ones, without what the changes make pointless."""
    method, changed = _as_dict(values.get("method")), _as_dict(changes.get("method"))
    if changed.get("name", method.get("name")) != method.get("name"):
        method = {}
    for key in inapplicable(changed):
        method.pop(key, None)
    for key, value in changed.items():
        old = method.get(key)
        method[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return {**values, **changes, "method": method}


def _empty(key: str, value: Any) -> bool:
    """Whether a value is one of YAML's common spellings of nothing, which means "not set"."""
    if key == "geometry" and value == "none":  # a value of its own there
        return False
    return value is None or (isinstance(value, str) and value.strip().lower() in {"", "none", "null"})


# -- errors ------------------------------------------------------------------------------------


def _validate(values: dict[str, Any], origin: str, changes: Collection[str]) -> MatcherConfig:
    def where(key: str) -> str:  # what the caller changed is not the file's fault
        named = [_short(change) for change in changes]
        changed = key in named or key in (name.partition(".")[0] for name in named)
        return "" if changed or key in changes else f"{origin}: "

    method = _as_dict(values.get("method"))
    name = method.get("name")
    options = METHODS.get(name) if isinstance(name, str) else None
    if options is None:
        raise ConfigError(
            f"{where('method')}method: no method '{name}'{did_you_mean(str(name), METHODS)}; "
            f"known: {', '.join(METHODS)}"
        )
    for key in method:
        if key not in options.model_fields:
            others = [other for other, fields in METHODS.items() if key in fields.model_fields]
            belongs = f" (it belongs to '{others[0]}')" if others else ""
            raise ConfigError(
                f"{where(key)}{key}: does not apply to the method '{name}'{belongs}; leave it out, "
                "or change `method`"
            )
    try:
        config = MatcherConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_first_fault(error, values, origin, where)) from error
    if "fine_ratio" in method and not where("fine_ratio") and not method.get("fine_model"):
        # A file may hold it, as the published ones do.
        raise ConfigError("fine_ratio does not apply without fine_model; leave it out")
    return config


def _keys_of_group(name: str) -> list[str]:
    """The keys within an option that is a group, as `neighbours`."""
    fields = [options.model_fields[name] for options in METHODS.values() if name in options.model_fields]
    return [key for field in fields for key in getattr(field.annotation, "model_fields", {})]


def _first_fault(error: ValidationError, values: dict[str, Any], origin: str, where: Any) -> str:
    first = error.errors()[0]
    location = [part for part in first["loc"] if isinstance(part, str)]
    message = plainly(first["msg"])
    in_method = location[:1] == ["method"]
    names = location[2:] if in_method else location[:1]
    if not names:
        return f"{where(message.partition(' ')[0])}{message}"
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(names[-1], _keys_of_group(names[0]))
        return f"{where('.'.join(names))}unknown key '{'.'.join(names)}'{hint}"
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return f"{origin}: the key '{names[0]}' is missing"
    value: Any = values["method"] if in_method else values
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else value
    key = ".".join(names)
    return f"{where(key)}{key}: {message} (given: {value!r})"
