"""Progress of long work: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from gcm_cli.streams import printable

__all__ = ["WorkProgress"]

SECONDS_BETWEEN_LINES = 15.0
"""Off a terminal. Shorter work prints no line at all."""
SECONDS_LOOKED_BACK = 600.0
"""For the time to go. Pairs take from a fifth of a second to ten; of half a minute's it would jump."""


class WorkProgress(Progress):
    """A progress bar that speaks in lines where there is no terminal.

    Args:
        columns: of the bar; description, bar, count and times when there are none.
        console: where the bar is drawn.
        quiet: neither bar nor lines.
        say: prints a line.
    """

    def __init__(
        self,
        *columns: ProgressColumn | str,
        console: RichConsole,
        quiet: bool,
        say: Callable[[str], None],
    ) -> None:
        default: tuple[ProgressColumn | str, ...] = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        chosen = columns or default
        for column in chosen:
            if isinstance(column, TextColumn):
                column.markup = False  # descriptions hold names from outside
        self._bytes = any(isinstance(column, DownloadColumn) for column in chosen)
        # One of which rich cannot move the cursor, as Emacs' shell, gets lines as well.
        drawn = console.is_terminal and not console.is_dumb_terminal
        self._say = None if quiet or drawn else say
        self._said = time.monotonic()
        self._unsaid: set[TaskID] = set()
        self._spoken: set[TaskID] = set()
        super().__init__(
            *chosen,
            console=console,
            transient=True,
            disable=quiet or not drawn,
            speed_estimate_period=SECONDS_LOOKED_BACK,
        )

    def add_task(self, description: str, *args: Any, **fields: Any) -> TaskID:
        """See :class:`rich.progress.Progress`."""
        return super().add_task(printable(description), *args, **fields)

    def update(self, task_id: TaskID, *, description: str | None = None, **changes: Any) -> None:
        """See :class:`rich.progress.Progress`."""
        description = None if description is None else printable(description)
        super().update(task_id, description=description, **changes)
        self._speak(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """See :class:`rich.progress.Progress`."""
        super().advance(task_id, advance)
        self._speak(task_id)

    def stop(self) -> None:
        """End the bar, or say where the work stands that was spoken of before."""
        for task_id in sorted(self._unsaid & self._spoken):
            self._line(task_id)
        self._unsaid.clear()
        super().stop()

    def _speak(self, task_id: TaskID) -> None:
        self._unsaid.add(task_id)
        if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._line(task_id)

    def _line(self, task_id: TaskID) -> None:
        if self._say is None:
            return
        self._said = time.monotonic()
        self._unsaid.discard(task_id)
        self._spoken.add(task_id)
        self._say(_describe(next(task for task in self.tasks if task.id == task_id), in_bytes=self._bytes))


def _describe(task: Task, *, in_bytes: bool) -> str:
    """One line: ``matching: 120 of 540 (22 %), 2.1 pairs/s, 0:00:57 so far, 0:03:20 to go``."""
    from gcm_cli.console import human_size

    def show(value: float) -> str:
        return human_size(int(value)) if in_bytes else f"{value:.0f}"

    parts = [show(task.completed)]
    if task.total:
        parts[0] += f" of {show(task.total)} ({task.percentage:.0f} %)"
    if rate := task.fields.get("rate"):
        parts.append(printable(str(rate)))
    if task.elapsed:
        parts.append(f"{timedelta(seconds=round(task.elapsed))} so far")
    if task.time_remaining:
        parts.append(f"{timedelta(seconds=round(task.time_remaining))} to go")
    return f"{task.description}: {', '.join(parts)}"
