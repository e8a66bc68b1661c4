"""Matching many pairs in one process or several.

Each worker process makes its own matcher and is sent one pair at a time; pairs that share their first
image go to the same worker, so that its features are computed once. Results come back to the caller, which
alone writes files: nothing a worker does outlives a killed caller.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from gcm.benchmark.pairs import Pair
from gcm.errors import GCMError, ImageError
from gcm.estimation.final import FINAL_THRESHOLD, final_homography
from gcm.images.masks import drop_masked, drop_transparent
from gcm.matchers import MatcherSpec, PairMatcher
from gcm.matches import Matches

__all__ = ["Outcome", "WorkerPool", "default_workers", "limit_threads", "match_pairs"]

_MOST_WORKERS = 4
_PAIRS_EACH = 4
"""Fewer pairs than this do not pay for a process's start."""

_BYTES_EACH = 2 * 2**30
"""Free memory a process should find."""


@dataclass(frozen=True)
class Outcome:
    """What became of one pair."""

    pair: Pair
    matches: Matches | None
    """None when it failed."""
    seconds: float
    error: str | None = None


def match_pairs(
    spec: MatcherSpec,
    pairs: Sequence[Pair],
    *,
    workers: int | None = None,
    at_once: int | None = None,
    total: int | None = None,
) -> Iterator[Outcome]:
    """Match pairs, one process or several; a pair that fails is reported and the rest go on.

    The matcher is made, in every process, before this returns. Outcomes come as they are ready. Processes
    share the cores, and the last digits of what PyTorch computes depend on how many threads each has.

    Args:
        spec: the matcher.
        pairs: what to match.
        workers: processes; :func:`default_workers` unless given.
        at_once: pairs handed together to the matcher's `match_many`, in one process only; unless given, as
            many as the matcher says it should be (`pairs_at_once`).
        total: pairs of the list these are left of, so that what is matched later is computed as the rest was.

    Raises:
        GCMError: the matcher cannot be made.
    """
    if not pairs:
        return iter(())
    if workers is None:
        workers = default_workers(total or len(pairs))
    if workers <= 1:
        matcher = spec.create()
        size = min(at_once or getattr(matcher, "pairs_at_once", 1), len(pairs))
        return _match_alone(matcher, pairs, size)
    outcomes = WorkerPool(spec, pairs, workers).run()
    next(outcomes)  # returns when all are ready
    return (outcome for outcome in outcomes if outcome is not None)


def usable_cores() -> int:
    """Cores that this process may use: a container or `taskset` may give it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(pairs: int) -> int:
    """How many processes to match that many pairs in.

    Several processes of a thread each keep more cores busy than one of several threads, for not all of a
    match can be spread over threads. But they share a GPU no better than one does.
    """
    if sys.platform == "darwin" or Path("/dev/nvidiactl").exists():
        return 1
    try:
        room = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _BYTES_EACH
    except (AttributeError, OSError, ValueError):
        room = _MOST_WORKERS
    return max(1, min(usable_cores(), _MOST_WORKERS, room, pairs // _PAIRS_EACH))


def _match_one(matcher: PairMatcher, pair: Pair) -> Outcome:
    start = time.perf_counter()
    result: Matches | Exception
    try:
        result = matcher.match(pair.image0, pair.image1)
    except Exception as error:  # one bad pair, whatever is wrong with it, must not stop the rest
        result = error
    return _outcome(matcher, pair, result, time.perf_counter() - start)


def _match_alone(matcher: PairMatcher, pairs: Sequence[Pair], size: int) -> Iterator[Outcome]:
    """Matches of `size` pairs at a time in this process, each said to have taken its share of the time."""
    for start in range(0, len(pairs), size):
        part = pairs[start : start + size]
        if len(part) == 1:
            yield _match_one(matcher, part[0])
            continue
        began = time.perf_counter()
        results = matcher.match_many([(pair.image0, pair.image1) for pair in part])
        seconds = (time.perf_counter() - began) / len(part)
        for pair, result in zip(part, results, strict=True):
            yield _outcome(matcher, pair, result, seconds)


def _outcome(matcher: PairMatcher, pair: Pair, result: Matches | Exception, seconds: float) -> Outcome:
    """What became of a pair; of an error one line, with its type where it is not ours to expect."""
    if not isinstance(result, Exception):
        try:
            shown = drop_masked(result, pair.mask0, pair.mask1)
            if pair.alpha:
                shown = drop_transparent(shown, pair.image0, pair.image1)
            if len(shown) < len(result):  # what is hidden has no say in the homography either
                config = getattr(matcher, "config", None)
                threshold = getattr(config, "homography_threshold", FINAL_THRESHOLD)
                h_0_to_1, inliers = final_homography(shown.points0, shown.points1, threshold)
                shown = replace(shown, h_0_to_1=h_0_to_1, inliers=inliers)
            return Outcome(pair, shown, seconds)
        except ImageError as error:
            result = error
    if isinstance(result, GCMError):
        return Outcome(pair, None, seconds, str(result))
    return Outcome(pair, None, seconds, f"{type(result).__name__}: {' '.join(str(result).split())}")


def _run_worker(connection: Connection, spec: MatcherSpec, threads: int) -> None:
    """A worker process: makes the matcher, says so, then matches what it is sent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    try:
        try:
            matcher = spec.create()
            limit_threads(threads)
        except Exception as error:
            connection.send(error if isinstance(error, GCMError) else GCMError(f"{spec.name}: {error}"))
            return
        connection.send(None)
        while True:
            connection.send(_match_one(matcher, connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the caller is gone


def limit_threads(threads: int) -> None:
    """Keep OpenCV and PyTorch to a process's share of the cores; call it when the matcher has been made."""
    import cv2

    cv2.setNumThreads(threads)
    # Importing PyTorch takes long, and a matcher that does without has not done so.
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(min(threads, torch.get_num_threads()))


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    queue: deque[Pair]
    """Pairs it is to be sent."""
    current: Pair | None = None
    """The pair it is at."""
    ready: bool = False
    """Its matcher is made."""


class WorkerPool:
    """Processes that match pairs, each with a matcher of its own.

    Args:
        spec: the matcher.
        pairs: what to match.
        size: processes.
    """

    def __init__(self, spec: MatcherSpec, pairs: Sequence[Pair], size: int) -> None:
        self.spec = spec
        self.size = min(size, len(pairs))
        # However few pairs are left: see `total` of :func:`match_pairs`.
        self.threads = max(1, usable_cores() // size)
        self.groups = deque(deque(group) for _, group in groupby(pairs, key=lambda pair: pair.image0))
        self.workers: list[_Worker] = []

    def run(self) -> Iterator[Outcome | None]:
        """None when all processes are ready, then outcomes as they come; stops every process at the end.

        Raises:
            GCMError: the matcher cannot be made.
        """
        try:
            self.workers = [self._start(deque()) for _ in range(self.size)]
            for worker in self.workers:
                self._await_ready(worker)
            yield None
            for worker in list(self.workers):
                self._send_next(worker)
            while self.workers:
                by_connection = {worker.connection: worker for worker in self.workers}
                for connection in wait(list(by_connection)):
                    yield from self._receive(by_connection[connection])  # type: ignore[index]
        finally:
            for worker in self.workers:
                worker.process.terminate()
                worker.process.join()

    def _start(self, queue: deque[Pair]) -> _Worker:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_run_worker, args=(theirs, self.spec, self.threads), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours, queue)

    def _await_ready(self, worker: _Worker) -> None:
        """Wait until a worker has made its matcher."""
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            raise self._start_error(worker) from None
        if isinstance(message, GCMError):
            raise message
        worker.ready = True

    def _start_error(self, worker: _Worker) -> GCMError:
        code = worker.process.exitcode
        return GCMError(f"{self.spec.name}: a worker process died while starting (exit code {code})")

    def _receive(self, worker: _Worker) -> Iterator[Outcome]:
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            yield from self._replace_dead(worker)
            return
        if isinstance(message, GCMError):
            raise message
        worker.ready = True
        worker.current = None
        if isinstance(message, Outcome):
            yield message
        self._send_next(worker)

    def _send_next(self, worker: _Worker) -> None:
        """Send the next pair, or stop the worker when none is left."""
        if not worker.queue and self.groups:
            worker.queue = self.groups.popleft()
        if not worker.queue:
            longest = max(self.workers, key=lambda other: len(other.queue)).queue
            for _ in range((len(longest) + 1) // 2):
                worker.queue.appendleft(longest.pop())
        if worker.queue:
            worker.current = worker.queue.popleft()
            with suppress(BrokenPipeError, ConnectionResetError):  # died meanwhile: received at the next turn
                worker.connection.send(worker.current)
            return
        self._stop(worker)

    def _replace_dead(self, worker: _Worker) -> Iterator[Outcome]:
        """A worker died (out of memory, say): its pair failed, another takes its place."""
        self._stop(worker)
        code = worker.process.exitcode
        if not worker.ready:
            raise self._start_error(worker)
        if worker.current is not None:
            reason = f"the worker process died (exit code {code}); if memory is short, use fewer workers"
            yield Outcome(worker.current, None, 0.0, reason)
        self.workers.append(self._start(worker.queue))

    def _stop(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.connection.close()
        # It has nothing to put in order, and an interpreter that ends by itself takes half a second.
        worker.process.terminate()
        worker.process.join()
