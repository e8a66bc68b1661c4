"""Windows and macOS, as far as Linux can imitate them: real processes, by ``tests/as_on_windows``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="the imitation reads /proc")

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = {"1": "Été 1.jpg", "2": "Été 2.jpg", "3": "→ 3.jpg"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos whose names hold letters that cp1252 has, one that it lacks, and spaces."""
    folder = tmp_path_factory.mktemp("windows") / "phötos"
    folder.mkdir()
    for name, called in PHOTOS.items():
        shutil.copyfile(ROOT / f"examples/turn/{name}.jpg", folder / called)
    return folder


def as_on_windows(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests/as_on_windows"), str(ROOT)]),
        "PYTHONIOENCODING": "cp1252",  # a console of Western Europe
        "PYTHONWARNDEFAULTENCODING": "1",
        "COLUMNS": "80",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="cp1252",
        timeout=300,
        check=False,
    )


def gcm(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = as_on_windows(folder, "-m", "gcm_cli", *arguments)
    assert done.returncode == 0, done.stderr
    assert not re.search("Warning|Traceback", done.stderr), done.stderr
    return done


def test_the_imitation_refuses_what_windows_refuses(tmp_path: Path) -> None:
    script = """
import os, signal, sys, pathlib
assert "fcntl" in sys.modules and sys.modules["fcntl"] is None and not hasattr(signal, "SIGKILL")
a, b = pathlib.Path("a"), pathlib.Path("b")
a.write_bytes(b"1"); b.write_bytes(b"2")
with a.open("rb"):
    for attempt in (a.unlink, lambda: b.replace(a), lambda: a.rename("c"), lambda: os.remove("a")):
        try:
            attempt()
        except PermissionError:
            pass
        else:
            sys.exit("let pass")
b.replace(a)
a.unlink()
"""
    done = as_on_windows(tmp_path, "-c", script)
    assert done.returncode == 0, done.stderr


def test_two_photos_are_matched(photos: Path, tmp_path: Path) -> None:
    names = [photos / PHOTOS["1"], photos / PHOTOS["3"]]
    files = ["-o", "mätches.json", "--draw", "d.png", "--warp", "w.png"]
    done = gcm(tmp_path, "match", *names, *files, "-c", "fast")
    assert r"\u2192 3.jpg" in " ".join(done.stdout.split())  # the console has no arrow
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.png", "mätches.json", "w.png"]
    assert b"\r" not in (tmp_path / "mätches.json").read_bytes()


@pytest.mark.e2e
def test_a_folder_is_matched_stored_shown_and_exported(photos: Path, tmp_path: Path) -> None:
    """By two processes, twice, with maps kept in a folder; results are replaced and removed as well."""
    fast = ["-c", "fast", "--workers", "2"]
    gcm(tmp_path, "pairs", photos, "-o", "pairs.txt")
    for told in ("3 pairs matched, 0 there", "0 pairs matched, 3 there"):
        done = gcm(tmp_path, "extract", "--images", photos, "-o", "ä", *fast, "--features", "maps")
        assert told in done.stderr
    for store in ("npz", "h5", "parquet"):
        options = ["--store", store, "--overwrite"]
        gcm(tmp_path, "extract", "--pairs", "pairs.txt", "-o", "other", *fast, *options)
        gcm(tmp_path, "store", "ä", "--to", store, "-o", f"as_{store}")
    parts = ["-o", "parts", "-c", "fast", "--executor", "local", "--shards", "2"]
    gcm(tmp_path, "extract", "--pairs", "pairs.txt", *parts)
    gcm(tmp_path, "merge", "merged", "ä", "parts")
    for _ in range(2):
        gcm(tmp_path, "report", "ä", "--images", photos)
        gcm(tmp_path, "export", "ä", "--images", photos, "--to", "colmap", "-o", "a.db", "--overwrite")
        gcm(tmp_path, "export", "ä", "--images", photos, "--to", "kapture", "-o", "kapture", "--overwrite")
    left = [path for path in tmp_path.rglob("*") if re.search(r"\.lock$|\.[0-9a-f]{8}\.", path.name)]
    assert not left


@pytest.mark.e2e
def test_a_model_is_made_and_made_again(tmp_path: Path) -> None:
    for _ in range(2):
        done = gcm(tmp_path, "reconstruct", ROOT / "examples/room", "-o", "mödel", "-c", "fast")
        assert "6 of 6 photos placed" in done.stderr
    assert not [path for path in (tmp_path / "mödel").iterdir() if path.name.startswith(".")]
