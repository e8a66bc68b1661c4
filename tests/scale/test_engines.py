"""Engines: equal results under all of them, and after whatever may be killed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_list import PAIRS, SPEC, contents, timed

from gcm.benchmark.pairs import Pair
from gcm.errors import DependencyError, GCMError, UsageError, to_install
from gcm.matchers import matcher_spec
from gcm.scale import LocalEngine, RayEngine, SlurmEngine, cut_shards, extract_sharded
from gcm.scale.engines import Event, Job, Task, Tasks
from gcm.scale.local import visible_gpus

HERE = Path(__file__).resolve().parent


def needs(module: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec(module) is not None
    return pytest.mark.skipif(not there, reason=f"{module} is not installed: pip install '.[dev]'")


ENGINES = [
    pytest.param("LocalEngine(2)", id="local"),
    pytest.param("RayEngine(num_cpus=2)", id="ray", marks=needs("ray")),
    pytest.param("SlurmEngine(2, cluster='local')", id="submitit", marks=needs("submitit")),
]


class Runs:
    """Runs of the noted matcher, in processes of their own."""

    def __init__(self, list_file: Path, folder: Path) -> None:
        self.list_file, self.output, self.noted = list_file, folder / "out", folder / "noted.txt"
        self.noted.touch()

    def start(self, engine: str, shards: int = 4, **environment: str) -> subprocess.Popen[str]:
        paths = os.pathsep.join([str(HERE.parents[1]), str(HERE)])
        settings = {"PYTHONPATH": paths, "NOTED": str(self.noted), "OMP_NUM_THREADS": "1", **environment}
        command = [HERE / "noted_matcher.py", self.list_file, self.output, engine, shards]
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, engine: str, shards: int = 4, **environment: str) -> dict[str, Any]:
        process = self.start(engine, shards, **environment)
        printed, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        report: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return report

    @property
    def matched(self) -> Counter[str]:
        """How often each pair was begun."""
        return Counter(self.noted.read_text().split())

    def wait_for(self, count: int, process: subprocess.Popen[str]) -> None:
        """Until so many pairs were begun."""
        deadline = time.monotonic() + 90
        while self.matched.total() < count:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def runs(list_file: Path, tmp_path: Path) -> Runs:
    return Runs(list_file, tmp_path)


def check(runs: Runs, whole: Path) -> None:
    """The results are those of one machine, and nothing else is left."""
    assert contents(runs.output) == contents(whole)
    assert timed(runs.output) == timed(whole)
    assert not list(runs.output.rglob("*.lock"))
    assert not (runs.output / "shards").exists()


DEBUG = pytest.param("SlurmEngine(cluster='debug')", id="debug", marks=needs("submitit"))
"""Submitit's way to run jobs in the calling process."""


@pytest.mark.e2e
@pytest.mark.parametrize("engine", [*ENGINES, DEBUG])
def test_engines_give_what_one_machine_gives(runs: Runs, whole: Path, engine: str) -> None:
    assert runs.finish(engine) == {"done": PAIRS, "skipped": 0, "failed": {}}
    check(runs, whole)
    assert set(runs.matched.values()) == {1}
    assert runs.finish(engine) == {"done": 0, "skipped": PAIRS, "failed": {}}
    assert runs.matched.total() == PAIRS


@pytest.mark.e2e
@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_worker_s_shard_is_taken_up(runs: Runs, whole: Path, tmp_path: Path, engine: str) -> None:
    report = runs.finish(engine, DEADLY="05_09", ONCE=str(tmp_path / "once"))
    assert (tmp_path / "once").exists()
    assert report == {"done": PAIRS, "skipped": 0, "failed": {}}
    check(runs, whole)
    assert {name for name, times in runs.matched.items() if times > 1} == {"05_09"}


@pytest.mark.e2e
@pytest.mark.parametrize("engine", ENGINES[:2])
def test_a_pair_that_kills_every_worker_is_left_out(runs: Runs, whole: Path, engine: str) -> None:
    report = runs.finish(engine, DEADLY="05_09")
    assert (report["done"], list(report["failed"])) == (PAIRS - 1, ["05_09"])
    assert "2 workers died at it" in report["failed"]["05_09"]
    assert runs.matched["05_09"] == 2
    assert runs.finish(engine) == {"done": 1, "skipped": PAIRS - 1, "failed": {}}
    check(runs, whole)


@pytest.mark.e2e
@pytest.mark.parametrize("engine", ENGINES)
def test_of_pairs_matched_together_the_deadly_one_is_left_out(runs: Runs, whole: Path, engine: str) -> None:
    report = runs.finish(engine, DEADLY="05_09", AT_ONCE="8")
    assert (report["done"], list(report["failed"])) == (PAIRS - 1, ["05_09"])
    assert runs.finish(engine) == {"done": 1, "skipped": PAIRS - 1, "failed": {}}
    check(runs, whole)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("engine", "after"),
    [("LocalEngine(2)", 3), *(pytest.param(*engine.values, 120, marks=engine.marks) for engine in ENGINES)],
)
def test_a_killed_driver_goes_on(runs: Runs, whole: Path, engine: str, after: int) -> None:
    process = runs.start(engine, SECONDS_EACH="0.02")
    runs.wait_for(after, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert runs.finish(engine)["failed"] == {}
    check(runs, whole)
    # At the most those that the two workers were at.
    assert runs.matched.total() <= PAIRS + 2
    assert len(runs.matched) == PAIRS


@pytest.mark.e2e
def test_the_workers_of_a_killed_driver_end(runs: Runs) -> None:
    process = runs.start("LocalEngine(2)", SECONDS_EACH="0.2")
    runs.wait_for(4, process)
    process.kill()
    process.communicate()
    time.sleep(1)
    begun = runs.matched.total()
    time.sleep(1)
    assert runs.matched.total() == begun


@pytest.mark.e2e
@pytest.mark.parametrize("engine", [ENGINES[0], ENGINES[2]])  # Ray needs files of its own
def test_a_full_disk_ends_it_and_a_second_start_goes_on(
    runs: Runs, whole: Path, engine: str, full_disk: Callable[[int], Any]
) -> None:
    limit = sorted(path.stat().st_size for path in whole.rglob("*.npz"))[PAIRS // 2]
    with full_disk(limit):
        process = runs.start(engine)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Error: " in errors.splitlines()[-1]
    assert "File too large" in errors
    assert runs.finish(engine)["failed"] == {}
    check(runs, whole)


@pytest.mark.e2e
def test_a_matcher_that_workers_cannot_make_is_told(tmp_path: Path, pairs: list[Pair]) -> None:
    with pytest.raises(UsageError, match="ratio must lie"):
        extract_sharded(pairs, matcher_spec("orb", {"ratio": 7}), tmp_path, LocalEngine(2), shards=4)
    assert not contents(tmp_path)


class Scripted:
    """An engine that does nothing but what a test says."""

    def __init__(self, run: Callable[[Tasks, Job], Any]) -> None:
        self.run = run

    def shards(self, pairs: int) -> int:
        return 2


def test_overwrite_and_finished_shards(tmp_path: Path, pairs: list[Pair]) -> None:
    few = pairs[:20]
    begun = []
    seen = {"shards": 0}

    def run(tasks: Tasks, job: Job) -> Any:
        from gcm.scale.worker import Worker

        worker = Worker(job)
        while (task := tasks.take()) is not None:
            seen["shards"] += 1
            events: list[Event] = []
            worker.run(task.order, events.append)
            tasks.finished(task)
            yield from events

    def match(overwrite: bool = False) -> int:
        report = extract_sharded(
            few,
            SPEC,
            tmp_path,
            Scripted(run),
            overwrite=overwrite,
            on_begin=lambda left, _: begun.append(left),
        )
        return report.done

    assert [match(), match(), match(overwrite=True)] == [20, 0, 20]
    assert begun == [20, 0, 20]
    assert seen["shards"] == 4


def test_a_shard_whose_workers_die_at_every_pair_ends_the_run(tmp_path: Path, pairs: list[Pair]) -> None:
    shard = cut_shards(pairs[:20], 1)[0][0]
    tasks = Tasks([Task(shard, 20)], tmp_path)
    blamed: list[str] = []
    losses = 0
    while len(blamed) < 3:
        losses += 1
        task = tasks.take()
        assert task is not None
        blamed += tasks.lost(task, "out of memory").failed
    assert losses == 6
    assert not tasks.lost(task, "out of memory").failed
    with pytest.raises(GCMError, match="workers die at every pair; out of memory"):
        tasks.lost(task, "out of memory")
    assert blamed == [pair.name for pair in shard.pairs[:3]]


def test_an_engine_that_leaves_shards_is_told(tmp_path: Path, pairs: list[Pair]) -> None:
    with pytest.raises(GCMError, match="2 shards were left"):
        extract_sharded(pairs[:20], SPEC, tmp_path, Scripted(lambda tasks, job: iter(())))


@pytest.mark.parametrize(
    ("engine", "package"), [(RayEngine(), "ray"), (SlurmEngine(cluster="local"), "submitit")]
)
def test_a_package_that_is_missing_is_named(
    tmp_path: Path, pairs: list[Pair], engine: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    extra = {"ray": "ray", "submitit": "slurm"}[package]
    with pytest.raises(DependencyError, match=re.escape(to_install(extra))):
        extract_sharded(pairs[:20], SPEC, tmp_path, engine, shards=2)


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "[::1]:{}", "127.0.0.1:9{}9"])
def test_a_cluster_that_does_not_answer_is_told_at_once(
    tmp_path: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = address.format(free.getsockname()[1])
    begun = time.monotonic()
    with pytest.raises(GCMError, match=r"no Ray cluster answers there \(.+\); `ray start --head` tells"):
        extract_sharded(pairs[:4], SPEC, tmp_path / "out", RayEngine(address=address))
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(GCMError, match="no Ray cluster answers there"):
        extract_sharded(pairs[:4], SPEC, tmp_path / "out", RayEngine())
    assert time.monotonic() - begun < 30


def test_gpus_are_those_that_the_environment_leaves() -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "2,3"}) == ["2", "3"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == []
