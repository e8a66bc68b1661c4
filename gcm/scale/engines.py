"""Matching a list in shards by an engine: processes of this machine, Ray, or Slurm.

An engine runs :func:`gcm.scale.shards.run_shard` wherever it has room, and tells what becomes of it. What
all of them have in common is here: which shards are left, and what is done when a worker is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gcm.benchmark.extract import Extraction, results_folder
from gcm.benchmark.pairs import Pair
from gcm.errors import GCMError
from gcm.matchers import MatcherSpec
from gcm.scale.cut import Cut
from gcm.scale.shards import Shard, collect_shards, cut_shards, known_names, remove_scratch
from gcm.storage.locks import only_writer

__all__ = [
    "SHARDS_EACH",
    "Engine",
    "Event",
    "Job",
    "Order",
    "Task",
    "Tasks",
    "extract_sharded",
    "usual_shards",
]

SHARDS_EACH = 4
"""Shards for a worker, so that none waits long for the others at the end."""
_LEAST_PAIRS = 16
"""Pairs that a shard should have where nobody says into how many to cut."""
_LOSSES = 2
"""Workers lost at the same pair, after which the pair is held to be the cause."""
_MOST_BLAMED = 3
"""Pairs held to be the cause one after the other, after which it is something else."""


@dataclass(frozen=True)
class Job:
    """What the workers of an engine have in common."""

    spec: MatcherSpec
    output_dir: Path
    """Absolute; every worker finds it there."""
    at_once: int | None = None
    store: str | None = None
    precision: str | None = None
    """These three as of :func:`gcm.benchmark.extract.extract`."""


@dataclass(frozen=True)
class Event:
    """What an engine tells."""

    done: int = 0
    """Pairs matched since it was last told."""
    failed: dict[str, str] = field(default_factory=dict)
    """Pairs that could not be matched, and why."""
    note: str | None = None
    """Something that people should know, as that a worker was lost."""


@dataclass(frozen=True)
class Order:
    """What a worker is given to do."""

    shard: Shard
    left_out: frozenset[str] = frozenset()
    """Pairs that are not to be tried."""
    singly: bool = False
    """One pair at a time, whatever the job says."""


@dataclass
class Task:
    """A shard on its way through an engine."""

    shard: Shard
    left: int
    """Pairs that were not finished when it was last looked at."""
    failed: set[str] = field(default_factory=set)
    """Pairs that are not tried again in this run."""
    losses: int = 0
    """Workers lost one after the other without a pair finished between."""
    blamed: int = 0
    """Pairs held to be the cause, one after the other without one finished between."""
    singly: bool = False
    """A worker was lost at it: one pair at a time from now on, so that it shows which one is the cause."""

    @property
    def order(self) -> Order:
        """What the next worker at it is given."""
        return Order(self.shard, frozenset(self.failed), self.singly)


class Tasks:
    """Shards that no worker has yet."""

    def __init__(self, tasks: Sequence[Task], output_dir: Path) -> None:
        self._waiting = deque(tasks)
        self.output_dir = output_dir
        self.open = len(tasks)
        """Shards that are not finished, those at work included."""

    def __len__(self) -> int:
        """Shards that wait."""
        return len(self._waiting)

    @property
    def pairs(self) -> int:
        """Pairs of the shards that wait."""
        return sum(task.left for task in self._waiting)

    def take(self) -> Task | None:
        """The next shard for a worker, if there is one."""
        return self._waiting.popleft() if self._waiting else None

    def finished(self, task: Task) -> None:
        """A worker has been through with a shard."""
        self.open -= 1

    def lost(self, task: Task, reason: str) -> Event:
        """A worker died at a shard: another takes it up, without a pair that kills its workers.

        Raises:
            GCMError: workers die at every pair.
        """
        task.singly = True
        finished = known_names(self.output_dir) | task.failed
        left = [pair.name for pair in task.shard.pairs if pair.name not in finished]
        task.losses = task.losses + 1 if len(left) == task.left else 1
        if len(left) < task.left:
            task.blamed = 0
        task.left = len(left)
        failed = {}
        if task.losses >= _LOSSES and left:
            if task.blamed == _MOST_BLAMED:
                raise GCMError(f"shard {task.shard.number}: workers die at every pair; {reason}")
            failed[left[0]] = f"{task.losses} workers died at it ({reason})"
            task.failed.add(left[0])
            task.left, task.losses, task.blamed = task.left - 1, 0, task.blamed + 1
        self._waiting.appendleft(task)
        return Event(failed=failed, note=f"shard {task.shard.number}: {reason}; taken up again")


def usual_shards(workers: int, pairs: int) -> int:
    """Into how many shards to cut that many pairs for so many workers, where nobody says."""
    return max(1, min(SHARDS_EACH * workers, pairs // _LEAST_PAIRS))


class Engine(Protocol):
    """Something that has workers."""

    def shards(self, pairs: int) -> int:
        """Into how many shards to cut that many pairs, where nobody says."""
        ...

    def run(self, tasks: Tasks, job: Job) -> Iterator[Event]:
        """Match all shards; stops its workers when it is closed.

        Raises:
            GCMError: what no other worker would do better: the matcher cannot be made, the disk is full.
            DependencyError: a package it needs is missing.
        """
        ...


def extract_sharded(
    pairs: Sequence[Pair],
    spec: MatcherSpec,
    output_dir: Path,
    engine: Engine,
    *,
    shards: int | None = None,
    at_once: int | None = None,
    overwrite: bool = False,
    store: str | None = None,
    precision: str | None = None,
    on_begin: Callable[[int, Cut], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Extraction:
    """Match every pair of a list that is not finished yet, in shards; see :mod:`gcm.benchmark.extract`.

    Args:
        pairs: named pairs, as :func:`gcm.benchmark.pairs.read_pairs` gives them.
        spec: the matcher and its options.
        output_dir: folder of this matcher and configuration alone.
        engine: what matches the shards.
        shards: into how many to cut the list; as the engine likes it unless given.
        at_once: pairs matched side by side in one worker.
        overwrite: remove what is there first, of whatever configuration.
        store, precision: how matches are kept, see :func:`gcm.benchmark.stores.store_for_writing`.
        on_begin: called with the number of pairs left to match, and how the list was cut, before the first.
        on_event: called with what the engine tells.

    Raises:
        OutputError: shards are being matched there, or the folder cannot be written.
        ConfigError, DatasetError: it holds results of another configuration or of other images.
        GCMError: the matcher cannot be made, or the engine not used.
    """
    output_dir = output_dir.absolute()
    folder = results_folder(output_dir, spec, store, precision, overwrite=overwrite)
    if overwrite:
        collect_shards(folder, discard=True)
        with only_writer(output_dir):
            folder.clear()
    folder.check()
    folder.check_pairs(pairs)
    collect_shards(folder, busy_is_error=False)
    cut_into, cut = cut_shards(pairs, shards or engine.shards(len(pairs)))
    tasks = _unfinished(cut_into, known_names(output_dir))
    report = Extraction(len(pairs), skipped=len(pairs) - sum(task.left for task in tasks))
    if on_begin is not None:
        on_begin(sum(task.left for task in tasks), cut)
    if tasks:
        job = Job(spec, output_dir, at_once, folder.store.kind, folder.store.precision)
        _run(engine, Tasks(tasks, output_dir), job, report, on_event)
        collect_shards(folder, busy_is_error=False)
    _count(pairs, output_dir, report)
    report.total_seconds, report.mean_seconds = folder.times()
    return report


def _unfinished(shards: Sequence[Shard], finished: set[str]) -> list[Task]:
    """The shards with pairs that are left."""
    left = [sum(pair.name not in finished for pair in shard.pairs) for shard in shards]
    return [Task(shard, number) for shard, number in zip(shards, left, strict=True) if number]


def _count(pairs: Sequence[Pair], output_dir: Path, report: Extraction) -> None:
    """What came of it: a worker that was killed did not tell all it had done."""
    finished = known_names(output_dir)
    report.done = sum(pair.name in finished for pair in pairs) - report.skipped
    report.failed = {name: reason for name, reason in report.failed.items() if name not in finished}
    if report.done + report.skipped == len(pairs):
        remove_scratch(output_dir)


def _run(
    engine: Engine, tasks: Tasks, job: Job, report: Extraction, on_event: Callable[[Event], None] | None
) -> None:
    events = engine.run(tasks, job)
    try:
        for event in events:
            report.failed |= event.failed
            if on_event is not None:
                on_event(event)
    finally:
        close = getattr(events, "close", None)
        if close is not None:
            close()
    if tasks.open:
        raise GCMError(f"{tasks.open} shards were left; start it again")
