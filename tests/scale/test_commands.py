"""Shards as a person runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_list import PAIRS, contents, timed
from typer.testing import CliRunner, Result

from gcm.scale.shards import shard_folders
from gcm_cli.app import app

ROOT = Path(__file__).resolve().parents[2]
MATCH = ["extract", "--algorithm", "orb", "--set", "max_keypoints=200"]


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gcm_cli", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def gcm(*arguments: object, **environment: str) -> Result:
    """In this process, where starting one would only cost time."""
    return CliRunner(env=environment).invoke(app, [str(argument) for argument in arguments])


@pytest.mark.e2e
def test_two_processes_on_one_folder_at_the_same_time(tmp_path: Path, list_file: Path, whole: Path) -> None:
    """One is told its shard, the other by Slurm; a third at the same shard is refused."""
    common = [*MATCH, "--pairs", list_file, "--output-dir", tmp_path, "--workers", "1"]
    array = {"ID": "2", "MIN": "1", "MAX": "2", "COUNT": "2", "STEP": "1"}
    processes = [
        start(*common, "--shard", "1/2"),
        start(*common, **{f"SLURM_ARRAY_TASK_{key}": value for key, value in array.items()}),
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert "shard 1/2: 100 pairs of" in errors[0]
    assert "shard 2/2, as SLURM_ARRAY_TASK_ID says; --shard 1/1 matches everything" in errors[1]
    assert contents(tmp_path) == contents(whole)
    assert timed(tmp_path) == timed(whole)
    assert not (tmp_path / "shards").exists()


@pytest.mark.e2e
def test_an_interrupt_ends_the_workers(tmp_path: Path, list_file: Path, whole: Path) -> None:
    common = [*MATCH, "--pairs", list_file, "--output-dir", tmp_path / "out"]
    process = start(*common, "--executor", "local", "--workers", "2", "--shards", "2")
    deadline = time.monotonic() + 90
    while not list((tmp_path / "out").rglob("*_matches.npz")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "gcm: interrupted"
    done = gcm(*common, "--workers", "1", "--json")  # without shards: takes up what they left
    document = json.loads(done.stdout)
    assert document["done"] + document["skipped"] == PAIRS
    assert document["skipped"] > 0
    assert contents(tmp_path / "out") == contents(whole)
    assert not (tmp_path / "out/shards").exists()


def test_one_shard_and_then_the_rest(tmp_path: Path, list_file: Path, whole: Path) -> None:
    common = [*MATCH, "--pairs", list_file, "--output-dir", tmp_path, "--workers", "1", "--json"]
    first = json.loads(gcm(*common, "--shard", "2/4").stdout)
    assert (first["pairs"], first["done"], first["skipped"]) == (50, 50, 0)
    rest = json.loads(gcm(*common, "--shard", "1/1", SLURM_ARRAY_TASK_ID="1").stdout)
    assert (rest["pairs"], rest["done"], rest["skipped"]) == (PAIRS, PAIRS - 50, 50)
    assert contents(tmp_path) == contents(whole)
    assert not shard_folders(tmp_path)


def test_an_estimate_writes_nothing(tmp_path: Path, list_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = gcm(*MATCH, "--pairs", list_file, "--estimate", "--shards", "4", "--workers", "2", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["pairs"], document["images"], document["shards"], document["sample"]) == (
        PAIRS,
        26,
        4,
        40,
    )
    assert document["work_seconds"] == pytest.approx(2 * document["seconds"])
    assert document["factor"] >= 1
    assert document["result_bytes"] > 1000 * PAIRS
    assert not list(tmp_path.iterdir())
    text = gcm(*MATCH, "--pairs", list_file, "--estimate").stdout
    assert "200 pairs of 26 images in 1 shard, which compute 1.00 times" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "5/4"], "there are shards 1 to 4"),
        (["--shard", "1/2", "--executor", "local"], "give one of them"),
        (["--shard", "1/2", "--overwrite"], "use another folder"),
        (["--executor", "ray", "--executor-set", "adress=auto"], "did you mean 'address'"),
        (["--executor", "local", "--executor-set", "gpus=1"], "local has none"),
        (["--executor-set", "gpus=1"], "is for --executor ray or slurm"),
        (["--executor-set", "gpus", "--executor", "ray"], "write KEY=VALUE"),
        (["--executor", "ray", "--executor-set", "num_cpus=x"], "num_cpus is 'x'; give a whole number"),
        (["--executor", "ray", "--executor-set", "num_cpus=0"], "num_cpus is 0; give a whole number"),
        (["--executor", "ray", "--executor-set", "cpus=-1"], "cpus is -1; give a number, 0 or more"),
        (["--executor", "ray", "--executor-set", "gpus=abc"], "gpus is 'abc'; give a number, 0 or more"),
        (["--executor", "slurm"], "as in --shards 64"),
        (["--executor", "slurm", "--shards", "2", "--executor-set", "cluster=pbs"], "slurm, local and debug"),
    ],
)
def test_wrong_usage(tmp_path: Path, list_file: Path, arguments: list[str], message: str) -> None:
    done = gcm(*MATCH, "--pairs", list_file, "--output-dir", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_estimate_wants_a_list(tmp_path: Path) -> None:
    done = gcm(*MATCH, "--images", tmp_path, "--estimate")
    assert done.exit_code == 2
    assert "gcm pairs" in done.stderr
