"""Bringing folders of results together.

All that this room knows of how a folder keeps its results stands here: which pairs it has, whether a result
is whole, and how one gets from folder to folder.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from gcm.benchmark.extract import ResultsFolder
from gcm.benchmark.layout import (
    CONFIG_FILE,
    MATCHES_FOLDER,
    Places,
    matches_name,
    name_of_matches,
    read_places,
    read_prediction,
)
from gcm.errors import ConfigError, DatasetError, OutputError
from gcm.matchers import MatcherSpec
from gcm.storage.atomic import whole_file
from gcm.storage.locks import LockHeldError, exclusive_lock
from gcm.storage.yaml_files import read_yaml

__all__ = [
    "add_results",
    "check_places",
    "damage_of",
    "differing",
    "drop_damaged",
    "finished_names",
    "results_folder",
    "spec_of",
]


def results_folder(path: Path, spec: MatcherSpec) -> ResultsFolder:
    """A folder of results, which need not be there yet, of a matcher and configuration."""
    return ResultsFolder(path, spec)


def finished_names(folder: Path) -> set[str]:
    """Names of the pairs whose matches a folder has."""
    return {name_of_matches(path) for path in (folder / MATCHES_FOLDER).glob(matches_name("*"))}


def spec_of(folder: Path) -> MatcherSpec:
    """The matcher and configuration that a folder's results were made with.

    Raises:
        ConfigError: the folder does not say.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ConfigError(f"{folder}: no folder of results, for it has no {CONFIG_FILE}")
    record = read_yaml(path)
    try:
        return MatcherSpec(str(record["algorithm"]), dict(record["configuration"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: does not say which algorithm and configuration it is of") from error


def damage_of(folder: Path, name: str) -> str | None:
    """What is wrong with a result, as after a copy that was cut short; None when it is whole."""
    try:
        read_prediction(_file(folder, name))
    except DatasetError as error:
        return str(error)
    return None


def drop_damaged(folder: Path) -> list[str]:
    """Remove results that are not whole, so that they are made again; say whose they were."""
    damaged = sorted(name for name in finished_names(folder) if damage_of(folder, name) is not None)
    for name in damaged:
        _file(folder, name).unlink(missing_ok=True)
    return damaged


def differing(folder0: Path, folder1: Path, names: Collection[str]) -> list[str]:
    """Those of the pairs, which both folders have, whose results are not the same."""
    return sorted(
        name for name in names if _file(folder0, name).read_bytes() != _file(folder1, name).read_bytes()
    )


def check_places(folder: Path, places: Places) -> None:
    """Refuse names that stand for other images in a folder.

    Raises:
        DatasetError: one does.
    """
    known = read_places(folder)
    for name in places.keys() & known.keys():
        if places[name] != known[name]:
            images = [f"{place['image0']} and {place['image1']}" for place in (known[name], places[name])]
            raise DatasetError(f"{folder}: '{name}' already stands for {images[0]}, not for {images[1]}")


def add_results(
    target: ResultsFolder,
    source: Path,
    names: Collection[str],
    places: Places,
    *,
    move: bool,
    on_added: Callable[[], None] | None = None,
) -> None:
    """Put results of another folder into one, with what is remembered of their pairs.

    May be killed at any moment and called again. Waits for others that write into the folder.

    Args:
        target: the folder that takes them, of the same configuration.
        source: the folder that has them.
        names: which; those the target has already stay as they are there.
        places: what `target` is to remember, as :func:`gcm.benchmark.layout.read_places` gives it.
        move: rather than copy; for a folder on the same file system.
        on_added: called after each.

    Raises:
        OutputError: a file cannot be written.
        ConfigError: the target is of another configuration.
        DatasetError: a name stands for other images there.
    """
    try:
        with exclusive_lock(target.path / ".lock", wait=True):
            target.check()
            check_places(target.path, places)
            try:
                target.begin_at(places)
                there = finished_names(target.path)
                new = sorted(name for name in names if name not in there)
                if new:
                    target.unsettle()
                    rows = results_folder(source, target.spec).rows()
                    # The times first: a finished pair always has one, also when killed between the two.
                    target.note_rows({name: rows[name] for name in new if name in rows})
                for name in new:
                    _bring(_file(source, name), _file(target.path, name), move=move)
                    if on_added is not None:
                        on_added()
                target.settle()
            finally:
                target.remove_without_results()
    except LockHeldError as error:  # of a file system without locks
        raise OutputError(f"{target.path}: another gcm is writing there") from error
    except OSError as error:
        raise OutputError(
            f"{error.filename or target.path}: cannot be written ({error.strerror or error})"
        ) from error


def _bring(source: Path, target: Path, *, move: bool) -> None:
    if move:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            return
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)
    if move:
        source.unlink()


def _file(folder: Path, name: str) -> Path:
    return folder / MATCHES_FOLDER / matches_name(name)
