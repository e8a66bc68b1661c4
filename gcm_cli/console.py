"""Every print of the command line.

stdout carries data: a table for people, one JSON document with ``--json``. stderr carries progress and
messages, so that a pipeline can read stdout. Commands return nothing and never call `print`.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import typer

from gcm.errors import GCMError
from gcm_cli.effects import refuse_without_effect
from gcm_cli.streams import printable

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import RenderableType
    from rich.progress import Progress, ProgressColumn
    from rich.table import Table

__all__ = ["INTERRUPTED", "PARTIAL", "Console", "command", "human_size", "one_line", "plural"]

PARTIAL = 3
"""Exit code when part of a batch failed."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""

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
        self._out = _rich_console(stderr=False)
        self._err = _rich_console(stderr=True)

    def table(self, table: Table) -> None:
        """Show a table on stdout, unless quiet or printing JSON."""
        if not self.quiet and not self.json_output:
            _show(self._out, table)

    def text(self, text: str) -> None:
        """Print plain text as data on stdout (markdown, LaTeX, ...), unless quiet or printing JSON."""
        if not self.quiet and not self.json_output:
            _line(self._out, text)

    def document(self, document: Any) -> None:
        """Print the one JSON document of ``--json``; does nothing otherwise. nan and inf become null."""
        if self.json_output:
            sys.stdout.write(json.dumps(_plain(document), allow_nan=False) + "\n")

    def note(self, message: str) -> None:
        """A message for people, on stderr."""
        if not self.quiet:
            _line(self._err, message)

    def warn(self, message: str) -> None:
        """Something went on but not as asked; on stderr even when quiet."""
        _line(self._err, f"warning: {message}", style="yellow")

    def waiting(self, activity: str) -> AbstractContextManager[object]:
        """A spinner on stderr while something takes a moment; silent when quiet or no terminal."""
        if self.quiet or not self._err.is_terminal or self._err.is_dumb_terminal:
            return nullcontext()
        from rich.text import Text

        # Rich swaps lines and boxes for ASCII where the encoding lacks them, but not its spinners.
        spinner = "line" if self._err.options.ascii_only else "dots"
        return self._err.status(Text(printable(activity)), spinner=spinner)

    def error(self, message: str) -> None:
        """One thing of several failed; on stderr even when quiet."""
        _line(self._err, f"gcm: error: {message}")

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question on stderr; False where nobody is there to answer."""
        return sys.stdin.isatty() and typer.confirm(question, err=True)

    def progress(self, *columns: ProgressColumn | str) -> Progress:
        """A progress bar on stderr, a line now and then where that is no terminal; silent when quiet.

        Without `columns`: description, bar, count, time elapsed and left. Use it as a context manager.
        """
        from gcm_cli.progress import WorkProgress

        return WorkProgress(*columns, console=self._err, quiet=self.quiet, say=self.note)


def _rich_console(*, stderr: bool) -> RichConsole:
    """Rich without markup: brackets and colons in file names are nothing else."""
    from rich.console import Console as RichConsole

    return RichConsole(stderr=stderr, highlight=False, markup=False, emoji=False)


def _line(console: RichConsole, text: str, *, style: str | None = None) -> None:
    """Text as it is, however long, on a console of any width."""
    console.print(printable(text, keep="\n\t"), style=style, soft_wrap=True)


def _show(console: RichConsole, renderable: RenderableType) -> None:
    """Something drawn, with the control characters of what is written in it escaped."""
    from rich.segment import Segment, Segments

    drawn = [
        part if part.control else Segment(printable(part.text, keep="\n"), part.style)
        for part in console.render(renderable)
    ]
    console.print(Segments(drawn), soft_wrap=True, end="")


_ALL_CONTROL = "".join(map(chr, range(160)))
"""JSON has escapes of its own for these."""


def _plain(value: Any) -> Any:
    """JSON-ready: numpy numbers and arrays to Python's, tuples to lists, non-finite numbers to None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {printable(str(k), keep=_ALL_CONTROL): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, int | float | bool):
        return value
    return printable(str(value), keep=_ALL_CONTROL)


def human_size(size: int | None) -> str:
    """Bytes for people, in powers of ten: ``548 MB``, ``1.2 MB``; empty when unknown."""
    if size is None:
        return ""
    value, unit = (size / 1e6, "MB") if size >= 1e6 else (size / 1e3, "kB")
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"


def plural(count: int, noun: str) -> str:
    """A number of things, as in ``1 pair`` and ``2 pairs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Turn a command's errors into one line on stderr and the right exit code.

    A :class:`GCMError` prints its message and exits with its code, what nobody foresaw prints its kind and
    exits with 1; Ctrl-C exits with 130. With ``GCM_DEBUG=1`` errors keep their traceback.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            refuse_without_effect(function, kwargs)
            return function(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if os.environ.get("GCM_DEBUG") == "1":
                raise
            typer.echo(f"gcm: error: {one_line(error)}", err=True)
            raise typer.Exit(error.exit_code if isinstance(error, GCMError) else 1) from None
        except KeyboardInterrupt:
            typer.echo("gcm: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None

    return run


def one_line(error: Exception) -> str:
    """An error as people are told of it; of one that nobody foresaw also its kind."""
    text = printable(re.sub(r"\s*[\r\n]\s*", " ", str(error).strip()))
    if isinstance(error, GCMError):
        return text
    return f"{type(error).__name__}: {text} (unforeseen; GCM_DEBUG=1 shows where, please report it)"
