"""The room's names, and what importing them costs."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types

import pytest

import gcm.storage


def test_every_name_is_there() -> None:
    for module in ("archives", "atomic", "download", "http", "locks", "npz", "yaml_files"):
        importlib.import_module(f"gcm.storage.{module}")
    for name in gcm.storage.__all__:
        assert not isinstance(getattr(gcm.storage, name), types.ModuleType), name
    with pytest.raises(AttributeError):
        gcm.storage.nothing  # noqa: B018


@pytest.mark.e2e
def test_writing_a_file_loads_nothing_heavy() -> None:
    code = "import sys; from gcm.storage import whole_file; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "numpy", "ssl", "filelock", "zipfile", "yaml"} & set(modules.split())
