"""A shard: the part of a list that one process matches, whichever machine and engine it runs on.

A shard matches into a folder of its own, ``shards/<i>-of-<n>`` in the folder of results, which is an
ordinary folder of results; at the end its results are moved to where those of one machine would be. So no
two processes write the same file, whatever file system they share, and a shard that was killed leaves a
folder that is gone on with. Locks keep a shard from being matched twice at once, which would only cost work,
and guard the moment in which its results are moved.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from gcm.benchmark.extract import Extraction, ResultsFolder, extract, results_folder
from gcm.benchmark.layout import CONFIG_FILE, describe_places, read_places
from gcm.benchmark.pairs import Pair
from gcm.benchmark.workers import Outcome
from gcm.errors import ConfigError, OutputError
from gcm.matchers import MatcherSpec
from gcm.scale.cut import Cut, cut_pairs
from gcm.scale.number import ShardNumber
from gcm.scale.results import add_results, drop_damaged, finished_names
from gcm.storage.locks import LockHeldError, exclusive_lock

__all__ = [
    "JOBS_FOLDER",
    "SHARDS_FOLDER",
    "Shard",
    "collect_shards",
    "cut_shards",
    "known_names",
    "remove_scratch",
    "run_shard",
    "shard_folders",
]

SHARDS_FOLDER = "shards"
"""Where shards are at work, in a folder of results."""
JOBS_FOLDER = "jobs"
"""In it, a cluster's scripts and logs; gone when all pairs are there."""


@dataclass(frozen=True)
class Shard:
    """Pairs that one process is to match, in this order."""

    number: ShardNumber
    pairs: tuple[Pair, ...]
    images: int
    """Different ones."""


def cut_shards(pairs: Sequence[Pair], count: int) -> tuple[list[Shard], Cut]:
    """Cut a list into shards; paths are made absolute, for a shard may be matched from another folder."""
    cut = cut_pairs(pairs, count)
    shards = [
        Shard(ShardNumber(k, count), tuple(_absolute(pairs[place]) for place in part), images)
        for k, (part, images) in enumerate(zip(cut.parts, cut.part_images, strict=True), start=1)
    ]
    return shards, cut


def _absolute(pair: Pair) -> Pair:
    paths = {key: getattr(pair, key) for key in ("image0", "image1", "homography", "mask0", "mask1")}
    return replace(pair, **{key: path and path.absolute() for key, path in paths.items()})


def run_shard(
    shard: Shard,
    spec: MatcherSpec,
    output_dir: Path,
    *,
    wait: bool = False,
    workers: int | None = None,
    at_once: int | None = None,
    store: str | None = None,
    precision: str | None = None,
    left_out: Collection[str] = (),
    listed: Sequence[Pair] = (),
    on_begin: Callable[[int], None] | None = None,
    on_pair: Callable[[Outcome], None] | None = None,
) -> Extraction:
    """Match those pairs of a shard that are not finished yet, and put them with the others.

    Args:
        shard: what to match.
        spec: the matcher and its options.
        output_dir: the folder of results, which other shards share.
        wait: wait for a process that is at this shard; otherwise raise.
        workers, at_once, store, precision, on_begin, on_pair: see :func:`gcm.benchmark.extract.extract`.
            Until its end a shard keeps a file a pair, whatever the store.
        left_out: names of pairs that are not to be tried.
        listed: the whole list, which the folder is to remember as one machine would: then
            :func:`gcm.scale.merge.merge` can tell what is missing. Only the shard's pairs unless given.

    Returns:
        What was done of this shard; `skipped` were finished before, by whichever shard.

    Raises:
        OutputError: the shard, or one of another cut, is being matched by somebody else; the folder cannot
            be written.
        ConfigError, DatasetError: the folder holds results of another configuration or of other images.
        GCMError: the matcher cannot be made.
    """
    target = results_folder(output_dir, spec, store, precision)
    own = output_dir / SHARDS_FOLDER / shard.number.folder
    with _lock(output_dir, shard.number, wait=wait):
        _refuse_other_cuts(output_dir, shard.number)
        target.check()
        target.check_pairs(shard.pairs)
        for folder in shard_folders(output_dir).values():
            _check_beside(results_folder(folder, spec))
        drop_damaged(own)
        finished = known_names(output_dir) - finished_names(own)
        excluded = {*finished, *left_out}
        pending = [pair for pair in shard.pairs if pair.name not in excluded]
        report = Extraction(len(shard.pairs))
        if pending or own.is_dir():
            match = partial(extract, workers=workers, at_once=at_once, total=len(listed or shard.pairs))
            done = match(pending, spec, own, on_begin=on_begin, on_pair=on_pair)
            report.done, report.failed = done.done, done.failed
            _collect(own, target, listed or shard.pairs)
        report.skipped = len(shard.pairs) - report.done - len(report.failed) - len({*left_out} - finished)
    report.total_seconds, report.mean_seconds = target.times()
    return report


def known_names(output_dir: Path) -> set[str]:
    """Names of all pairs finished in a folder of results, those that shards have still to themselves, too."""
    folders = (output_dir, *shard_folders(output_dir).values())
    return {name for folder in folders for name in finished_names(folder)}


def shard_folders(output_dir: Path) -> dict[ShardNumber, Path]:
    """The folders in which shards are, or were when they were stopped."""
    numbered = {
        ShardNumber.of_folder(path.name): path for path in (output_dir / SHARDS_FOLDER).glob("*-of-*")
    }
    return {number: path for number, path in numbered.items() if number is not None and path.is_dir()}


def collect_shards(target: ResultsFolder, *, discard: bool = False, busy_is_error: bool = True) -> list[str]:
    """Put what stopped shards have found with the results, and remove their folders.

    Args:
        target: the folder of results.
        discard: remove the shards with all they have found.
        busy_is_error: refuse while shards are at work; otherwise pass over those that are.

    Returns:
        Names of pairs whose results were not whole, and are to be made again.

    Raises:
        OutputError: shards are being matched there.
        ConfigError: they are of another configuration.
    """
    output_dir, damaged = target.path, []
    locks = (output_dir / SHARDS_FOLDER).glob("*-of-*.lock")
    numbers = {ShardNumber.of_folder(path.stem) for path in locks} | {*shard_folders(output_dir)}
    for number in sorted(number for number in numbers if number is not None):
        try:
            with exclusive_lock(_lock_file(output_dir, number), wait=False):
                own = output_dir / SHARDS_FOLDER / number.folder
                if discard:
                    shutil.rmtree(own, ignore_errors=True)
                elif own.is_dir():
                    results_folder(own, target.spec).check()
                    damaged += drop_damaged(own)
                    _collect(own, target, ())
        except LockHeldError as error:
            if busy_is_error:
                raise _busy(output_dir, number) from error
    with suppress(OSError):
        (output_dir / SHARDS_FOLDER).rmdir()
    return damaged


def remove_scratch(output_dir: Path) -> None:
    """Remove what a cluster's jobs left, once nobody needs their logs."""
    shutil.rmtree(output_dir / SHARDS_FOLDER / JOBS_FOLDER, ignore_errors=True)
    with suppress(OSError):  # somebody is at work
        (output_dir / SHARDS_FOLDER).rmdir()


def _collect(own: Path, target: ResultsFolder, pairs: Sequence[Pair]) -> None:
    """Move a shard's results; `pairs` are to be remembered also where they failed."""
    places = read_places(own) | describe_places(pairs)
    add_results(target, own, finished_names(own), places, move=True)
    shutil.rmtree(own, ignore_errors=True)


def _check_beside(folder: ResultsFolder) -> None:
    """Refuse to begin beside a shard of another configuration."""
    try:
        folder.check()
    except ConfigError:
        if (folder.path / CONFIG_FILE).is_file():  # otherwise it has just moved its results and is gone
            raise


@contextmanager
def _lock(output_dir: Path, number: ShardNumber, *, wait: bool) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(_lock_file(output_dir, number), wait=wait))
        except LockHeldError as error:
            raise _busy(output_dir, number) from error
        except OSError as error:
            raise OutputError(f"{output_dir}: cannot be written ({error.strerror or error})") from error
        yield
    with suppress(OSError):  # others are at work
        (output_dir / SHARDS_FOLDER).rmdir()


def _refuse_other_cuts(output_dir: Path, number: ShardNumber) -> None:
    """Shards of two cuts have pairs in common, which would be matched twice."""
    for path in (output_dir / SHARDS_FOLDER).glob("*-of-*.lock"):
        other = ShardNumber.of_folder(path.stem)
        if other is None or other.count == number.count:
            continue
        try:
            with exclusive_lock(path, wait=False):
                pass  # left by a process that was killed
        except LockHeldError as error:
            raise OutputError(
                f"{output_dir}: shard {other} is being matched there; cut into {other.count}, too, or wait"
            ) from error


def _lock_file(output_dir: Path, number: ShardNumber) -> Path:
    return output_dir / SHARDS_FOLDER / f"{number.folder}.lock"


def _busy(output_dir: Path, number: ShardNumber) -> OutputError:
    return OutputError(
        f"{output_dir}: another gcm is at shard {number} there; wait for it, or use another folder"
    )
