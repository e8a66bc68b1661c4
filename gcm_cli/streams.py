"""Standard output and standard error that never break a command: full, closed, or of another encoding."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["guarded_streams", "printable"]

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL |= {9: "\\t", 10: "\\n", 13: "\\r"}
_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Those that stand for no byte."""


def printable(text: str, *, keep: str = "") -> str:
    """Text from outside, fit for a terminal or a document: control characters and stray bytes escaped.

    A file name that is not of the system's encoding reaches Python with its bytes in place of characters
    (surrogates). It is read as UTF-8, which most such names are; what is not even that shows as ``\\xff``.

    Args:
        text: a file name, a message.
        keep: control characters that stay, as in ``"\\n"``.
    """
    if not text.isascii():
        # "surrogateescape" restores the bytes; a surrogate that stands for none is escaped first.
        text = _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text.translate({code: name for code, name in _CONTROL.items() if chr(code) not in keep})


class _Forgiving(io.FileIO):
    """A descriptor to write to that remembers its first error and swallows what comes after it."""

    error: OSError | None = None
    closed_before = False

    def write(self, data: object) -> int:
        size = memoryview(data).nbytes  # type: ignore[arg-type]
        if self.closed_before and self.error is None:
            self.error = OSError(errno.EBADF, "it is closed")
        if self.error is None:
            try:
                return super().write(data) or 0  # type: ignore[arg-type]
            except OSError as error:
                self.error = error
        return size


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Run a command with streams that cannot fail it.

    Characters the console's encoding lacks are written as escapes. A full disk or a closed descriptor
    behind stdout ends the command with exit code 1 and one line on stderr, after its work is done and its
    files are written; a reader that left early (``gcm ... | head``) is no error at all.
    """
    closed = _open_missing_descriptors()
    before = sys.stdout, sys.stderr
    out, sys.stdout = _guard(sys.stdout, 1, 1 in closed)
    _, sys.stderr = _guard(sys.stderr, 2, 2 in closed)
    try:
        yield
    except SystemExit as end:
        if end.code in (None, 0):
            _report(out)
        raise
    else:
        _report(out)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _report(out: _Forgiving | None) -> None:
    sys.stdout.flush()
    if out is None or out.error is None or out.error.errno == errno.EPIPE:
        return
    reason = out.error.strerror or str(out.error)
    sys.stderr.write(f"gcm: error: standard output cannot be written ({reason}); send it elsewhere\n")
    raise SystemExit(1)


def _guard(stream: TextIO | None, descriptor: int, closed: bool) -> tuple[_Forgiving | None, TextIO]:
    """A stream that does not fail, and what remembers its error; a terminal stays the stream it is."""
    if stream is not None and (stream.isatty() or not isinstance(stream, io.TextIOWrapper)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        return None, stream
    raw = _Forgiving(descriptor, "w", closefd=False)
    raw.closed_before = closed
    wrapped = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=descriptor == 2,
    )
    return raw, wrapped


def _open_missing_descriptors() -> set[int]:
    """Put the null device behind closed standard descriptors, and say which those were.

    The next file opened would otherwise get the number, and what a library prints would land in it.
    """
    closed = set()
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            closed.add(descriptor)
    return closed
