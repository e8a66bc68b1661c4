"""A folder of results with its matches kept in another way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gcm.benchmark.layout import CONFIG_FILE, MATCHES_FOLDER, PAIRS_FILE, TIMES_FILE, read_places
from gcm.benchmark.stores.base import MatchStore, same_matches
from gcm.benchmark.stores.opening import open_store, store_for_writing
from gcm.benchmark.stores.precision import rounded
from gcm.errors import DatasetError, OutputError, UsageError
from gcm.matches import Matches
from gcm.storage.atomic import clear_leftovers, write_if_changed
from gcm.storage.locks import only_writer
from gcm.storage.yaml_files import read_yaml

__all__ = ["StoreCopy", "convert_store"]

_BESIDE = (CONFIG_FILE, PAIRS_FILE, TIMES_FILE)


@dataclass
class StoreCopy:
    """What :func:`convert_store` did."""

    pairs: int
    kind: str
    precision: str
    skipped: int = 0
    """Copied before."""
    done: int = 0
    source_bytes: int = 0
    """Of all files with matches."""
    bytes: int = 0


def convert_store(
    source: Path,
    target: Path,
    kind: str,
    precision: str | None = None,
    *,
    on_begin: Callable[[int], object] | None = None,
    on_pair: Callable[[str], object] | None = None,
) -> StoreCopy:
    """Copy a folder of results, its matches kept in another way.

    It can be stopped and started again, and goes on where it was. In the end each pair is read back and
    compared with the source. Files of ``gcm convert`` are not copied.

    Args:
        source: folder that ``gcm extract`` wrote into.
        target: a new folder, or one that an earlier call began to fill.
        kind, precision: of the copy, as of :func:`store_for_writing`.
        on_begin: called with the number of pairs to be copied or, after that, checked.
        on_pair: called with the name of each pair, once when it has been copied and once when checked.

    Raises:
        DatasetError: the source holds no matches.
        InputError: it is damaged.
        UsageError, ConfigError, DependencyError: as :func:`store_for_writing`.
        OutputError: the copy cannot be written, is of another source, or is not as the source.
    """
    if source.resolve() == target.resolve():
        raise UsageError(f"{target}: is the folder itself; give a new one for the copy")
    origin = open_store(source)
    names = origin.names()
    if not names:
        raise DatasetError(f"{source}: holds no matches; give a folder that gcm extract wrote into")
    with only_writer(target), store_for_writing(target, kind, precision) as copy:
        _begin(source, target, copy, names)
        there = set(copy.names())
        missing = [name for name in names if name not in there or not copy.has(name)]
        report = StoreCopy(len(names), copy.kind, copy.precision, len(names) - len(missing))
        if on_begin is not None:
            on_begin(len(missing) + len(names))
        for name in missing:
            copy.save(name, origin.load(name))
            report.done += 1
            if on_pair is not None:
                on_pair(name)
        copy.settle()
        for name in names:
            _check(name, rounded(origin.load(name), copy.precision), copy)
            if on_pair is not None:
                on_pair(name)
    report.source_bytes, report.bytes = (_size(folder / MATCHES_FOLDER) for folder in (source, target))
    return report


def _begin(source: Path, target: Path, copy: MatchStore, names: list[str]) -> None:
    """Put beside the matches what lies beside those of the source."""
    strange = set(copy.names()) - set(names)
    if strange:
        raise OutputError(
            f"{target}: holds matches that {source} has not, as '{min(strange)}'; give a new folder"
        )
    theirs, ours = read_places(source), read_places(target)
    if any(theirs.get(name) != place for name, place in ours.items()) or _made_by(target) not in (
        None,
        _made_by(source),
    ):
        raise OutputError(f"{target}: holds other results than {source}; give a new folder for the copy")
    clear_leftovers([target], _BESIDE)
    for name in _BESIDE:
        if (source / name).is_file():
            write_if_changed(target / name, (source / name).read_bytes())
    copy.begin(names)


def _made_by(folder: Path) -> tuple[object, object] | None:
    """The algorithm and the configuration that a folder of results tells of."""
    file = folder / CONFIG_FILE
    told = read_yaml(file) if file.is_file() else None
    return None if told is None else (told.get("algorithm"), told.get("configuration"))


def _check(name: str, expected: Matches, copy: MatchStore) -> None:
    if not same_matches(copy.load(name), expected):
        raise OutputError(f"{name}: its copy differs from the source; remove the copy and start again")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
