"""Folders of results to one, as they come from machines that share no folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath

from gcm.benchmark.extract import results_folder
from gcm.benchmark.layout import CONFIG_FILE, read_places, same_pair
from gcm.benchmark.pairs import Pair
from gcm.benchmark.stores import open_store
from gcm.errors import DatasetError, UsageError
from gcm.scale.results import (
    add_results,
    damaged_results,
    differing,
    drop_damaged,
    finished_names,
    spec_of,
)
from gcm.scale.shards import collect_shards, shard_folders

__all__ = ["Merged", "merge"]


@dataclass
class Merged:
    """What :func:`merge` did."""

    folders: int
    """That results came from, shards counted one by one."""
    pairs: int = 0
    """That the folder has now."""
    copied: int = 0
    there: int = 0
    """Results of the other folders that the folder had already."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Results that were not whole and left out, by pair, and what is wrong."""
    missing: list[str] = field(default_factory=list)
    """Pairs that some folder, or the list, names and none has a result of."""


def merge(
    output_dir: Path,
    inputs: Sequence[Path],
    *,
    pairs: Sequence[Pair] | None = None,
    on_begin: Callable[[int], None] | None = None,
    on_copied: Callable[[], None] | None = None,
) -> Merged:
    """Copy the results of folders into one; may be stopped at any moment and started again.

    Nothing is copied before everything has been found to fit together. The other folders stay as they are,
    those in which shards were stopped included; shards in `output_dir` itself are put with its results.

    Args:
        output_dir: the folder that is to have all results.
        inputs: folders that ``gcm extract`` wrote into, with or without ``--shard``; none to put together
            only what shards have left in `output_dir`.
        pairs: the whole list; what is missing of it is told. Otherwise of what the folders know.
        on_begin: called with the number of results that are to be copied.
        on_copied: called after each.

    Raises:
        UsageError: no folder of results is given.
        ConfigError: the folders are of different configurations.
        DatasetError: a name stands for different images, or a pair has different results.
        OutputError: the folder cannot be written, or shards are being matched in it.
    """
    sources = [folder for path in inputs for folder in _folders(path, output_dir)]
    first = [output_dir] if (output_dir / CONFIG_FILE).is_file() else []
    known = first + sources + list(shard_folders(output_dir).values())
    if not known:
        raise UsageError(f"{output_dir}: no results there to put together; name the folders that have some")
    spec = spec_of(known[0])
    for folder in known:
        results_folder(folder, spec).check(like=known[0])
    merged = Merged(len(sources) + len(shard_folders(output_dir)))
    first_store = open_store(known[0], mend=True)  # of several kinds, the first one's
    target = results_folder(output_dir, spec, first_store.kind, first_store.precision)
    collect_shards(target)
    places = _places([output_dir, *sources])
    whole = _check(output_dir, sources, merged)
    if on_begin is not None:
        on_begin(sum(len(whole[folder]) for folder in sources))
    drop_damaged(output_dir)
    for folder in sources:
        add_results(target, folder, whole[folder], places[folder], move=False, on_added=on_copied)
        merged.copied += len(whole[folder])
    finished = finished_names(output_dir)
    merged.pairs = len(finished)
    wanted = {pair.name for pair in pairs or ()}
    if pairs is None:
        wanted = {name for told in places.values() for name in told}
    merged.missing = sorted(wanted - finished)
    return merged


def _folders(path: Path, output_dir: Path) -> list[Path]:
    """A folder's own results and those of shards in it."""
    if not path.is_dir():
        raise DatasetError(f"{path}: no such folder of results")
    if path.resolve() == output_dir.resolve():
        raise UsageError(f"{path}: is the folder that the others are to be merged into; leave it out")
    own = [path] if (path / CONFIG_FILE).is_file() else []
    folders = own + [folder for _, folder in sorted(shard_folders(path).items())]
    if not folders:
        raise DatasetError(f"{path}: no folder of results, for it has neither a {CONFIG_FILE} nor shards")
    return folders


def _check(output_dir: Path, sources: Sequence[Path], merged: Merged) -> dict[Path, set[str]]:
    """The names of each folder's whole results, the first folder's that has a pair.

    Refuses folders whose results contradict each other.
    """
    whole: dict[Path, set[str]] = {}
    owners: dict[str, Path] = {}
    for folder in (output_dir, *sources):
        damaged = damaged_results(folder)
        merged.damaged |= damaged
        names = finished_names(folder) - damaged.keys()
        doubled: dict[Path, list[str]] = {}
        for name in names & owners.keys():
            doubled.setdefault(owners[name], []).append(name)
        for other, shared in doubled.items():
            conflicts = differing(other, folder, shared)
            if conflicts:
                raise DatasetError(
                    f"{folder}: {len(conflicts)} of its results are not those of {other}, beginning with "
                    f"'{conflicts[0]}'; remove what is not wanted"
                )
        merged.there += sum(map(len, doubled.values()))
        whole[folder] = names - owners.keys()
        owners |= dict.fromkeys(whole[folder], folder)
    # What is whole in one folder is not missed in another.
    merged.damaged = {name: damage for name, damage in merged.damaged.items() if name not in owners}
    return whole


def _places(folders: Sequence[Path]) -> dict[Path, dict[str, dict[str, str]]]:
    """What names stand for in each folder of results, as the first folder that knows them says.

    Refuses folders that contradict each other.
    """
    known: dict[str, dict[str, str]] = {}
    told = {}
    for folder in folders:
        told[folder] = _as_known(read_places(folder), known)
        for name, place in told[folder].items():
            if not same_pair(known.setdefault(name, place), place):
                raise DatasetError(
                    f"{folder}: '{name}' stands for {place['image0']} and {place['image1']} there, and for "
                    f"{known[name]['image0']} and {known[name]['image1']} in another folder"
                )
    return told


def _as_known(
    places: dict[str, dict[str, str]], known: dict[str, dict[str, str]]
) -> dict[str, dict[str, str]]:
    """What names stand for in one folder of results, said as others say it.

    On another machine the same photos may lie elsewhere: of the names that both know, the folders in which
    all images lie are each one's own.
    """
    shared = places.keys() & known.keys()
    theirs, ours = (_common_folders([said[name] for name in shared]) for said in (places, known))
    renamed = dict(zip(theirs, ours, strict=False))

    def moved(image: str) -> str:
        parts = PurePosixPath(image).parts
        return "/".join((*ours, *parts[len(theirs) :])) if parts[: len(theirs)] == theirs else image

    return {
        name: place
        | {key: moved(place[key]) for key in ("image0", "image1")}
        | {key: renamed.get(place[key], place[key]) for key in ("subset", "sequence")}  # names of folders
        for name, place in places.items()
    }


def _common_folders(places: Sequence[dict[str, str]]) -> tuple[str, ...]:
    """The folders that all images lie in."""
    folders = [PurePosixPath(place[key]).parts[:-1] for place in places for key in ("image0", "image1")]
    same = takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False))
    return tuple(names[0] for names in same)
