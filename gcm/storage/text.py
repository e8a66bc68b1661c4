"""Text that people write: lists, intrinsics, homographies, configurations."""

from __future__ import annotations

import codecs

__all__ = ["decode_text"]


def decode_text(content: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 with its byte order mark (as Windows PowerShell writes it).

    A byte order mark is taken off. Other encodings are not guessed: a wrong guess gives other names, and on
    another machine yet others.

    Raises:
        UnicodeDecodeError: it is in another encoding.
    """
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig")
