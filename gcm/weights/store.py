"""Where weights lie: embedded or packaged -> cache -> download.

Weights are never replaced by random ones: what cannot be found raises, and the message says how to get it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import platformdirs

from gcm.errors import WeightsError, to_install
from gcm.storage.atomic import sha256_of, whole_file
from gcm.storage.download import download_file, offline
from gcm.weights.catalogue import CATALOGUE, WeightEntry, get_entry

__all__ = [
    "Check",
    "bring_weights",
    "cache_folder",
    "check_weights_name",
    "embedded_folder",
    "fetch_weights",
    "find_weights",
    "resolve_weights",
    "verify_weights",
]

Check = Callable[[Path], object]
"""Raises WeightsError when a file does not load into the network it is meant for."""

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """``$GCM_HOME/weights``, or the platform's cache folder for `gcm`."""
    home = os.environ.get("GCM_HOME")
    root = Path(home).expanduser() if home else Path(platformdirs.user_cache_dir("gcm", appauthor=False))
    return root / "weights"


def embedded_folder() -> Path:
    """Our own weights, part of the package."""
    return Path(__file__).parent / "embedded"


def find_weights(entry: WeightEntry, folder: Path | None = None) -> Path | None:
    """Where an entry's file lies on this machine: embedded, in an installed package or cached; or None."""
    if entry.package:
        home = _package_folder(entry.package)
    else:
        home = embedded_folder() if entry.embedded else folder or cache_folder()
    path = home / entry.filename if home else None
    return path if path and path.is_file() else None


def _package_folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)  # finds without importing
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0]) if locations else None


def verify_weights(entry: WeightEntry, path: Path) -> str:
    """Check a file against what the catalogue (or, failing that, its first use) says of it.

    Returns:
        What it agrees with: "sha256", "sha256 prefix", "first use"; or "unverified" when nothing is known.

    Raises:
        WeightsError: another file than expected.
    """
    expected = entry.sha256 or entry.sha256_prefix
    proof: str = entry.proof
    if expected is None:
        expected, proof = _pinned(path), "first use"
        if expected is None:
            return "unverified"
    actual = sha256_of(path)
    if not actual.startswith(expected):
        raise WeightsError(
            f"{path}: is not the file '{entry.name}' should be (sha256 {actual[:16]}..., expected "
            f"{expected[:16]}...); remove it and fetch it again"
        )
    return proof


def resolve_weights(
    weights: str | os.PathLike[str] | WeightEntry,
    *,
    on_progress: Callable[[int, int | None], None] | None = None,
    folder: Path | None = None,
    check: Check | None = None,
) -> Path:
    """Path of a weight file, given a path, a catalogue name or an entry; fetches what is missing.

    The log says what is fetched and under which licence. Non-commercial weights are not fetched on the
    side: their licence must be accepted first, with ``gcm fetch-weights``.

    Args:
        weights: a file that exists, a name of the catalogue, or an entry.
        on_progress: called with bytes done and total (None when unknown) while downloading.
        folder: cache folder in place of the usual one.
        check: see :func:`fetch_weights`.

    Raises:
        WeightsError: no such file or name, not to be had without being asked, or not what it should be.
        DownloadError: it could not be fetched (or ``GCM_OFFLINE=1`` forbids to).
    """
    if isinstance(weights, WeightEntry):
        entry = weights
    else:
        path = _as_path(os.fspath(weights))
        if path is not None:
            return path
        entry = get_entry(os.fspath(weights))
    present = find_weights(entry, folder)
    if present is not None:
        return present
    if entry.non_commercial and entry.urls:
        raise WeightsError(
            f"the weights '{entry.name}' are not here, and their licence is {entry.licence}; if your use "
            f"fits it, fetch them with: gcm fetch-weights {entry.name}"
        )
    if entry.urls and not offline():
        _log.warning(
            "fetching the weights '%s' from %s; licence: %s", entry.name, entry.urls[0], entry.licence
        )
    return fetch_weights(entry, on_progress=on_progress, folder=folder, check=check)


def check_weights_name(weights: str) -> None:
    """Refuse a text that is neither a file nor a name of the catalogue; imports no PyTorch.

    Raises:
        WeightsError: it is neither.
    """
    if _as_path(weights) is None:
        get_entry(weights)


def _as_path(text: str) -> Path | None:
    """The file a text names, or None when it must be a catalogue name."""
    if text.lower() in CATALOGUE:
        return None
    path = Path(text).expanduser()
    if path.is_file():
        return path
    if path.suffix or os.sep in text:
        reason = "is a folder" if path.is_dir() else "no such weight file"
        raise WeightsError(f"{text}: {reason}; check the path in the configuration")
    return None


def fetch_weights(
    entry: WeightEntry,
    *,
    on_progress: Callable[[int, int | None], None] | None = None,
    folder: Path | None = None,
    check: Check | None = None,
) -> Path:
    """Download an entry's file unless it is there, and check it.

    Args:
        entry: what to fetch; showing its licence is the caller's part.
        on_progress: called with bytes done and total (None when unknown).
        folder: cache folder in place of the usual one.
        check: asked about a new file whose hash nobody publishes, before that hash is recorded.

    Raises:
        WeightsError: it has no address, or is not what it should be; nothing stays behind.
        DownloadError: it could not be fetched (or ``GCM_OFFLINE=1`` forbids to).
    """
    present = find_weights(entry, folder)
    if present is not None and (entry.proof == "unverified" or not entry.urls):
        verify_weights(entry, present)
        return present
    if not entry.urls:
        raise WeightsError(_how_to_get(entry))
    path = (folder or cache_folder()) / entry.filename
    download_file(
        entry.urls,
        path,
        sha256=entry.sha256,
        sha256_prefix=entry.sha256_prefix,
        size=entry.size,
        on_progress=on_progress,
    )
    if entry.proof == "unverified" and _pinned(path) is None:
        _accept(path, check)
    return path


def bring_weights(
    entry: WeightEntry, source: Path, *, folder: Path | None = None, check: Check | None = None
) -> Path:
    """Put a file brought by hand where :func:`find_weights` finds it.

    Args:
        entry: what the file is meant to be.
        source: the file; it stays where it is.
        folder: cache folder in place of the usual one.
        check: asked before anything is copied.

    Raises:
        WeightsError: not the catalogue's file (by hash), refused by `check`, or never cached.
    """
    if entry.embedded or entry.package:
        raise WeightsError(
            f"'{entry.name}' come with a package and cannot be replaced; to use other weights, give their "
            "path in the configuration"
        )
    if not source.is_file():
        raise WeightsError(
            f"{source}: {'is a folder' if source.is_dir() else 'no such file'}; give a weight file"
        )
    if entry.proof != "unverified":
        actual, expected = sha256_of(source), entry.sha256 or entry.sha256_prefix or ""
        if not actual.startswith(expected):
            raise WeightsError(
                f"{source}: is not the published file of '{entry.name}' (sha256 {actual[:16]}..., expected "
                f"{expected[:16]}...); to use other weights, give their path in the configuration"
            )
    if check is not None:
        check(source)
    path = (folder or cache_folder()) / entry.filename
    with whole_file(path) as temporary:
        shutil.copyfile(source, temporary)
    if entry.proof == "unverified":
        _pin(path)
    return path


def _how_to_get(entry: WeightEntry) -> str:
    if entry.embedded:
        return f"the embedded weights '{entry.name}' are missing; reinstall gcm"
    if entry.package:
        return (
            f"the weights '{entry.name}' come with a package that is not installed; install it with: "
            f"{to_install(entry.extra or entry.package)}"
        )
    return (
        f"the weights '{entry.name}' ({entry.filename}) have no public address we know; get the file from "
        f"its authors ({entry.homepage}) and bring it in with: gcm fetch-weights {entry.name} --from FILE"
    )


def _accept(path: Path, check: Check | None) -> None:
    """Record a new file's hash once it has proved to be weights of the right network; else remove it."""
    if check is not None:
        try:
            check(path)
        except WeightsError as error:
            path.unlink(missing_ok=True)
            raise WeightsError(f"{error}; the download was removed") from error
    _pin(path)


def _pin_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256.json")


def _pin(path: Path) -> None:
    """Record the hash of a file whose true one nobody publishes: trust on first use."""
    with whole_file(_pin_file(path)) as temporary:
        pin = json.dumps({"file": path.name, "sha256": sha256_of(path)}) + "\n"
        temporary.write_text(pin, encoding="utf-8", newline="\n")


def _pinned(path: Path) -> str | None:
    try:
        return str(json.loads(_pin_file(path).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError):
        return None
