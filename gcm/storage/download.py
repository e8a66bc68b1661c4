"""Fetching a file over HTTP: mirrors, resume, checks; nothing under the final name unless it is right."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from gcm.errors import DownloadError, OutputError, UsageError
from gcm.storage.http import ExpectedFile, PermanentError, Progress, Transfer
from gcm.storage.locks import exclusive_lock

__all__ = ["download_file", "is_sha256", "offline"]


def offline() -> bool:
    """Whether ``GCM_OFFLINE`` forbids the network."""
    return os.environ.get("GCM_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}


def is_sha256(text: str) -> bool:
    """Whether a text is a SHA-256: 64 hex digits, in capitals or not."""
    return re.fullmatch(r"[0-9a-fA-F]{64}", text) is not None


def download_file(
    urls: Sequence[str],
    destination: Path,
    *,
    sha256: str | None = None,
    sha256_prefix: str | None = None,
    size: int | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Fetch a file from the first address that serves the right one.

    A file that already lies at `destination` and passes the checks is not fetched again. A second process
    asking for the same file waits for the first.

    Args:
        urls: http or https addresses, tried in order.
        destination: where the file goes; its folder is made.
        sha256, sha256_prefix: hash, or its first hex digits, of the whole file.
        size: its bytes.
        on_progress: called with bytes done and total (None while unknown).

    Returns:
        `destination`.

    Raises:
        UsageError: a hash that is none.
        DownloadError: no address served the right file, ``GCM_OFFLINE=1`` forbids to ask, or the disk is
            full. A part that is good so far stays as ``<name>.part`` for the next try.
    """
    expected = ExpectedFile(_hex_digits(sha256, sha256_prefix), size)
    problem = _problem(destination, expected)
    if problem is None:
        return destination
    if offline():
        raise DownloadError(
            f"{destination}: {problem} and GCM_OFFLINE=1 forbids to download it; unset GCM_OFFLINE, "
            f"or put the file there by hand{f' (from {urls[0]})' if urls else ''}"
        )
    if not urls:
        raise DownloadError(
            f"{destination}: there is no address to download it from; put the file there by hand"
        )
    try:
        with exclusive_lock(destination.with_name(f".{destination.name}.lock"), wait=True):
            if _problem(destination, expected) is not None:
                destination.unlink(missing_ok=True)
                _fetch(urls, destination, expected, on_progress or (lambda done, total: None))
    except OutputError as error:
        raise DownloadError(str(error)) from error
    except OSError as error:
        raise DownloadError(
            f"{destination}: cannot be written ({error.strerror or error}); check the folder and its rights"
        ) from error
    return destination


def _hex_digits(sha256: str | None, prefix: str | None) -> str | None:
    """The digits a hash must begin with, in lower case.

    Raises:
        UsageError: they are no SHA-256.
    """
    if sha256 is not None and not is_sha256(sha256):
        length = f", not {len(sha256)} characters" if len(sha256) != 64 else ""
        raise UsageError(f"'{sha256}' is no SHA-256: that is 64 hex digits (0-9, a-f){length}")
    if prefix is not None and not re.fullmatch(r"[0-9a-fA-F]{1,64}", prefix):
        raise UsageError(f"'{prefix}' is no beginning of a SHA-256: that is up to 64 hex digits (0-9, a-f)")
    digits = sha256 or prefix
    return digits.lower() if digits else None


def _problem(destination: Path, expected: ExpectedFile) -> str | None:
    """What keeps the destination from being the expected file; None when it is."""
    if destination.is_dir():
        raise DownloadError(f"{destination}: is a folder; give a file name")
    return expected.mismatch(destination) if destination.is_file() else "is missing"


def _fetch(urls: Sequence[str], destination: Path, expected: ExpectedFile, on_progress: Progress) -> None:
    reasons = []
    for url in urls:
        transfer = Transfer(url, destination, expected, on_progress)
        try:
            transfer.run()
        except PermanentError as error:
            reasons.append(f"{url}: {error}")
            continue
        transfer.partial_file.replace(destination)
        transfer.record_file.unlink(missing_ok=True)
        return
    raise DownloadError(
        f"{destination.name} could not be downloaded: {'; '.join(reasons)}; "
        f"try again later, or put the file at {destination} by hand"
    )
