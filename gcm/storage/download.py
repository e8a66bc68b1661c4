"""Fetching a file over HTTP: mirrors, resume, checks; nothing under the final name unless it is right."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from filelock import FileLock

from gcm.errors import DownloadError, OutputError
from gcm.storage.http import GiveUpError, Progress, Promise, Transfer

__all__ = ["download", "offline"]


def offline() -> bool:
    """Whether ``GCM_OFFLINE`` forbids the network."""
    return os.environ.get("GCM_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}


def download(
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
        DownloadError: no address served the right file, ``GCM_OFFLINE=1`` forbids to ask, or the disk is
            full. A part that is good so far stays as ``<name>.part`` for the next try.
    """
    expected = sha256 or sha256_prefix
    promise = Promise(expected.lower() if expected else None, size)
    fault = _fault(destination, promise)
    if fault is None:
        return destination
    if offline():
        raise DownloadError(
            f"{destination}: {fault} and GCM_OFFLINE=1 forbids to download it; unset GCM_OFFLINE, "
            f"or put the file there by hand{f' (from {urls[0]})' if urls else ''}"
        )
    if not urls:
        raise DownloadError(
            f"{destination}: there is no address to download it from; put the file there by hand"
        )
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(destination.with_name(f".{destination.name}.lock"))
        with lock:
            if _fault(destination, promise) is not None:
                destination.unlink(missing_ok=True)
                _fetch(urls, destination, promise, on_progress or (lambda done, total: None))
    except OutputError as error:
        raise DownloadError(str(error)) from error
    except OSError as error:
        _disk_error(destination, error)
    return destination


def _fault(destination: Path, promise: Promise) -> str | None:
    """What keeps the destination from being the promised file; None when it is."""
    if destination.is_dir():
        raise DownloadError(f"{destination}: is a folder; give a file name")
    return promise.fault(destination) if destination.is_file() else "is missing"


def _fetch(urls: Sequence[str], destination: Path, promise: Promise, on_progress: Progress) -> None:
    reasons = []
    for url in urls:
        transfer = Transfer(url, destination, promise, on_progress)
        try:
            transfer.run()
        except GiveUpError as error:
            reasons.append(f"{url}: {error}")
            continue
        transfer.part.replace(destination)
        transfer.note.unlink(missing_ok=True)
        return
    raise DownloadError(
        f"{destination.name} could not be downloaded: {'; '.join(reasons)}; "
        f"try again later, or put the file at {destination} by hand"
    )


def _disk_error(path: Path, error: OSError) -> NoReturn:
    hint = "free some space" if error.errno == errno.ENOSPC else "check the folder and its rights"
    raise DownloadError(f"{path}: cannot be written ({error.strerror or error}); {hint}") from error
