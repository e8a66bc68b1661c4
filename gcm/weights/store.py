"""Where weights lie: embedded -> cache -> download.

Weights are never replaced by random ones: what cannot be found raises, and the message says how to get it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from gcm.download import download
from gcm.errors import WeightsError
from gcm.files import sha256_of, whole_file
from gcm.weights.catalogue import CATALOGUE, WeightEntry, get_entry

__all__ = ["cache_folder", "embedded_folder", "find_weights", "resolve_weights", "sha256_of", "verify_weights"]


def cache_folder() -> Path:
    """``$GCM_HOME/weights``, or the platform's cache folder for `gcm`."""
    home = os.environ.get("GCM_HOME")
    root = Path(home).expanduser() if home else Path(platformdirs.user_cache_dir("gcm", appauthor=False))
    return root / "weights"


def embedded_folder() -> Path:
    """Our own weights, part of the package."""
    return Path(__file__).parent / "embedded"


def find_weights(entry: WeightEntry, folder: Path | None = None) -> Path | None:
    """Where an entry's file lies on this machine, embedded or cached; None when it does not."""
    path = (embedded_folder() if entry.embedded else folder or cache_folder()) / entry.filename
    return path if path.is_file() else None


def verify_weights(entry: WeightEntry, path: Path) -> None:
    """Check a file against what the catalogue (or, failing that, the first download) says of it.

    Raises:
        WeightsError: another file than expected.
    """
    expected = entry.sha256 or entry.sha256_prefix or _pinned(path)
    if expected is None:
        return
    found = sha256_of(path)
    if not found.startswith(expected):
        raise WeightsError(
            f"{path}: is not the file '{entry.name}' should be (sha256 {found[:16]}..., expected {expected[:16]}...); "
            "remove it and fetch it again"
        )


def resolve_weights(
    weights: str | os.PathLike[str],
    *,
    on_progress: Callable[[int, int | None], None] | None = None,
    folder: Path | None = None,
) -> Path:
    """Path of a weight file, given a path or a catalogue name; downloads and checks what is missing.

    Args:
        weights: a file that exists, or a name of the catalogue.
        on_progress: called with bytes done and total (None when unknown) while downloading.
        folder: cache folder in place of the usual one.

    Raises:
        WeightsError: no such file or name, or a file that is not what it should be.
        DownloadError: it could not be fetched (or ``GCM_OFFLINE=1`` forbids to).
    """
    text = os.fspath(weights)
    if text.lower() not in CATALOGUE:
        path = Path(text).expanduser()
        if path.is_file():
            return path
        if path.suffix or os.sep in text:
            what = "is a folder" if path.is_dir() else "no such weight file"
            raise WeightsError(f"{text}: {what}; check the path in the configuration")
    entry = get_entry(text)
    found = find_weights(entry, folder)
    if found is not None:
        return found
    if entry.embedded:
        raise WeightsError(f"the embedded weights '{entry.name}' are missing; reinstall gcm")
    if not entry.urls:
        raise WeightsError(
            f"the weights '{entry.name}' ({entry.filename}) have no public address; "
            "get the file from its authors and give its path in the configuration"
        )
    path = (folder or cache_folder()) / entry.filename
    download(
        entry.urls,
        path,
        sha256=entry.sha256,
        sha256_prefix=entry.sha256_prefix,
        size=entry.size,
        on_progress=on_progress,
    )
    if entry.sha256 is None and entry.sha256_prefix is None:
        _pin(path)
    return path


def _pin_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256.json")


def _pin(path: Path) -> None:
    """Record the hash of a file whose true one nobody publishes: trust on first use."""
    with whole_file(_pin_file(path)) as temporary:
        temporary.write_text(json.dumps({"file": path.name, "sha256": sha256_of(path)}) + "\n")


def _pinned(path: Path) -> str | None:
    try:
        return str(json.loads(_pin_file(path).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError):
        return None
