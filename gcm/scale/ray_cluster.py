"""Shards on a Ray cluster, or on a small one that is started on this machine.

Each actor makes the matcher once and matches shard after shard. Actors that wait for room make an
autoscaling cluster grow; one that is lost, as with a machine that was taken back, is replaced, and its
shard is taken up by whoever is free.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcm.errors import DependencyError, GCMError, UsageError, to_install
from gcm.matchers import MatcherSpec
from gcm.scale.engines import SHARDS_EACH, Event, Job, Order, Task, Tasks, usual_shards

__all__ = ["RayEngine"]

_SECONDS_BETWEEN = 0.5
"""Between two looks at what the actors tell."""

_SECONDS_TO_ANSWER = 10.0
"""For a head node to take a connection."""


class RayEngine:
    """Actors of Ray.

    Args:
        workers: how many; as many as the cluster has room for unless given. More than that make a cluster
            that scales by itself grow.
        address: of a cluster, ``auto`` for the one that this machine is part of, ``ray://host:10001`` from
            outside; ``RAY_ADDRESS`` says so, too. Without, one is started here and stopped at the end.
        num_cpus: cores of a cluster started here; all of them unless given.
        cpus: cores of an actor.
        gpus: GPUs of an actor, 0.5 for two actors a GPU; 1 unless given where the cluster has some and the
            configuration does not say ``cpu``.

    Raises:
        UsageError: a number that is none.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = None,
        num_cpus: int | None = None,
        cpus: float = 1,
        gpus: float | None = None,
    ) -> None:
        if not (num_cpus is None or (type(num_cpus) is int and num_cpus >= 1)):
            raise UsageError(f"num_cpus is {num_cpus!r}; give a whole number of cores, 1 or more")
        for name, share in (("cpus", cpus), ("gpus", gpus)):
            if not (share is None or (type(share) in (int, float) and 0 <= share < math.inf)):
                raise UsageError(f"{name} is {share!r}; give a number, 0 or more")
        self.workers, self.address, self.num_cpus = workers, address, num_cpus
        self.cpus, self.gpus = cpus, gpus

    def shards(self, pairs: int) -> int:
        """See :class:`gcm.scale.engines.Engine`."""
        size = self.workers or self.num_cpus or SHARDS_EACH * (os.cpu_count() or 1)
        return usual_shards(size, pairs)

    def run(self, tasks: Tasks, job: Job) -> Iterator[Event]:
        """See :class:`gcm.scale.engines.Engine`.

        Raises:
            DependencyError: Ray is not installed.
            GCMError: no cluster at that address; what the actors cannot do.
        """
        ray = _import()
        started = not ray.is_initialized()
        if started:
            self._connect(ray)
        try:
            fleet = _Fleet(
                ray, tasks, job, self._size(ray, job.spec, len(tasks)), self._options(ray, job.spec)
            )
            try:
                yield from fleet.run()
            finally:
                fleet.stop()
        finally:
            if started:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        address = self.address or os.environ.get("RAY_ADDRESS")
        where = {"address": address} if address else {"num_cpus": self.num_cpus, "include_dashboard": False}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing here dials out unasked
        if address:
            _check_answers(address)
        try:
            ray.init(**where, log_to_driver=False, logging_level="ERROR", configure_logging=True)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise GCMError(f"{address or 'ray'}: no Ray cluster can be used there ({reason})") from error

    def _options(self, ray: Any, spec: MatcherSpec) -> dict[str, float]:
        gpus = self.gpus
        if gpus is None:
            gpus = 1 if ray.cluster_resources().get("GPU", 0) >= 1 and _may_use_gpu(spec) else 0
        return {"num_cpus": self.cpus, "num_gpus": gpus}

    def _size(self, ray: Any, spec: MatcherSpec, shards: int) -> int:
        resources = ray.cluster_resources()
        options = self._options(ray, spec)
        rooms = [
            int(resources.get(kind, 0) / options[key])
            for key, kind in (("num_cpus", "CPU"), ("num_gpus", "GPU"))
            if options[key]
        ]
        return min(shards, self.workers or max(1, min(rooms, default=1)))


def _check_answers(address: str) -> None:
    """Refuse the address of a machine that takes no connection: Ray would try for minutes, and then exit.

    Raises:
        GCMError: nobody answers there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, local, or what only Ray understands
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:  # the latter of a port that is none
        raise GCMError(
            f"{address}: no Ray cluster answers there ({error}); `ray start --head` tells the address of one"
        ) from error


def _import() -> Any:
    try:
        import ray
        import ray.util.queue
    except ImportError as error:
        raise DependencyError(f"--executor ray needs Ray: {to_install('ray')}") from error
    return ray


def _may_use_gpu(spec: MatcherSpec) -> bool:
    device = getattr(spec.options.get("config"), "device", spec.options.get("device", "auto"))
    return str(device) != "cpu" and spec.name not in ("sift", "orb", "akaze", "kaze")


class _Actor:
    """What an actor is made of. What goes wrong is returned, for Ray wraps what is raised."""

    def __init__(self, job: Job, queue: Any, threads: int, folder: str) -> None:
        self.job, self.queue, self.threads, self.folder = job, queue, threads, folder
        self.worker: Any = None

    def load(self) -> GCMError | None:
        from gcm.scale.worker import Worker

        try:
            self.worker = Worker(self.job, threads=self.threads, folder=Path(self.folder))
        except Exception as error:
            return error if isinstance(error, GCMError) else GCMError(f"{self.job.spec.name}: {error}")
        return None

    def run(self, order: Order) -> GCMError | None:
        try:
            self.worker.run(order, lambda event: self.queue.put((order.shard.number, event)))
        except GCMError as error:
            return error
        return None


@dataclass
class _Member:
    """An actor and what it is at."""

    handle: Any
    at: Any
    """Reference to what it will return."""
    task: Task | None = None
    ready: bool = False


class _Fleet:
    """Actors, each at a shard."""

    def __init__(self, ray: Any, tasks: Tasks, job: Job, size: int, options: dict[str, float]) -> None:
        self.ray, self.tasks, self.job = ray, tasks, job
        self.queue = ray.util.queue.Queue(actor_options={"num_cpus": 0})
        self.actor = ray.remote(**options)(_Actor)
        self.threads = max(1, int(options["num_cpus"]))
        self.by_number: dict[Any, Task] = {}
        """Tasks that were given to an actor, also those that are done: what they tell may come late."""
        self.members = [self._start() for _ in range(size)]

    def run(self) -> Iterator[Event]:
        while self.tasks.open:
            busy = {member.at: member for member in self.members if member.at is not None}
            done, _ = self.ray.wait(list(busy), num_returns=1, timeout=_SECONDS_BETWEEN)
            yield from self._told()
            for reference in done:
                yield from self._receive(busy[reference])
        yield from self._told()

    def stop(self) -> None:
        for member in self.members:
            self.ray.kill(member.handle)
        self.queue.shutdown(force=True)

    def _start(self) -> _Member:
        handle = self.actor.remote(self.job, self.queue, self.threads, str(Path.cwd()))
        return _Member(handle, handle.load.remote())

    def _told(self) -> Iterator[Event]:
        for number, event in self.queue.get_nowait_batch(self.queue.qsize()):
            self.by_number[number].failed |= event.failed.keys()
            yield event

    def _receive(self, member: _Member) -> Iterator[Event]:
        try:
            error = self.ray.get(member.at)
        except self.ray.exceptions.RayTaskError as unforeseen:
            raise GCMError(f"{self.job.spec.name}: {unforeseen.cause!r} in an actor of Ray") from unforeseen
        except self.ray.exceptions.RayError as lost:
            yield from self._replace(member, type(lost).__name__)
            return
        if error is not None:
            raise error
        if member.task is not None:
            self.tasks.finished(member.task)
        member.ready, member.task, member.at = True, None, None
        self._give(member)

    def _give(self, member: _Member) -> None:
        task = self.tasks.take()
        if task is not None:
            member.task = self.by_number[task.shard.number] = task
            member.at = member.handle.run.remote(task.order)

    def _replace(self, member: _Member, reason: str) -> Iterator[Event]:
        """An actor is gone: who is free takes up its shard, and another actor its place."""
        self.members.remove(member)
        if member.task is not None:
            yield self.tasks.lost(member.task, f"an actor of Ray was lost ({reason})")
        elif not member.ready:
            raise GCMError(f"{self.job.spec.name}: an actor of Ray died while starting ({reason})")
        idle = next((other for other in self.members if other.at is None), None)
        if idle is not None:
            self._give(idle)
        else:
            self.members.append(self._start())
