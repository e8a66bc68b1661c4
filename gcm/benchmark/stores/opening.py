"""Which store a folder of results has."""

from __future__ import annotations

import json
from pathlib import Path

from gcm.benchmark.layout import MATCHES_FOLDER, matches_name
from gcm.benchmark.stores.base import STORES, MatchStore
from gcm.benchmark.stores.npz import NpzStore
from gcm.benchmark.stores.packed import RECORD, PackedStore, part_files
from gcm.benchmark.stores.parts import PartFormat
from gcm.benchmark.stores.precision import FULL, PRECISIONS
from gcm.errors import ConfigError, InputError, UsageError, did_you_mean
from gcm.storage.atomic import remove_files

__all__ = ["clear_store", "open_store", "store_for_writing"]


def _read_record(folder: Path) -> tuple[str, str]:
    """Kind and precision of the store in a folder; npz where nothing is said, and no part lies there."""
    path = folder / RECORD
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        kind, precision, form = told["store"], told["precision"], told["format"]
    except (FileNotFoundError, NotADirectoryError):
        if part_files(folder):
            raise InputError(
                f"{path}: is missing, which says what lies beside it; extract with --overwrite"
            ) from None
        return "npz", FULL
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}); extract with --overwrite") from error
    if form != 1 or kind not in STORES or precision not in PRECISIONS:
        raise InputError(f"{path}: of another version of gcm ({kind}, {precision}, format {form})")
    return kind, precision


def open_store(output_dir: Path, *, mend: bool = False) -> MatchStore:
    """The store of a folder of results, of whatever kind; an empty one where there is none.

    Args:
        output_dir: folder that ``gcm extract`` wrote into.
        mend: what is damaged counts as missing, to be matched again; otherwise it raises InputError.

    Raises:
        InputError: its record is damaged.
        DependencyError: it needs a package that is not installed.
    """
    folder = output_dir / MATCHES_FOLDER
    return _make(folder, *_read_record(folder), mend=mend)


def store_for_writing(
    output_dir: Path, kind: str | None = None, precision: str | None = None, *, overwrite: bool = False
) -> MatchStore:
    """The store of a folder of results that more is to be saved to, or a new one.

    Args:
        output_dir: the folder; it need not exist.
        kind: one of :data:`STORES`; what the folder has, else npz, unless given.
        precision: one of :data:`PRECISIONS`; what the folder has, else float64, unless given.
        overwrite: what the folder has is to go first, so it may be of another kind.

    Raises:
        UsageError: unknown kind or precision, or npz in less than float64.
        ConfigError: the folder has another store.
        InputError, DependencyError: as :func:`open_store`.
    """
    for option, value, known in (("store", kind, STORES), ("precision", precision, PRECISIONS)):
        if value is not None and value not in known:
            raise UsageError(f"no {option} '{value}'{did_you_mean(value, known)}; known: {', '.join(known)}")
    folder = output_dir / MATCHES_FOLDER
    has_kind, has_precision = ("npz", FULL) if overwrite else _read_record(folder)
    store = _make(folder, has_kind, has_precision, mend=True)
    if overwrite or not ((folder / RECORD).is_file() or store.names()):  # nothing there to agree with
        kind, precision = kind or "npz", precision or FULL
    elif (kind or has_kind, precision or has_precision) != (has_kind, has_precision):
        raise ConfigError(
            f"{output_dir}: keeps matches as {has_kind} in {has_precision}, not as {kind or has_kind} in "
            f"{precision or has_precision}; use another folder, or convert this one with 'gcm store'"
        )
    else:
        return store
    if kind == "npz" and precision != FULL:
        raise UsageError(f"npz keeps positions as {FULL}; for {precision} use the store h5 or parquet")
    return _make(folder, kind, precision, mend=True)


def clear_store(output_dir: Path) -> None:
    """Remove all matches of a folder of results, of whatever store.

    Raises:
        OutputError: a file cannot be removed.
    """
    folder = output_dir / MATCHES_FOLDER
    # What says what they are goes last.
    remove_files([*folder.glob(matches_name("*")), *part_files(folder), folder / RECORD])


def _make(folder: Path, kind: str, precision: str, *, mend: bool) -> MatchStore:
    if kind == "npz":
        return NpzStore(folder)
    form: PartFormat
    if kind == "h5":
        from gcm.benchmark.stores.hdf5 import Hdf5Format

        form = Hdf5Format()
    else:
        from gcm.benchmark.stores.parquet import ParquetFormat

        form = ParquetFormat()
    return PackedStore(folder, form, precision, mend=mend)
