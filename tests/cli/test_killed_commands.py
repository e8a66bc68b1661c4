"""Commands killed just before any change they make to a file, and started again.

Of `extract`, kills at moments of its work are in test_benchmark_commands.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from file_server import FileServer
from PIL import Image
from typer.testing import CliRunner

from gcm.benchmark.hpatches import Link, organise_hpatches
from gcm_cli.app import app

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.e2e

KILLED_AT = """
import os, runpy, signal, sys

folder, moment, record = os.getcwd(), int(sys.argv[1]), sys.argv[2]
changes = 0

def changes_a_file(event, args):
    if event == "open":
        return isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    return event in ("os.rename", "os.remove", "os.mkdir", "os.utime", "os.link", "os.symlink")

def watch(event, args):
    global changes
    if changes_a_file(event, args) and isinstance(args[0], (str, os.PathLike)):
        # Of a link the first argument is what it points to, which may lie elsewhere; of an opening the second
        # is its mode.
        names = args[:1] if event == "open" else args[:2]
        paths = [os.path.abspath(path) for path in names if isinstance(path, (str, os.PathLike))]
        if any(path.startswith(folder + os.sep) for path in paths):
            changes += 1
            if changes == moment:
                os.kill(os.getpid(), signal.SIGKILL)

sys.argv[:] = ["gcm", *sys.argv[3:]]
sys.addaudithook(watch)
try:
    runpy.run_module("gcm_cli", run_name="__main__")
finally:
    with open(record, "w") as file:
        file.write(str(changes))
"""
"""Runs gcm and kills it before its N-th change to a file below the working folder."""


def start(cwd: Path, moment: int, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED_AT, str(moment), str(cwd.parent / "changes"), *arguments]
    return subprocess.Popen(command, cwd=cwd, env=environment, stderr=subprocess.PIPE)


def finish(cwd: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command undisturbed; in this process, which is faster."""
    monkeypatch.chdir(cwd)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr


def contents(folder: Path) -> dict[str, bytes | str]:
    """Every file but locks; of a link where it points to, of files with times in them that they are there."""

    def content(path: Path) -> bytes | str:
        if path.is_symlink():
            return str(path.readlink())
        return b"" if path.name in ("config.yml", "times.csv") else path.read_bytes()

    return {
        str(path.relative_to(folder)): content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def prepare_organize(folder: Path, release: Path, shared: Path) -> None:
    """Nothing: the release lies outside."""


def prepare_download(folder: Path, release: Path, shared: Path) -> None:
    with zipfile.ZipFile(folder / "release.zip", "w") as bundle:
        for path in sorted(release.rglob("*")):
            bundle.write(path, path.relative_to(release.parent))


def prepare_convert(folder: Path, release: Path, shared: Path) -> None:
    target = folder / "SIFT/original_outputs"
    target.mkdir(parents=True)
    for path in sorted((shared / "golden/ime/SIFT_06/outputs/viewpoint").rglob("*.npz")):
        shutil.copyfile(path, target / path.name)
        os.utime(target / path.name, (1, 1))


def prepare_extract(folder: Path, release: Path, shared: Path) -> None:
    organise_hpatches(release, folder / "Datasets/hpatches", link=Link.SYMBOLIC)


def prepare_merge(folder: Path, release: Path, shared: Path) -> None:
    """Two machines' folders; one was stopped before it had moved its results."""
    prepare_extract(folder, release, shared)
    for k in (1, 2):
        arguments = ["extract", "--algorithm", "orb", "--dataset-dir", str(folder / "Datasets/hpatches")]
        arguments += ["--shard", f"{k}/2", "--output-dir", str(folder / f"machine {k}"), "--workers", "1"]
        assert CliRunner().invoke(app, arguments).exit_code == 0
    (folder / "moved").mkdir()
    shutil.move(folder / "machine 2", folder / "moved/shards/2-of-2")


def prepare_evaluate(folder: Path, release: Path, shared: Path) -> None:
    organise_hpatches(shared / "data/oxford-dev", folder / "Datasets/hpatches", link=Link.SYMBOLIC)
    for name in ("SIFT_06", "ORB_08"):
        shutil.copytree(shared / "golden/ime" / name, folder / "Results/hpatches" / name)


Prepare = Callable[[Path, Path, Path], None]
COMMANDS: dict[str, tuple[Prepare, list[str]]] = {
    "organize": (prepare_organize, ["organize-hpatches", "RELEASE", "D"]),
    "link": (prepare_organize, ["organize-hpatches", "RELEASE", "D", "--link", "symbolic"]),
    "download": (prepare_download, ["download", "--archive", "release.zip", "--dest", "D"]),
    "convert": (prepare_convert, ["convert", "--output-dir", "SIFT"]),
    "extract": (prepare_extract, ["extract", "--algorithm", "orb"]),
    "extract h5": (prepare_extract, ["extract", "--algorithm", "orb", "--store", "h5"]),
    "extract parquet": (prepare_extract, ["extract", "--algorithm", "orb", "--store", "parquet"]),
    "shard": (prepare_extract, ["extract", "--algorithm", "orb", "--shard", "1/2", "--workers", "1"]),
    "merge": (prepare_merge, ["merge", "moved", "machine 1"]),
    "evaluate": (prepare_evaluate, ["evaluate", "SIFT_06", "ORB_08", "--plot", "curves.png"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_before_a_change_and_run_again(
    tmp_path: Path, shared: Path, tiny_release: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, arguments = COMMANDS[name]
    arguments = [str(tiny_release) if argument == "RELEASE" else argument for argument in arguments]

    def fresh(folder: str) -> Path:
        (tmp_path / folder).mkdir()
        prepare(tmp_path / folder, tiny_release, shared)
        return tmp_path / folder

    whole = fresh("whole")
    process = start(whole, 0, *arguments)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    count = int((tmp_path / "changes").read_text())
    assert count > 10
    # From the first change to the last, which is where what is written last would be left half done.
    moments = sorted({1, count // 3, 2 * count // 3, count - 1, count})
    for moment in moments:
        killed = fresh(f"killed {moment}")
        process = start(killed, moment, *arguments)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        finish(killed, arguments, monkeypatch)
        assert contents(killed) == contents(whole), moment
        # Killed just before it removed its lock, a command leaves that to the next that has to write.
        assert moment == count or not list(killed.rglob("*.lock")), moment
    assert not list(whole.rglob("*.lock"))


def shrunk_site(folder: Path, shared: Path) -> None:
    (folder / "photos").mkdir(parents=True)
    for name in ("0005", "0006", "0007"):
        with Image.open(shared / f"data/strecha-dev/Herz-Jesus-P25/{name}.jpg") as photo:
            photo.resize((512, 341)).save(folder / f"photos/{name}.png")


def model_in(folder: Path) -> tuple[set[str], dict[str, bytes], set[str], int]:
    """Names of files, matches, what the database holds row by row, and how many photos are placed."""
    files = {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    }
    matches = {path.name: path.read_bytes() for path in folder.rglob("*.npz")}
    with closing(sqlite3.connect(folder / "database.db")) as database:
        rows = {
            repr(row)
            for table in ("cameras", "images", "keypoints", "matches")
            for row in database.execute(f"select * from {table}")
        }
    placed = json.loads((folder / "summary.json").read_text())["registered"]
    return files, matches, rows, placed


def test_a_model_killed_on_its_way_is_finished(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pycolmap")
    arguments = ["reconstruct", "photos", "-o", "D", "--config", "fast"]
    shrunk_site(tmp_path / "whole", shared)
    process = start(tmp_path / "whole", 0, *arguments)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    whole = model_in(tmp_path / "whole/D")
    assert whole[3] == 3
    count = int((tmp_path / "changes").read_text())
    # In the midst of matching, and as the model is made and put in its place.
    for moment in (count // 2, count - 9, count - 5, count - 2, count):
        killed = tmp_path / f"killed {moment}"
        shrunk_site(killed, shared)
        process = start(killed, moment, *arguments)
        process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL
        finish(killed, arguments, monkeypatch)
        assert model_in(killed / "D") == whole, moment
        assert not list((killed / "D").glob(".model.*")), moment


def test_a_download_killed_on_its_way_goes_on(
    tmp_path: Path, tiny_release: Path, file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    prepare_download(folder, tiny_release, tiny_release)
    content = file_server.content = (folder / "release.zip").read_bytes()
    (folder / "release.zip").unlink()
    file_server.pause = 0.02
    arguments = ["download", "--url", f"{file_server.url}/release.zip", "--dest", "D"]
    process = start(folder, 0, *arguments)
    part = folder / "release.zip.part"
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size > 1 << 17):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    begun = part.stat().st_size
    assert begun < len(content)
    finish(folder, arguments, monkeypatch)
    assert (folder / "release.zip").read_bytes() == content
    assert file_server.ranges == [None, f"bytes={begun}-"]
    assert {name for name in contents(folder) if "/" not in name} == {"release.zip"}
