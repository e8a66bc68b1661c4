"""Every print of the command line.

stdout carries data: a table for people, one JSON document with ``--json``. stderr carries progress and
messages, so that a pipeline can read stdout. Commands return nothing and never call `print`.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from gcm.errors import GCMError

__all__ = ["PARTIAL", "Console", "command", "human_size"]

PARTIAL = 3
"""Exit code when part of a batch failed."""
INTERRUPTED = 130

P = ParamSpec("P")
R = TypeVar("R")


class Console:
    """Where a command's output goes.

    Args:
        json_output: print one JSON document on stdout in place of tables.
        quiet: no messages and no progress on stderr, no tables on stdout; JSON is still printed.
    """

    def __init__(self, *, json_output: bool = False, quiet: bool = False) -> None:
        self.json_output = json_output
        self.quiet = quiet
        self._out = RichConsole(highlight=False, soft_wrap=False)
        self._err = RichConsole(stderr=True, highlight=False)

    def table(self, table: Table) -> None:
        """Show a table on stdout, unless quiet or printing JSON."""
        if not self.quiet and not self.json_output:
            self._out.print(table)

    def text(self, text: str) -> None:
        """Print plain text as data on stdout (markdown, LaTeX, ...), unless quiet or printing JSON."""
        if not self.quiet and not self.json_output:
            self._out.print(text, markup=False, soft_wrap=True)

    def document(self, document: Any) -> None:
        """Print the one JSON document of ``--json``; does nothing otherwise. nan and inf become null."""
        if self.json_output:
            sys.stdout.write(json.dumps(_plain(document), allow_nan=False) + "\n")

    def note(self, message: str) -> None:
        """A message for people, on stderr."""
        if not self.quiet:
            self._err.print(message, markup=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """Something went on but not as asked; on stderr even when quiet."""
        self._err.print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """A spinner on stderr while something takes a moment; silent when quiet or no terminal."""
        if self.quiet or not self._err.is_terminal:
            return nullcontext()
        return self._err.status(what)

    def error(self, message: str) -> None:
        """One thing of several failed; on stderr even when quiet."""
        self._err.print(f"gcm: error: {message}", markup=False, soft_wrap=True)

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question on stderr; False where nobody is there to answer."""
        return sys.stdin.isatty() and typer.confirm(question, err=True)

    def progress(self, *columns: ProgressColumn | str) -> Progress:
        """A progress bar on stderr; silent when quiet or when stderr is no terminal.

        Without `columns`: description, bar, count, time elapsed and left. Use it as a context manager.
        """
        default: tuple[ProgressColumn | str, ...] = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        return Progress(
            *(columns or default),
            console=self._err,
            transient=True,
            disable=self.quiet or not self._err.is_terminal,
        )


def _plain(value: Any) -> Any:
    """JSON-ready: numpy numbers and arrays to Python's, tuples to lists, non-finite numbers to None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def human_size(size: int | None) -> str:
    """Bytes for people, in powers of ten: ``548 MB``, ``1.2 MB``; empty when unknown."""
    if size is None:
        return ""
    value, unit = (size / 1e6, "MB") if size >= 1e6 else (size / 1e3, "kB")
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Turn a command's errors into one line on stderr and the right exit code.

    A :class:`GCMError` prints its message and exits with its code; Ctrl-C exits with 130; a reader that
    closed the pipe (``gcm ... | head``) is no error. With ``GCM_DEBUG=1`` errors keep their traceback.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except GCMError as error:
            if os.environ.get("GCM_DEBUG") == "1":
                raise
            typer.echo(f"gcm: error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("gcm: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Python would complain again when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None

    return run
