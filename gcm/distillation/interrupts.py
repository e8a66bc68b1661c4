"""Ctrl-C in the middle of long work: held back where it would tear something apart, quick everywhere else."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

__all__ = ["held_interrupts", "load_ahead"]

Item = TypeVar("Item")


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Let what is inside finish before a Ctrl-C counts; only in the main thread, where they arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupted = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt


def load_ahead(dataset: Dataset[Item], *, workers: int, seed: int) -> Generator[Item, None, None]:
    """The items of a dataset in order, prepared ahead by `workers` processes (by this one when 0).

    Close it to end the processes at once: PyTorch gives each of them five seconds otherwise.
    """
    # Its own generator: the loader would otherwise draw from the caller's random numbers.
    generator = torch.Generator().manual_seed(seed)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        generator=generator,
        worker_init_fn=_ignore_interrupts,
    )
    before = set(multiprocessing.active_children())
    with _without_opencv_threads():
        items = iter(loader)
    processes = set(multiprocessing.active_children()) - before
    try:
        yield from items
    finally:
        with _unwatched_children():
            for process in processes:
                process.kill()
            for process in processes:
                process.join()
            del items


def _ignore_interrupts(worker: int) -> None:
    """A terminal sends Ctrl-C to all processes; those that prepare items are ended from here."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _without_opencv_threads() -> Iterator[None]:
    """Let processes that start here take one core each, as PyTorch does by itself and OpenCV does not.

    They must inherit it: told so afterwards, they would wait for threads that they have no copy of.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


@contextmanager
def _unwatched_children() -> Iterator[None]:
    """Keep PyTorch from taking the end of a process for an accident."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
