"""The one reader of YAML files: configurations, recipes, records of an extraction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from gcm.errors import ConfigError
from gcm.storage.text import decode_text

__all__ = ["read_yaml", "split_spec"]


def read_yaml(path: Path) -> dict[str, Any]:
    """The ``key: value`` lines of a YAML file.

    Raises:
        ConfigError: it cannot be read, is no YAML, or holds something else than keys and values.
    """
    try:
        data = yaml.safe_load(decode_text(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds no 'key: value' lines")
    return {str(key): value for key, value in data.items()}


def split_spec(spec: str) -> tuple[str, dict[str, str]]:
    """The name and the settings, as text, of something written ``name:key=value,key=value``."""
    name, _, settings = spec.partition(":")
    return name, dict(setting.partition("=")[::2] for setting in settings.split(",") if setting)
