"""Files: written whole, locked, fetched, unpacked, read.

    >>> from gcm.storage import download_file, whole_file

Names are imported when first used, so that one of them costs nothing of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcm.storage.archives import extract_archive as extract_archive
    from gcm.storage.atomic import clear_leftovers as clear_leftovers
    from gcm.storage.atomic import sha256_of as sha256_of
    from gcm.storage.atomic import whole_file as whole_file
    from gcm.storage.atomic import write_if_changed as write_if_changed
    from gcm.storage.download import download_file as download_file
    from gcm.storage.download import is_sha256 as is_sha256
    from gcm.storage.download import offline as offline
    from gcm.storage.http import is_web_address as is_web_address
    from gcm.storage.locks import only_writer as only_writer
    from gcm.storage.npz import Npz as Npz
    from gcm.storage.yaml_files import read_yaml as read_yaml

_HOMES = {
    "Npz": "npz",
    "clear_leftovers": "atomic",
    "download_file": "download",
    "extract_archive": "archives",
    "is_sha256": "download",
    "is_web_address": "http",
    "offline": "download",
    "only_writer": "locks",
    "read_yaml": "yaml_files",
    "sha256_of": "atomic",
    "whole_file": "atomic",
    "write_if_changed": "atomic",
}

__all__ = [
    "Npz",
    "clear_leftovers",
    "download_file",
    "extract_archive",
    "is_sha256",
    "is_web_address",
    "offline",
    "only_writer",
    "read_yaml",
    "sha256_of",
    "whole_file",
    "write_if_changed",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
