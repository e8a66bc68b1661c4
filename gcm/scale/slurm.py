"""Shards as jobs of Slurm, one array of them, by way of submitit.

Submitit's `local` and `debug` clusters run the same jobs in processes of this machine and in this process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gcm.errors import DependencyError, GCMError, UsageError, to_install
from gcm.scale.engines import Event, Job, Order, Task, Tasks
from gcm.scale.shards import JOBS_FOLDER, SHARDS_FOLDER, known_names

__all__ = ["SlurmEngine"]

_MINUTES = 240
_SECONDS_BETWEEN = {"slurm": 10.0, "local": 0.5, "debug": 0.0}
"""Between two looks at the jobs."""
_SHARE_OF_LOOKING = 0.05
"""Of the time, at the most, that goes into counting results."""
_SHARED = {"name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "stderr_to_stdout"}
"""Parameters that submitit has for every cluster; the others it knows as ``slurm_...``."""


class SlurmEngine:
    """Jobs of Slurm.

    Args:
        workers: jobs that run at the same time; as many as Slurm allows unless given.
        cluster: ``slurm``, or ``local`` or ``debug`` to try it without one.
        **parameters: what `submitit.AutoExecutor.update_parameters` takes, such as `timeout_min`,
            `gpus_per_node`, `cpus_per_task`, `mem_gb`, and Slurm's own, such as `partition` and `account`.
    """

    def __init__(self, workers: int | None = None, *, cluster: str = "slurm", **parameters: Any) -> None:
        if cluster not in _SECONDS_BETWEEN:
            raise UsageError(f"cluster={cluster}: submitit has slurm, local and debug")
        self.workers, self.cluster, self.parameters = workers, cluster, parameters

    def shards(self, pairs: int) -> int:
        """Not known: how many jobs a cluster likes is for its users to say.

        Raises:
            UsageError: always.
        """
        raise UsageError("--executor slurm: say how many jobs the list is cut into, as in --shards 64")

    def run(self, tasks: Tasks, job: Job) -> Iterator[Event]:
        """See :class:`gcm.scale.engines.Engine`.

        Raises:
            DependencyError: submitit is not installed.
            GCMError: Slurm does not take the jobs; what the jobs cannot do.
        """
        folder = job.output_dir / SHARDS_FOLDER / JOBS_FOLDER
        jobs = _Jobs(self._executor(folder), tasks, job, self.cluster, self.workers)
        try:
            yield from jobs.run()
        finally:
            jobs.stop()

    def _executor(self, folder: Path) -> Any:
        try:
            import submitit
        except ImportError as error:
            raise DependencyError(f"--executor slurm needs submitit: {to_install('slurm')}") from error
        try:
            executor = submitit.AutoExecutor(folder, cluster=self.cluster)
        except RuntimeError as error:
            raise GCMError(f"--executor slurm: {error}; run it where sbatch is") from error
        parameters = {"name": "gcm", "timeout_min": _MINUTES, **_named(self.parameters)}
        if self.cluster == "slurm" and self.workers:
            parameters["slurm_array_parallelism"] = self.workers
        try:
            executor.update_parameters(**parameters)
        except (NameError, TypeError, ValueError, AssertionError) as error:
            raise UsageError(f"--executor-set: {' '.join(str(error).split())}") from error
        return executor


def _named(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Slurm's own parameters by submitit's names for them."""
    return {
        key if key in _SHARED or key.startswith("slurm_") else f"slurm_{key}": value
        for key, value in parameters.items()
    }


class _ShardJob:
    """What a job does. Called again after Slurm has stopped it for another, it goes on."""

    def __init__(self, job: Job, folder: str) -> None:
        self.job, self.folder = job, folder

    def __call__(self, order: Order) -> dict[str, str] | GCMError:
        """Match a shard; the pairs that failed, or what prevented it."""
        from gcm.scale.worker import Worker

        failed: dict[str, str] = {}
        try:
            worker = Worker(self.job, folder=Path(self.folder))
            worker.run(order, lambda event: failed.update(event.failed))
        except GCMError as error:
            return error
        except Exception as error:  # returned, for what is raised arrives as a text of many lines
            return GCMError(f"{self.job.spec.name}: {type(error).__name__}: {error}")
        return failed

    def checkpoint(self, order: Order) -> Any:
        """Submitit asks what to do later when a job is about to be stopped: the same once more."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, order)


class _Jobs:
    """Jobs that are under way."""

    def __init__(self, executor: Any, tasks: Tasks, job: Job, cluster: str, workers: int | None) -> None:
        self.executor, self.tasks, self.job = executor, tasks, job
        self.pause = _SECONDS_BETWEEN[cluster]
        # Slurm keeps the rest waiting by itself; submitit's local jobs would all start at once.
        self.most = len(tasks) if cluster == "slurm" else workers or 1
        self.function = _ShardJob(job, str(Path.cwd()))
        self.running: list[tuple[Any, Task]] = []
        self.known = len(known_names(job.output_dir))

    def run(self) -> Iterator[Event]:
        looked = time.monotonic()
        pause = self.pause
        while self.tasks.open:
            self._submit()
            for handle, task in [entry for entry in self.running if entry[0].done()]:
                self.running.remove((handle, task))
                yield from self._finish(handle, task)
            if time.monotonic() - looked >= pause:
                began = time.monotonic()
                yield from self._progress()
                looked = time.monotonic()
                pause = max(self.pause, (looked - began) / _SHARE_OF_LOOKING)
            time.sleep(self.pause / 5)
        yield from self._progress()

    def stop(self) -> None:
        for handle, _ in self.running:
            handle.cancel()

    def _submit(self) -> None:
        tasks: list[Task] = []
        while len(self.running) + len(tasks) < self.most:
            task = self.tasks.take()
            if task is None:
                break
            tasks.append(task)
        if not tasks:
            return
        try:
            with self.executor.batch():
                handles = [self.executor.submit(self.function, task.order) for task in tasks]
        except Exception as error:  # sbatch says no, in as many ways as it has options
            raise GCMError(f"--executor slurm: {' '.join(str(error).split())}") from error
        self.running += zip(handles, tasks, strict=True)

    def _finish(self, handle: Any, task: Task) -> Iterator[Event]:
        import submitit

        if handle.state.startswith("CANCELLED"):
            raise GCMError(f"job {handle.job_id} of shard {task.shard.number} was cancelled; start it again")
        try:
            result = handle.result()
        except submitit.core.utils.UncompletedJobError:
            reason = f"job {handle.job_id} ended as {handle.state}, see {handle.paths.stderr}"
            yield self.tasks.lost(task, reason)
            return
        if isinstance(result, GCMError):
            raise result
        task.failed |= result.keys()
        self.tasks.finished(task)
        if result:
            yield Event(failed=result)

    def _progress(self) -> Iterator[Event]:
        before, self.known = self.known, len(known_names(self.job.output_dir))
        if self.known > before:
            yield Event(done=self.known - before)
