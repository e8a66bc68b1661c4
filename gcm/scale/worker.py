"""What stands in a worker, whichever engine runs it: a matcher that is made once, and shards one by one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gcm.benchmark.workers import Outcome, limit_threads
from gcm.matchers import MatcherSpec, PairMatcher
from gcm.scale.engines import Event, Job, Order
from gcm.scale.shards import run_shard

__all__ = ["Worker"]

_SECONDS_BETWEEN = 0.5
"""Between two events that tell of progress."""


@dataclass(frozen=True)
class _Made(MatcherSpec):
    """A matcher that has been made already."""

    matcher: PairMatcher | None = field(default=None, repr=False, compare=False)

    def create(self) -> PairMatcher:
        assert self.matcher is not None
        return self.matcher


class Worker:
    """Makes the matcher, then matches what shards it is given.

    Args:
        job: what all workers have in common.
        threads: cores it may keep busy; None leaves that to the libraries.
        folder: where relative paths, as of weights in a configuration, start.

    Raises:
        GCMError: the matcher cannot be made.
    """

    def __init__(self, job: Job, *, threads: int | None = None, folder: Path | None = None) -> None:
        if folder is not None:
            with suppress(OSError):  # not there on this machine
                os.chdir(folder)
        self.job = job
        self.spec = _Made(job.spec.name, job.spec.options, job.spec.create())
        if threads is not None:
            limit_threads(threads)

    def run(self, order: Order, send: Callable[[Event], None]) -> None:
        """Match a shard.

        Args:
            order: which shard, and how; somebody else who is at it is waited for.
            send: is given what is done, every now and then and at the end.

        Raises:
            GCMError: see :func:`gcm.scale.shards.run_shard`.
        """
        progress = _Progress(send)
        try:
            run_shard(
                order.shard,
                self.spec,
                self.job.output_dir,
                wait=True,
                workers=1,
                at_once=1 if order.singly else self.job.at_once,
                store=self.job.store,
                precision=self.job.precision,
                left_out=order.left_out,
                on_pair=progress.add,
            )
        finally:
            progress.flush()


class _Progress:
    """Gathers outcomes, so that quick matches do not choke who listens."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        self.send = send
        self.done = 0
        self.failed: dict[str, str] = {}
        self.sent = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        if outcome.matches is None:
            self.failed[outcome.pair.name] = outcome.error or "failed"
        else:
            self.done += 1
        if time.monotonic() - self.sent >= _SECONDS_BETWEEN:
            self.flush()

    def flush(self) -> None:
        if self.done or self.failed:
            self.send(Event(self.done, self.failed))
        self.done, self.failed, self.sent = 0, {}, time.monotonic()
