"""The house itself: how many rooms, how long their files, which way is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("gcm/**/*.py"), *ROOT.glob("gcm_cli/**/*.py"), *ROOT.glob("benchmarks/**/*.py")])


def test_few_modules_stand_beside_the_rooms() -> None:
    assert len(list((ROOT / "gcm").glob("*.py"))) <= 7


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_long_and_no_function(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    long = {name: lines for name, lines in functions(text) if lines > 60}
    assert not long


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Names and lengths of all functions of a file, without decorators."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_every_room_says_what_it_is_for() -> None:
    for folder in sorted((ROOT / "gcm").iterdir()):
        if (folder / "__init__.py").is_file():
            docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
            assert docstring
            assert "TODO" not in docstring


def test_what_does_without_torch() -> None:
    """All in one process, which is as strict as a process each: what one loads stays loaded."""
    modules = [
        "gcm.benchmark.evaluate",
        "gcm.benchmark.layout",
        "gcm.benchmark",
        "gcm.images",
        "gcm.metrics",
        "gcm.estimation",
        "gcm.matchers",
        "gcm.storage",
        "gcm.viz",
        "gcm.config",
        "gcm_cli.app",
    ]
    code = (
        "import importlib, sys\n"
        f"for module in {modules}:\n"
        "    importlib.import_module(module)\n"
        "    assert 'torch' not in sys.modules, module\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
