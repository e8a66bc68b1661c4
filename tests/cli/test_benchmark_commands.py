"""The benchmark's commands as a person runs them, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from gcm_cli.app import app

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}


def gcm(cwd: Path, *arguments: str, code: int = 0, **extra: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "gcm_cli", *arguments],
        cwd=cwd,
        env=environment() | extra,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def inside(*arguments: str) -> Result:
    """The same in this process, where starting one would only cost time."""
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, list(arguments))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but locks and those with times in them."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock") and path.name not in {"config.yml", "times.csv"}
    }


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.e2e
def test_from_nothing_to_a_table_and_again(
    tmp_path: Path, tiny_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "my work"
    home.mkdir()
    with zipfile.ZipFile(home / "release.zip", "w") as bundle:
        for path in tiny_release.rglob("*"):
            bundle.write(path, Path("hpatches-sequences-release") / path.relative_to(tiny_release))
    steps = [
        ["download", "--archive", "release.zip"],
        ["organize-hpatches"],
        ["extract", "--algorithm", "sift", "--ratio", "0.9", "--json", "--quiet"],
        ["extract", "--algorithm", "orb", "--output-dir", "Results/hpatches/my orb", "--workers", "2"],
        ["convert", "--output-dir", "Results/hpatches/sift"],
        ["convert", "--output-dir", "Results/hpatches/my orb"],
        ["evaluate", "--algorithms", "sift,", "my orb", "--plot", "curves.png"],
    ]
    monkeypatch.chdir(home)
    first = [gcm(home, *step) if step[0] in ("extract", "evaluate") else inside(*step) for step in steps]
    before = stamps(home)
    second = [inside(*step) for step in steps]
    assert [result.exit_code for result in second] == [0] * len(steps)
    assert stamps(home) == before
    assert json.loads(first[2].stdout)["done"] == json.loads(second[2].stdout)["skipped"] == 15
    assert first[2].stderr == ""
    assert second[6].stdout == first[6].stdout
    assert "protocol fixed" in first[6].stdout
    assert max(len(line) for line in first[6].stdout.splitlines()) <= 80
    assert (home / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.e2e
def test_what_evaluate_prints(tmp_path: Path, tiny_release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inside("organize-hpatches", str(tiny_release))
    for ratio in ("0.9", "1"):
        folder = f"Results/hpatches/my {ratio}"
        inside("extract", "--algorithm", "sift", "--ratio", ratio, "--output-dir", folder)
        inside("convert", "--output-dir", folder)
    odd = Path("Results/hpatches/one, two [bold]")
    shutil.copytree("Results/hpatches/my 1/outputs", odd / "outputs")
    assert "one, two [bold]" in inside("evaluate", odd.name).stdout
    document = json.loads(inside("evaluate", "my 0.9", "my 1", "--json", "--protocol", "ime").stdout)
    assert document["protocol"] == "ime"
    assert document["algorithms"]["my 1"]["summaries"]["all"]["pairs"] == 14
    assert len(document["algorithms"]["my 0.9"]["sequences"]) == 3
    fixed = json.loads(inside("evaluate", "--algorithms", "my 0.9,my 1", "--json").stdout)
    assert {entry["measure"] for entry in fixed["comparisons"]} >= {"MMA@3", "HA@3", "AUC@5"}
    assert fixed["algorithms"]["my 1"]["summaries"]["all"]["pairs"] == 15
    markdown = inside("evaluate", "--algorithms", "my 1", "--format", "markdown", "--per-sequence").stdout
    assert "| my 1" in markdown
    assert "v_wall" in markdown
    assert "\\toprule" in inside("evaluate", "--algorithms", "my 1", "--format", "latex").stdout
    gone = next(Path("Results/hpatches/my 1/outputs/viewpoint").rglob("*.npz"))
    gone.unlink()
    assert inside("evaluate", "my 0.9", "my 1").exit_code == 0  # what was extracted is there
    Path("Results/hpatches/my 1/original_outputs", gone.name).unlink()
    partial_result = inside("evaluate", "my 0.9", "my 1")
    assert partial_result.exit_code == 3
    assert "my 1: no results, 1 prediction is missing" in partial_result.stderr
    assert inside("evaluate", "my 1").exit_code == 1


def wait_for(condition: object, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None:  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.e2e
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_several_moments_ends_with_the_same_files(
    shared: Path, tmp_path: Path, workers: int
) -> None:
    gcm(tmp_path, "organize-hpatches", str(shared / "data/oxford-dev"), "D", "--link", "symbolic")
    arguments = ["extract", "--algorithm", "orb", "--dataset-dir", "D", "--workers", str(workers)]
    arguments += ["--set", "max_keypoints=1000"]
    gcm(tmp_path, *arguments, "--output-dir", "whole")
    results = tmp_path / "killed/original_outputs"

    def count() -> int:
        return len(list(results.glob("*_matches.npz"))) if results.is_dir() else 0

    moments = [
        (tmp_path / "killed/times.csv").exists,
        lambda: count() >= 4,
        lambda: results.is_dir() and any(p.name.startswith(".") for p in results.iterdir()),
        lambda: count() >= 12,
    ]
    killed = 0
    for moment in moments:
        command = [sys.executable, "-m", "gcm_cli", *arguments, "--output-dir", "killed"]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
        wait_for(moment, process)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 3  # at the others it may have been faster than the watcher
    gcm(tmp_path, *arguments, "--output-dir", "killed")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    whole, again = (yaml.safe_load((tmp_path / n / "config.yml").read_text()) for n in ("whole", "killed"))
    assert list(again) == list(whole)
    assert (again["pairs"], again["configuration"]) == (20, whole["configuration"])
    times = [(tmp_path / name / "times.csv").read_text().splitlines() for name in ("whole", "killed")]
    names = [[line.split(",")[0] for line in lines] for lines in times]
    assert names[0] == names[1]


@pytest.mark.e2e
def test_a_bad_pair_gives_exit_code_3(tmp_path: Path, shared: Path) -> None:
    photos = tmp_path / "holiday photos"
    photos.mkdir()
    for k in (1, 2):
        (photos / f"beach {k}.ppm").symlink_to(shared / f"data/oxford-dev/v_boat/{k}.ppm")
    (photos / "broken.png").write_bytes(b"no image")
    (tmp_path / "pairs.txt").write_text(
        f'"holiday photos/beach 1.ppm" "holiday photos/beach 2.ppm"\n'
        f'"{photos}/beach 1.ppm"\t"{photos}/broken.png"\n'
        "holiday photos/beach 2.ppm holiday photos/beach 1.ppm\n"
    )
    done = gcm(
        tmp_path,
        "extract",
        "--algorithm",
        "orb",
        "--pairs",
        "pairs.txt",
        "--output-dir",
        "my out",
        "--json",
        code=3,
    )
    document = json.loads(done.stdout)
    assert (document["done"], list(document["failed"])) == (2, ["beach 1_broken"])
    assert "broken.png" in done.stderr
    assert len(list((tmp_path / "my out/original_outputs").glob("*.npz"))) == 2
    gcm(tmp_path, "convert", "--output-dir", "my out")
    assert (tmp_path / "my out/outputs" / tmp_path.name / "holiday photos").is_dir()
    (tmp_path / "bad.txt").write_text("none.png broken.png\n")
    gcm(tmp_path, "extract", "--algorithm", "orb", "--pairs", "bad.txt", "--output-dir", "all bad", code=1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["download", "hpatchs"], 2, "did you mean 'hpatches'"),
        (["download"], 1, "GCM_OFFLINE=1 forbids"),
        (["download", "--archive", "none.zip"], 1, "no such archive"),
        (["organize-hpatches", "none"], 1, "no such folder"),
        (["extract", "--algorithm", "sift"], 1, "no such list of pairs"),
        (["extract", "--set", "max_side"], 2, "write KEY=VALUE"),
        (["extract", "--set", "max_sid=3"], 2, "did you mean 'max_side'"),
        (["extract", "--config", "none.yml"], 2, "no such configuration file"),
        (["extract", "--algorithm", "sift", "--config", "default"], 2, "--config is for gcm"),
        (["extract", "--ratio", "0.5"], 2, "ratio_th"),
        (["extract", "--algorithm", "orb", "--set", "max_keypoints=x"], 2, "must be a whole number"),
        (["extract", "--set", "device=cuda:99"], 2, "not available"),
        (["convert", "--output-dir", "none"], 1, "run 'gcm extract'"),
        (["evaluate"], 2, "name the algorithms"),
        (["evaluate", "--algorithms", "X", "--plot", "a.gif"], 2, r"\.png"),
        (["evaluate", "--algorithms", "X"], 1, "no predictions"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, arguments: list[str], code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = inside(*arguments)
    assert done.exit_code == code
    (line,) = done.stderr.splitlines()
    assert line.startswith("gcm: error: ")
    assert re.search(message, line)
    assert done.stdout == ""


@pytest.fixture
def mirror(tmp_path: Path, tiny_release: Path) -> Iterator[str]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    with zipfile.ZipFile(folder / "release.zip", "w") as bundle:
        for path in tiny_release.rglob("*"):
            bundle.write(path, path.relative_to(tiny_release.parent))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.e2e
def test_download_from_a_mirror(tmp_path: Path, mirror: str) -> None:
    arguments = [
        "download",
        "--url",
        f"{mirror}/none.zip",
        "--url",
        f"{mirror}/release.zip",
        "--dest",
        "got/release",
    ]
    first = gcm(tmp_path, *arguments, "--json", GCM_OFFLINE="0", no_proxy="*")
    assert json.loads(first.stdout)["sequences"] == ["i_fog", "v_boat", "v_wall"]
    assert "105 of the benchmark's 108" in first.stderr
    before = stamps(tmp_path)
    gcm(tmp_path, *arguments, GCM_OFFLINE="1")  # the archive is there: nothing is asked for
    assert stamps(tmp_path) == before
    failed = gcm(tmp_path, "download", "--url", f"{mirror}/none.zip", code=1, GCM_OFFLINE="0", no_proxy="*")
    assert "404" in failed.stderr
