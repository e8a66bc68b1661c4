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
        ConfigError: it cannot be read, is no YAML, says a key twice, or holds something else than keys and
            values.
    """
    try:
        data = yaml.load(decode_text(path.read_bytes()), _OnceEach)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds no 'key: value' lines")
    return {str(key): value for key, value in data.items()}


class _OnceEach(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML's readers silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for place, (_, name) in enumerate(keys):
            if keys[place] in keys[:place]:
                raise yaml.YAMLError(f"the key '{name}' stands there twice; remove one")
        return super().construct_mapping(node, deep=deep)


def split_spec(spec: str) -> tuple[str, dict[str, str]]:
    """The name and the settings, as text, of something written ``name:key=value,key=value``."""
    name, _, settings = spec.partition(":")
    return name, dict(setting.partition("=")[::2] for setting in settings.split(",") if setting)
