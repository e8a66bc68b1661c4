"""Text that people write: lists, intrinsics, homographies, configurations."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

__all__ = ["decode_text", "lines_that_count"]


def decode_text(content: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 with its byte order mark (as Windows PowerShell writes it).

    A byte order mark is taken off. Other encodings are not guessed: a wrong guess gives other names, and on
    another machine yet others.

    Raises:
        UnicodeDecodeError: it is in another encoding.
    """
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig")


def lines_that_count(text: str) -> Iterator[tuple[int, str]]:
    """The number, from 1, and the stripped text of each line that is neither empty nor a comment (#)."""
    # Lines end as in files of any system, and nowhere else, as `str.splitlines` would.
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield number, stripped
