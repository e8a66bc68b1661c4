"""Shards in processes of this machine, a GPU each where there are some."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeAlias

from gcm.benchmark.workers import default_workers, usable_cores
from gcm.errors import GCMError
from gcm.scale.engines import Event, Job, Order, Task, Tasks, usual_shards

__all__ = ["LocalEngine", "visible_gpus"]

Finished: TypeAlias = GCMError | None


def visible_gpus(environment: Mapping[str, str] | None = None) -> list[str]:
    """NVIDIA's GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; loads nothing."""
    values = os.environ if environment is None else environment
    named = values.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    devices = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    return sorted((number for number in devices if number.isdigit()), key=int)


class LocalEngine:
    """Processes of this machine.

    Args:
        workers: how many; one a GPU, or :func:`gcm.benchmark.workers.default_workers`, unless given.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.gpus = visible_gpus()
        self.workers = workers

    def shards(self, pairs: int) -> int:
        """See :class:`gcm.scale.engines.Engine`."""
        return usual_shards(self._size(pairs), pairs)

    def run(self, tasks: Tasks, job: Job) -> Iterator[Event]:
        """See :class:`gcm.scale.engines.Engine`."""
        size = min(self._size(tasks.pairs), len(tasks))
        pool = _Pool(tasks, job, size, self.gpus)
        try:
            yield from pool.run()
        finally:
            pool.stop()

    def _size(self, pairs: int) -> int:
        return self.workers or len(self.gpus) or default_workers(pairs)


@dataclass
class _Process:
    process: BaseProcess
    connection: Connection
    place: int
    """Which of the workers it is; says which GPU it has."""
    task: Task | None = None
    ready: bool = False
    """Its matcher is made."""


class _Pool:
    """Processes, each at a shard."""

    def __init__(self, tasks: Tasks, job: Job, size: int, gpus: list[str]) -> None:
        self.tasks, self.job, self.gpus = tasks, job, gpus
        self.threads = max(1, usable_cores() // size)
        self.size = size
        self.processes: list[_Process] = []

    def run(self) -> Iterator[Event]:
        self.processes = [self._start(place) for place in range(self.size)]
        while self.processes:
            by_connection = {process.connection: process for process in self.processes}
            for connection in wait(list(by_connection)):
                yield from self._receive(by_connection[connection])  # type: ignore[index]

    def stop(self) -> None:
        for process in self.processes:
            process.process.terminate()
        for process in self.processes:
            process.process.join()
            process.connection.close()

    def _start(self, place: int) -> _Process:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        settings = {"CUDA_VISIBLE_DEVICES": self.gpus[place % len(self.gpus)]} if self.gpus else {}
        process = context.Process(target=_work, args=(theirs, self.job, self.threads, settings), daemon=True)
        process.start()
        theirs.close()
        return _Process(process, ours, place)

    def _receive(self, process: _Process) -> Iterator[Event]:
        try:
            message: Event | Finished = process.connection.recv()
        except (EOFError, ConnectionResetError):
            yield from self._replace(process)
            return
        if isinstance(message, GCMError):
            raise message
        if isinstance(message, Event):
            assert process.task is not None
            process.task.failed |= message.failed.keys()
            yield message
            return
        if process.task is not None:
            self.tasks.finished(process.task)
        process.ready, process.task = True, None
        self._give(process)

    def _give(self, process: _Process) -> None:
        """Send the next shard; a worker for whom there is none stays while others may yet be lost."""
        task = process.task = self.tasks.take()
        if task is not None:
            with suppress(BrokenPipeError, ConnectionResetError):  # died meanwhile: seen at the next turn
                process.connection.send(task.order)
        elif not any(other.task for other in self.processes):
            self.stop()
            self.processes = []

    def _replace(self, process: _Process) -> Iterator[Event]:
        """A worker died (out of memory, say): another takes up its shard."""
        self.processes.remove(process)
        process.connection.close()
        process.process.join()
        reason = f"a worker process died (exit code {process.process.exitcode})"
        if not process.ready:
            raise GCMError(f"{self.job.spec.name}: {reason} while starting")
        if process.task is not None:
            yield self.tasks.lost(process.task, f"{reason}; if memory is short, use fewer workers")
        idle = next((other for other in self.processes if other.ready and other.task is None), None)
        if idle is not None:
            self._give(idle)
        elif self.tasks.open:
            self.processes.append(self._start(process.place))


def _work(connection: Connection, job: Job, threads: int, settings: Mapping[str, str]) -> None:
    """A worker process: makes the matcher, says so with None, then matches the shards it is sent."""
    os.environ.update(settings)  # before anything looks for a GPU
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    threading.Thread(target=_end_with_caller, daemon=True).start()
    from gcm.scale.worker import Worker

    try:
        try:
            worker = Worker(job, threads=threads)
        except Exception as error:
            connection.send(error if isinstance(error, GCMError) else GCMError(f"{job.spec.name}: {error}"))
            return
        connection.send(None)
        while True:
            order: Order = connection.recv()
            try:
                worker.run(order, connection.send)
            except GCMError as error:
                connection.send(error)
            else:
                connection.send(None)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the caller is gone


def _end_with_caller() -> None:
    """A caller that is killed cannot stop its workers: they watch it, and leave their shard as it is."""
    caller = parent_process()
    if caller is not None:
        wait([caller.sentinel])
    os._exit(1)
