"""What is wrong with an archive, in plain words in place of Python's own."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gcm.errors import DatasetError

__all__ = ["ARCHIVE_ERRORS", "archive_error", "is_stream_damage", "unknown_archive_error"]

ARCHIVE_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What Python's archive modules report damage, passwords and unknown compressions with."""

_COMPRESSIONS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"BZh": bz2.open,
}
"""How a compressed file begins, and what opens it."""
_OTHER_KINDS = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x9d": "compress (.Z)",
    b"\x04\x22\x4d\x18": "lz4",
}
_PROBE = 4 << 20
"""Bytes to unpack in search of damage."""


def archive_error(archive: Path, error: Exception, member: str | None = None) -> DatasetError:
    """The error to raise for one of :data:`ARCHIVE_ERRORS`.

    Args:
        archive: the file.
        error: what Python said.
        member: what was being read; None where that was the archive as a whole.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return DatasetError(f"{error.filename or archive}: cannot be read or written ({error.strerror})")
    subject = f"'{member}'" if member else "it"
    if isinstance(error, NotImplementedError):
        reason = f"{subject} is compressed in a way that cannot be unpacked here; repack it as zip or tar.gz"
    elif isinstance(error, RuntimeError) and "password" in str(error):
        reason = f"{subject} is protected by a password; use an archive without one"
    elif isinstance(error, EOFError) or "unexpected end" in str(error):
        reason = f"{subject} is cut short; fetch it again"
    else:
        reason = f"{subject} is damaged; fetch it again"
    return DatasetError(f"{archive}: not a sound zip or tar archive: {reason}")


def is_stream_damage(error: BaseException) -> bool:
    """Whether damage was found in a compressed stream.

    The stream of a tar holds all members and has few checksums (gzip's and often xz's only one, at its end),
    so that the damage may lie in what has been unpacked before.

    Args:
        error: what Python said, or what :func:`archive_error` made of it.
    """
    cause = error.__cause__ if isinstance(error, DatasetError) else error
    return isinstance(cause, lzma.LZMAError | zlib.error) or (
        isinstance(cause, OSError) and cause.errno is None  # gzip's and bz2's way to say it
    )


def unknown_archive_error(archive: Path) -> DatasetError:
    """The error to raise for a file that opens neither as zip nor as tar."""
    with archive.open("rb") as file:
        start = file.read(512)
    other = next((name for mark, name in _OTHER_KINDS.items() if start.startswith(mark)), None)
    reader = next((open_ for mark, open_ in _COMPRESSIONS.items() if start.startswith(mark)), None)
    if other is not None:
        reason = f"it is {other}; repack it as zip or tar.gz"
    elif not start:
        reason = "it is empty; fetch it again"
    elif start.startswith(b"PK\x03\x04"):
        reason = "it is cut short; fetch it again"
    elif start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        reason = "it is a web page; fetch the archive itself"
    elif reader is not None:
        return _compressed_file_error(archive, reader)
    else:
        reason = "it is another kind of file, or its beginning is damaged; fetch it again"
    return DatasetError(f"{archive}: not a sound zip or tar archive: {reason}")


def _compressed_file_error(archive: Path, reader: Callable[[Path], Any]) -> DatasetError:
    try:
        with reader(archive) as stream:
            stream.read(_PROBE)
    except ARCHIVE_ERRORS as error:
        return archive_error(archive, error)
    return DatasetError(
        f"{archive}: not a sound zip or tar archive: it is a compressed file with no archive in it"
    )
