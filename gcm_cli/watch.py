"""The progress of matching pairs."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from gcm_cli.console import Console, plural

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from gcm.benchmark.workers import Outcome

__all__ = ["Watch", "pair_bar"]


class Watch:
    """Keeps the progress bar and its rate up to date."""

    def __init__(self, console: Console, bar: Progress, task: TaskID, total: int) -> None:
        self.console, self.bar, self.task, self.total = console, bar, task, total
        self.finished = self.skipped = 0
        self.told: Counter[str] = Counter()
        self.started = time.monotonic()

    def begin(self, pending: int, total: int | None = None) -> None:
        """So many pairs are left of those to be matched, or of so many that are to be matched here."""
        if total is not None:
            self.total = total
            self.bar.update(self.task, total=total)
        self.skipped, self.started = self.total - pending, time.monotonic()
        self.bar.update(self.task, completed=self.skipped)

    def advance(self, outcome: Outcome) -> None:
        """A pair is done."""
        self.count(1)
        if outcome.error:
            self.fail(outcome.pair.name, outcome.error)

    def count(self, pairs: int) -> None:
        """So many pairs more are done."""
        if not pairs:
            return
        self.finished += pairs
        each = (time.monotonic() - self.started) / self.finished
        rate = f"{each:.1f} s/pair" if each > 1 else f"{1 / max(each, 1e-9):.1f} pairs/s"
        self.bar.update(self.task, completed=self.skipped + self.finished, rate=rate)

    def fail(self, name: str, error: str) -> None:
        """A pair could not be matched."""
        self.told[error] += 1
        if self.told[error] == 1:
            self.console.warn(f"{name}: {error}")

    def close(self) -> None:
        """One image that cannot be read fails many pairs; say how many, not each."""
        for error, count in self.told.items():
            if count > 1:
                self.console.warn(f"{plural(count - 1, 'more pair')} failed alike: {error}")


def pair_bar(console: Console) -> Progress:
    """A bar of pairs, with their rate."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return console.progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
