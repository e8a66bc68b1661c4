"""Bringing folders of results together.

All that this room knows of how a folder keeps its results stands here: which pairs it has, whether a result
is whole, and how one gets from folder to folder.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from gcm.benchmark.extract import ResultsFolder, results_folder
from gcm.benchmark.layout import CONFIG_FILE, MATCHES_FOLDER, Places, read_places, same_pair
from gcm.benchmark.predictions import extracted_prediction
from gcm.benchmark.stores import MatchStore, NpzStore, open_store, same_matches
from gcm.errors import ConfigError, DatasetError, OutputError
from gcm.matchers import MatcherSpec
from gcm.storage.atomic import whole_file
from gcm.storage.locks import LockHeldError, exclusive_lock
from gcm.storage.yaml_files import read_yaml

__all__ = [
    "add_results",
    "check_places",
    "damaged_results",
    "differing",
    "drop_damaged",
    "finished_names",
    "spec_of",
]


def finished_names(folder: Path) -> set[str]:
    """Names of the pairs whose matches a folder has."""
    return set(open_store(folder, mend=True).names())


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


def damaged_results(folder: Path) -> dict[str, str]:
    """The results that are not whole, as after a copy that was cut short, and what is wrong with each."""
    damaged = {}
    with open_store(folder, mend=True) as store:
        for name in store.names():
            try:
                extracted_prediction(store, name)
            except DatasetError as error:
                damaged[name] = str(error)
    return damaged


def drop_damaged(folder: Path) -> list[str]:
    """Remove results that are not whole, so that they are made again; say whose they were."""
    damaged = list(damaged_results(folder))
    if damaged:
        # Whatever the store, only a file of one pair can be damaged and still be known by the pair's name.
        NpzStore(folder / MATCHES_FOLDER).remove(damaged)
    return damaged


def differing(folder0: Path, folder1: Path, names: Collection[str]) -> list[str]:
    """Those of the pairs, which both folders have, whose results are not the same."""
    with open_store(folder0) as store0, open_store(folder1) as store1:
        return sorted(name for name in names if not same_matches(store0.load(name), store1.load(name)))


def check_places(folder: Path, places: Places) -> None:
    """Refuse names that stand for other images in a folder.

    Raises:
        DatasetError: one does.
    """
    known = read_places(folder)
    for name in places.keys() & known.keys():
        if not same_pair(places[name], known[name]):  # results tell other files apart
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
                there = set(target.store.names())
                new = sorted(name for name in names if name not in there)
                if new:
                    target.unsettle()
                    rows = results_folder(source, target.spec).rows()
                    # The times first: a finished pair always has one, also when killed between the two.
                    target.note_rows({name: rows[name] for name in new if name in rows})
                with open_store(source) as origin:
                    for name in new:
                        _bring(origin, target.store, name, move=move)
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


def _bring(source: MatchStore, target: MatchStore, name: str, *, move: bool) -> None:
    if not (isinstance(source, NpzStore) and isinstance(target, NpzStore)):
        target.save(name, source.load(name))
        return
    old, new = source.path(name), target.path(name)
    if move:
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            old.replace(new)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            return
    with whole_file(new) as temporary:
        shutil.copyfile(old, temporary)
    if move:
        old.unlink()
