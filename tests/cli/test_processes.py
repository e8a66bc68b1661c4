"""`gcm` in processes of its own: what a shell, a pipe and a full disk do to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LEFT, RIGHT = EXAMPLES / "left.jpg", EXAMPLES / "right.jpg"
GCM = f"{sys.executable} -m gcm_cli"
TINY = ("--max-side", "128")

PRINTING = ["--help", "match --help", "--version", "fetch-weights --list --json --quiet"]

pytestmark = pytest.mark.e2e


def shell(command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command line as typed, `gcm` standing for the command."""
    inherited = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment = {**inherited, "COLUMNS": "80", "NO_COLOR": "1"}
    environment |= options.pop("env", {})
    script = f'gcm() {{ {GCM} "$@"; }}\n{command}'
    options = {"capture_output": True, "text": True, **options}
    return subprocess.run(["bash", "-c", script], env=environment, check=False, timeout=120, **options)


def test_bad_input() -> None:
    done = shell(f"gcm match missing.png {RIGHT}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "gcm: error: missing.png: no such file\n"


@pytest.mark.parametrize(("set_before", "found"), [("", "1000"), ("GOMP_SPINCOUNT=7", "7")])
def test_threads_do_not_spin_on_a_busy_machine(set_before: str, found: str) -> None:
    """OpenMP reads it when PyTorch is imported; what the user set stays."""
    told = (
        "import os, sys; from gcm_cli import app; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    )
    done = shell(f'{set_before} {sys.executable} -c "{told}"')
    assert done.stdout == f"{found} False\n"


def test_workers_keep_freed_memory_for_the_next_map() -> None:
    told = "import os; import gcm_cli; print(*(os.environ[k] for k in sorted(os.environ) if 'MALLOC_' in k))"
    unset = "unset MALLOC_MMAP_THRESHOLD_ MALLOC_TRIM_THRESHOLD_;"
    assert shell(f'{unset} {sys.executable} -c "{told}"').stdout == "33554432 268435456\n"
    assert shell(f'{unset} MALLOC_TRIM_THRESHOLD_=7 {sys.executable} -c "{told}"').stdout == "33554432 7\n"


def test_quiet_prints_nothing() -> None:
    done = shell(f"gcm match {LEFT} {RIGHT} --max-side 128 --quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "arguments", ["--help", "match --help", "--version", "fetch-weights --list --json --quiet"]
)
def test_a_reader_that_leaves_early_is_no_error(arguments: str) -> None:
    done = shell(f"gcm {arguments} | head -c 1; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments", ["--help", "match --help", "--version", "fetch-weights --list --json --quiet"]
)
@pytest.mark.parametrize(
    ("target", "reason"), [("> /dev/full", "No space left on device"), (">&-", "it is closed")]
)
def test_stdout_that_takes_nothing(arguments: str, target: str, reason: str) -> None:
    done = shell(f"gcm {arguments} {target}")
    assert done.returncode == 1
    assert done.stderr == f"gcm: error: standard output cannot be written ({reason}); send it elsewhere\n"


@pytest.mark.parametrize("target", ["> /dev/full", ">&-"])
@pytest.mark.parametrize("form", ["", "--json"])
def test_files_are_there_whatever_becomes_of_the_printing(tmp_path: Path, target: str, form: str) -> None:
    output, picture = tmp_path / "m.npz", tmp_path / "d.png"
    done = shell(f"gcm match {LEFT} {RIGHT} --max-side 128 {form} -o {output} --draw {picture} {target}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("gcm: error: standard output cannot be written")
    assert output.stat().st_size > 1000
    assert picture.stat().st_size > 1000


def test_stderr_that_takes_nothing(tmp_path: Path) -> None:
    for target in ("2>&-", "2> /dev/full"):
        done = shell(f"gcm match {LEFT} {RIGHT} --max-side 128 --json {target}")
        assert done.returncode == 0
        assert json.loads(done.stdout)["files"] == {}
    assert shell("gcm match none none 2>&-").returncode == 1


@pytest.mark.parametrize(
    "photos",
    [
        "- {right} < {left}",
        "/dev/stdin {right} < {left}",
        "<(cat {left}) {right}",
        "<(cat {left}) <(cat {right})",
    ],
)
def test_photos_from_pipes(photos: str) -> None:
    done = shell(f"gcm match {photos.format(left=LEFT, right=RIGHT)} --max-side 128 --json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["size0"] == [512, 512]


def test_standard_input_is_not_overwritten(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(LEFT.read_bytes())
    done = shell(f"gcm match - {RIGHT} --draw {photo} < {photo}")
    assert done.returncode == 2
    assert "is an input" in done.stderr
    assert photo.read_bytes() == LEFT.read_bytes()


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_names_beyond_the_encoding(tmp_path: Path, environment: dict[str, str]) -> None:
    names = ["caf\u00e9 \u9999.jpg", os.fsdecode(b"stray\xff.jpg")]
    for name in names:
        (tmp_path / name).write_bytes(LEFT.read_bytes())
    done = shell(
        "gcm match caf*.jpg stray* --max-side 128 -o m.npz && gcm match caf*.jpg stray* --max-side 64 --json",
        cwd=tmp_path,
        env=environment,
        text=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    document = json.loads(done.stdout.splitlines()[-1])
    assert (document["image0"], document["image1"]) == ("caf\u00e9 \u9999.jpg", r"stray\xff.jpg")
    table = done.stdout[: done.stdout.rindex(b"{")].decode(encoding)
    assert r"stray\xff.jpg" in table


def seconds(*commands: str) -> list[float]:
    """The least that each takes, in three rounds of all of them: a machine is slower at times.

    Python may keep what it compiled, as it does for whoever installed `gcm`.
    """
    kept = {"PYTHONDONTWRITEBYTECODE": ""}
    spent: list[list[float]] = [[] for _ in commands]
    for _ in range(3):
        for command, times in zip(commands, spent, strict=True):
            start = time.perf_counter()
            shell(command, env=kept)
            times.append(time.perf_counter() - start)
    return [min(times) for times in spent]


def test_starting_is_quick() -> None:
    """Bars of 0.4 and 0.7 s, doubled for a loaded machine."""
    told, missing, mistyped = seconds(
        "gcm --help", f"gcm match none.jpg {RIGHT}", f"gcm match {LEFT} {RIGHT} --config defualt"
    )
    assert told < 0.8
    assert max(missing, mistyped) < 1.4


def test_a_match_takes_little_more_than_importing_torch() -> None:
    """A bar of 1.5 s on top where importing it takes two; a slower machine takes more for both."""
    importing, matching = seconds(f"{sys.executable} -c 'import torch'", f"gcm match {LEFT} {RIGHT}")
    assert matching < 1.75 * importing


# -- Ctrl-C ------------------------------------------------------------------------------------

TRAINING = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import colours
from gcm.distillation import objectives
objectives.create_teacher = lambda *_, **__: colours
from gcm_cli.app import app
app(sys.argv[1:])
"""


@pytest.mark.parametrize("to_all", [True, False])
def test_distill_ends_soon_and_goes_on(tmp_path: Path, to_all: bool) -> None:
    """As a terminal sends it to all processes of the command, and as ``kill -INT`` does to one."""
    (tmp_path / "photos").mkdir()
    for k in range(4):
        (tmp_path / "photos" / f"{k}.jpg").write_bytes((LEFT, RIGHT)[k % 2].read_bytes())
    recipe = {"steps": 5000, "batch_size": 4, "warmup_steps": 2, "validate_every": 5000}
    recipe |= {"checkpoint_every": 5000, "validation_batches": 1, "held_out": 0.3}
    recipe["augmentation"] = {"crop": 64, "scale": [64, 128]}
    (tmp_path / "recipe.yml").write_text(yaml.safe_dump(recipe))
    tests = str(Path(__file__).resolve().parents[1] / "distillation")
    arguments = [
        "distill",
        "recipe.yml",
        "--photos",
        "photos",
        "-o",
        "run",
        "--device",
        "cpu",
        "--workers",
        "2",
    ]
    command = [sys.executable, "-c", TRAINING.format(tests=tests), *arguments]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "recipe.yml").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(4)
    start = time.monotonic()
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 4, errors
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "gcm: interrupted"
    import torch

    taken = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"]
    assert taken > 0
    assert f"stopped after step {taken}" in errors
