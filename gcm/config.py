"""The matcher's configuration: validated, and read from the published YAML files unchanged."""

from __future__ import annotations

import re
from collections.abc import Collection
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gcm.errors import ConfigError, did_you_mean

__all__ = ["DEFAULT_PRESET", "MatcherConfig", "config_folder", "list_presets", "load_config"]

DEFAULT_PRESET = "default"


class MatcherConfig(BaseModel):
    """How to match. Unknown keys are refused; an empty value means the default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="backbone, by name; case does not matter")
    ratio_th: tuple[float, ...] = Field(
        description="ratio thresholds, one a level from fine to coarse (the coarsest twice); "
        "1 keeps every mutual pair"
    )
    fine_model: str | None = Field(None, description="patch descriptor, by name; none when empty")
    fine_ratio: float = Field(
        0.95, description="ratio threshold of the patch descriptor's refinement; -1 turns it off"
    )
    up_sample: tuple[int, int] | None = Field(
        None, description="stride of the coarsest map and of the last refinement; derived when empty"
    )
    enable_two_stage: bool = Field(True, description="undo the gross homography first")
    bidirectional: bool = Field(True, description="ratio test in both directions")
    device: str | None = Field(None, description="cpu, cuda, cuda:1, mps; the best there is when empty")
    output_directory: str | None = Field(None, description="where extract writes unless told otherwise")
    weights_path: str | None = Field(None, description="a local file with the backbone's weights")
    fine_weights_path: str | None = Field(
        None, description="a local file with the patch descriptor's weights"
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
    hypotheses: Literal["upright", "auto", "full"] | None = Field(
        None,
        description="stage 0 at low resolution, the images also tried turned and scaled; empty: as published",
    )
    geometry: Literal["homography", "multi", "none", "auto"] | None = Field(
        None,
        description="what undoes the gross motion: one homography, several, none, or as the matches ask for; "
        "empty: as published",
    )
    second_round: bool = Field(
        True, description="with geometry: match again, guided by what was found, where that helps"
    )
    subpixel: bool = Field(True, description="with geometry: positions to a fraction of a pixel")
    verify: bool = Field(True, description="with geometry: keep what its neighbours bear out")
    smooth: bool = Field(
        True, description="with geometry and verify: positions drawn towards what their neighbours say"
    )
    finest_stride: Literal[1, 2, 4] = Field(
        1, description="stride of the last map to refine to; with geometry, positions are finer than that"
    )
    matches_per_cell: int = Field(
        2, ge=1, le=4, description="with geometry: most matches that a cell of the coarsest map gives"
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "float32",
        description="what the networks compute in; auto: bfloat16 or float16 where that is faster",
    )
    compat: bool = Field(True, description="reproduce the published code's three quirks")

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

    @field_validator("fine_ratio")
    @classmethod
    def _ratio(cls, value: float) -> float:
        if not (0 < value <= 1 or value == -1):
            raise ValueError("must lie in (0, 1], or be -1 for no test")
        return value

    @field_validator("resize", "max_side", "down_sample", "up_sample")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        numbers = value if isinstance(value, tuple) else (value,)
        if any(v is not None and v < 1 for v in numbers):
            raise ValueError("must be at least 1")
        return value

    @field_validator("resize", "down_sample", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return None if value is False else value

    @field_validator("device", mode="before")
    @classmethod
    def _device(cls, value: Any) -> Any:
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
        **changes: keys to set; they go through the same checks.

    Raises:
        ConfigError: no such preset or file, not YAML, unknown key (with a suggestion), bad value.
    """
    if isinstance(source, MatcherConfig):
        values, origin = source.model_dump(), "configuration"
    else:
        path = _find(source or DEFAULT_PRESET)
        values, origin = _read(path), str(path)
    values.update(changes)
    return _validate(values, origin, changes)


def _find(source: str | PathLike[str]) -> Path:
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


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a configuration is a list of 'key: value' lines")
    return {str(key): value for key, value in data.items()}


def _validate(values: dict[str, Any], origin: str, changes: Collection[str]) -> MatcherConfig:
    def where(key: str) -> str:  # what the caller changed is not the file's fault
        return "" if key in changes else f"{origin}: "

    known = MatcherConfig.model_fields
    for key in values:
        if key not in known:
            raise ConfigError(
                f"{where(key)}unknown key '{key}'{did_you_mean(key, known)}; known: {', '.join(known)}"
            )
    # An empty value, or YAML's common spellings of nothing, means "not set".
    given = {key: value for key, value in values.items() if not _empty(key, value)}
    try:
        return MatcherConfig.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:1])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing" and len(first["loc"]) == 1:
            raise ConfigError(f"{origin}: the key '{key}' is missing") from error
        raise ConfigError(f"{where(key)}{key}: {message} (given: {values.get(key)!r})") from error


def _empty(key: str, value: Any) -> bool:
    if key == "geometry" and value == "none":  # a value of its own there
        return False
    return value is None or (isinstance(value, str) and value.strip().lower() in {"", "none", "null"})
