"""Unpacking archives from the internet without trusting them."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import IO

from gcm.errors import DatasetError, OutputError
from gcm.storage.archive_errors import ARCHIVE_ERRORS, archive_error, is_stream_damage, unknown_archive_error
from gcm.storage.atomic import whole_file
from gcm.storage.disk import disk_shortage, is_disk_full, megabytes

__all__ = ["extract_archive"]

MEMBER_LIMIT = 256 << 20
"""Bytes a single member may unpack to."""
TOTAL_LIMIT = 16 << 30
"""Bytes all members together may unpack to."""
COUNT_LIMIT = 100_000
_BLOCK = 1 << 20

ChooseTarget = Callable[[PurePosixPath], PurePosixPath | None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Member:
    path: str
    size: int
    is_file: bool
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


def extract_archive(
    archive: Path, destination: Path, choose_target: ChooseTarget, *, on_progress: Progress | None = None
) -> int:
    """Unpack the wanted members of a zip or tar (.gz, .xz, .bz2) archive.

    Files that are already there with the right length are kept, so that an interrupted call goes on; each
    file is written whole or not at all. Only plain files come out: an archive whose wanted members climb out
    of their folder, or are links or devices, is refused.

    Args:
        archive: the file; its kind is told from its content.
        destination: folder to unpack into.
        choose_target: given a member's path, where it goes below `destination`, or None to leave it out.
        on_progress: called with bytes of the archive done and in all.

    Returns:
        How many files were written.

    Raises:
        DatasetError: not an archive, damaged, unsafe, or there is no room for it.
        OutputError: the files cannot be written.
    """
    if not archive.is_file():
        reason = "is a folder; give the archive itself" if archive.is_dir() else "no such archive"
        raise DatasetError(f"{archive}: {reason}")
    written: list[Path] = []
    listed: list[_Member] = []
    try:
        with ExitStack() as stack:
            listed, members = _open(archive, stack)
            to_write = sum(m.size for m in listed if _pending_target(m, destination, choose_target))
            _check_space(destination, to_write)
            unpacked = 0
            for count, (member, done, archive_size) in enumerate(members):
                unpacked += member.size
                if count > COUNT_LIMIT or unpacked > TOTAL_LIMIT:
                    raise DatasetError(f"{archive}: unpacks to more than any data set does; not unpacked")
                target = _pending_target(member, destination, choose_target)
                if target is not None:
                    _check_member(archive, member)
                    # Of a tar, the length of what is still packed stands for what it unpacks to.
                    remaining = to_write if listed else max(member.size, archive_size - done)
                    _check_space(target.parent, member.size, remaining)
                    _write(archive, member, target, remaining)
                    written.append(target)
                    to_write -= member.size
                if on_progress is not None:
                    on_progress(done, archive_size)
    except (DatasetError, *ARCHIVE_ERRORS) as error:
        if not listed and is_stream_damage(error):
            for target in written:
                target.unlink(missing_ok=True)
        if isinstance(error, DatasetError):
            raise
        raise archive_error(archive, error) from error
    return len(written)


def _pending_target(member: _Member, destination: Path, choose_target: ChooseTarget) -> Path | None:
    """Where a member is to be written; None when it is left out, or there already."""
    path = PurePosixPath(member.path)
    relative = choose_target(path) if path.parts and not member.is_folder else None
    if relative is None:
        return None
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"{relative} lies outside the destination")
    target = destination / relative
    return None if target.is_file() and target.stat().st_size == member.size else target


def _check_member(archive: Path, member: _Member) -> None:
    """Refuse a member that is not a plain file of sensible size at a sensible place."""
    path = PurePosixPath(member.path)
    if path.is_absolute() or ".." in path.parts or "\\" in member.path or ":" in path.parts[0]:
        raise DatasetError(f"{archive}: '{member.path}' points out of the archive; not unpacked")
    if not member.is_file:
        raise DatasetError(f"{archive}: '{member.path}' is a link or device, not a file; not unpacked")
    if member.size > MEMBER_LIMIT:
        raise DatasetError(f"{archive}: '{member.path}' is too large ({member.size} bytes); not unpacked")


def _write(archive: Path, member: _Member, target: Path, remaining: int) -> None:
    if target.is_symlink() or target.parent.is_symlink():
        raise OutputError(f"{target}: is, or lies behind, a symbolic link; remove it first")
    try:
        with whole_file(target) as temporary, temporary.open("wb") as out:
            done = 0
            for block in _content(archive, member):
                done += len(block)
                if done > member.size:
                    raise DatasetError(f"{archive}: '{member.path}' is longer than it says; not unpacked")
                out.write(block)
            if done != member.size:
                raise DatasetError(f"{archive}: '{member.path}' is cut short; fetch the archive again")
    except OutputError as error:
        if not is_disk_full(error.__cause__):
            raise
        raise OutputError(
            f"{target}: the disk is full; about {megabytes(remaining)} are still needed; "
            "free some space or choose another folder"
        ) from error


def _content(archive: Path, member: _Member) -> Iterator[bytes]:
    """What a member unpacks to, in blocks.

    Raises:
        DatasetError: it cannot be unpacked.
    """
    try:
        source = member.open()
        if source is None:
            raise DatasetError(f"{archive}: '{member.path}' cannot be read")
        with source:
            while block := source.read(_BLOCK):
                yield block
    except ARCHIVE_ERRORS as error:
        raise archive_error(archive, error, member.path) from error


def _open(archive: Path, stack: ExitStack) -> tuple[list[_Member], Iterator[tuple[_Member, int, int]]]:
    """The members as far as they can be known without reading all, and the way through all of them.

    The latter gives each member with the bytes of the archive passed with it and in all.
    """
    if zipfile.is_zipfile(archive):
        bundle = stack.enter_context(zipfile.ZipFile(archive))
        listed = [_zip_member(bundle, info) for info in bundle.infolist()]
        return listed, _through_zip(bundle, listed)
    raw = stack.enter_context(archive.open("rb"))
    try:
        tar = stack.enter_context(tarfile.open(fileobj=raw, mode="r:*"))  # noqa: SIM115
    except tarfile.TarError as error:
        raise unknown_archive_error(archive) from error
    return [], _through_tar(tar, raw, archive.stat().st_size)


def _zip_member(bundle: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
    return _Member(info.filename, info.file_size, plain, info.is_dir(), partial(bundle.open, info))


def _through_zip(bundle: zipfile.ZipFile, members: list[_Member]) -> Iterator[tuple[_Member, int, int]]:
    sizes = [info.compress_size for info in bundle.infolist()]
    for member, done in zip(members, accumulate(sizes), strict=True):
        yield member, done, sum(sizes)


def _through_tar(
    tar: tarfile.TarFile, raw: IO[bytes], archive_size: int
) -> Iterator[tuple[_Member, int, int]]:
    for info in tar:
        # A sparse member may claim far more than it holds.
        plain = info.isreg() and not info.issparse()
        yield (
            _Member(info.name, info.size, plain, info.isdir(), partial(tar.extractfile, info)),
            raw.tell(),
            archive_size,
        )
    _check_end(tar)


def _check_end(tar: tarfile.TarFile) -> None:
    """Make sure that a tar was read to its end: tarfile takes a damaged header in the middle for the end.

    Raises:
        EOFError: the tar is cut short.
        tarfile.ReadError: a header is damaged.
        gzip.BadGzipFile, ...: the checksum at the end of a compressed stream does not agree.
    """
    stream = tar.fileobj
    if stream is None:
        return
    stream.seek(tar.offset)
    block = stream.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise EOFError
    if any(block):
        raise tarfile.ReadError("a damaged header")
    while stream.read(_BLOCK):
        pass


def _check_space(folder: Path, needed: int, remaining: int | None = None) -> None:
    shortage = disk_shortage(folder, needed, remaining)
    if shortage is not None:
        raise DatasetError(f"{folder}: unpacking {shortage}")
