"""HPatches: the archive, the unpacked release, and the organised layout that benchmarks read.

Source: Balntas, Lenc, Vedaldi, Mikolajczyk, HPatches: a benchmark and evaluation of handcrafted and learned
local descriptors, CVPR 2017. The eight sequences with images over 1600 x 1200 are left out by convention
(D2-Net, Dusmanu et al., CVPR 2019).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath

from gcm.benchmark.layout import PAIR_LIST, SEQUENCE_FILES, SUBSETS
from gcm.benchmark.pairs import read_homography
from gcm.errors import DatasetError, DownloadError, GCMError, OutputError, UsageError
from gcm.storage.archives import Progress, extract_archive
from gcm.storage.atomic import clear_leftovers, whole_file, write_if_changed
from gcm.storage.download import download_file, offline

__all__ = [
    "HIGH_RESOLUTION",
    "SEQUENCES",
    "Link",
    "OrganiseReport",
    "fetch_hpatches",
    "is_complete",
    "organise_hpatches",
    "unpack_hpatches",
]

HIGH_RESOLUTION = frozenset(
    {
        "i_contruction",
        "i_crownnight",
        "i_dc",
        "i_pencils",
        "i_whitebuilding",
        "v_artisans",
        "v_astronautis",
        "v_talent",
    }
)
"""Left out by convention."""

_ILLUMINATION = """
ajuntament autannes bologna books boutique bridger brooklyn castle chestnuts crownday dome duda fenis fog
fruits gonnenberg greenhouse greentea indiana kions ktirio kurhaus leuven lionday lionnight londonbridge
melon miniature nescafe nijmegen nuts objects parking partyfood pinard pool porta resort salon santuario
school ski smurf steps table tools toy troulos veggies village yellowtent zion
"""
_VIEWPOINT = """
abstract adam apprentices azzola bark bees beyus bip bird birdwoman blueprint boat bricks busstop calder
cartooncity charing churchill circus coffeehouse colors courses dirtywall dogman eastsouth feast fest
gardens grace graffiti home laptop london machines man maskedman pomegranate posters samples soldiers
strand sunseason tabletop tempera there underground vitro wall wapping war weapons woman wormhole wounded
yard yuri
"""

SEQUENCES = tuple(
    [f"i_{name}" for name in _ILLUMINATION.split()] + [f"v_{name}" for name in _VIEWPOINT.split()]
)
"""The 108 sequences of the benchmark, sorted."""

_SEQUENCE_NAME = re.compile(r"[iv]_\w+")
_UNPACKED_RECORD = ".unpacked.json"
"""Says which archive a folder was unpacked from."""


@dataclass(frozen=True)
class Source:
    """One place the release can be had from."""

    filename: str
    urls: tuple[str, ...]
    sha256: str | None = None
    size: int | None = None


SOURCES = (
    Source(
        "hpatches-sequences-release.zip",
        ("https://huggingface.co/datasets/vbalnt/hpatches/resolve/main/hpatches-sequences-release.zip",),
        "99cf7e1ca167896eb4ca2fe3d903beff6566243a3c0c8e07a13a2596648ad670",
        1279545572,
    ),
    # The original server, often down; nobody has published a hash of this file.
    Source(
        "hpatches-sequences-release.tar.gz",
        (
            "http://icvl.ee.ic.ac.uk/vbalnt/hpatches/hpatches-sequences-release.tar.gz",
            "http://www.iis.ee.ic.ac.uk/~vbalnt/hpatches/hpatches-sequences-release.tar.gz",
        ),
    ),
)
"""Tried in order."""


class Link(str, Enum):
    """How files get from the release into the organised layout."""

    COPY = "copy"
    HARD = "hard"
    SYMBOLIC = "symbolic"


# -- from the archive --------------------------------------------------------------------------


def fetch_hpatches(
    folder: Path,
    *,
    sources: Sequence[Source] = SOURCES,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Download the archive into `folder`; go on with a partial one; return where it lies.

    Raises:
        DownloadError: no source served it.
    """
    reasons = []
    for source in sources:
        target = folder / source.filename
        if offline() and not target.is_file():
            continue
        try:
            return download_file(
                source.urls, target, sha256=source.sha256, size=source.size, on_progress=on_progress
            )
        except DownloadError as error:
            reasons.append(str(error))
    why = "; ".join(reasons) or f"GCM_OFFLINE=1 forbids to download it, and it does not lie in {folder}"
    raise DownloadError(f"HPatches: {why}; an archive fetched elsewhere can be given with --archive")


def unpack_hpatches(archive: Path, destination: Path, *, on_progress: Progress | None = None) -> list[str]:
    """Unpack the benchmark's members of an archive to `destination`/<sequence>/<file>.

    Returns:
        The complete sequences now in `destination`, sorted.

    Raises:
        DatasetError: not an archive, unsafe, damaged, or without any sequence.
        OutputError: the files cannot be written.
    """
    record = destination / _UNPACKED_RECORD
    content = (
        json.dumps({"archive": archive.name, "bytes": archive.stat().st_size if archive.is_file() else None})
        + "\n"
    )
    if record.is_file() and record.read_text(encoding="utf-8") == content and complete_sequences(destination):
        return complete_sequences(destination)
    clear_leftovers(destination.glob("*"), SEQUENCE_FILES)
    extract_archive(archive, destination, _member_target, on_progress=on_progress)
    sequences = complete_sequences(destination)
    if not sequences:
        raise DatasetError(f"{archive}: holds no HPatches sequence (folders i_* and v_* with 1.ppm .. 6.ppm)")
    write_if_changed(record, content.encode(), alone=True)
    return sequences


def _member_target(path: PurePosixPath) -> PurePosixPath | None:
    """Where a member goes; None for what the benchmark does not need."""
    if len(path.parts) < 2 or "__MACOSX" in path.parts:
        return None
    sequence, name = path.parts[-2:]
    if not _SEQUENCE_NAME.fullmatch(sequence) or sequence in HIGH_RESOLUTION or name not in SEQUENCE_FILES:
        return None
    return PurePosixPath(sequence, name)


def complete_sequences(folder: Path) -> list[str]:
    """Names of the benchmark's sequences whose eleven files lie in `folder`, sorted."""
    return sorted(
        entry.name
        for entry in _sequence_folders(folder)
        if entry.name not in HIGH_RESOLUTION and not _missing_files(entry)
    )


def is_complete(folder: Path) -> bool:
    """Whether `folder` holds all 108 sequences."""
    return set(SEQUENCES) <= set(complete_sequences(folder))


def _sequence_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        entry for entry in folder.iterdir() if _SEQUENCE_NAME.fullmatch(entry.name) and entry.is_dir()
    )


def _missing_files(sequence: Path) -> list[str]:
    return [name for name in SEQUENCE_FILES if not (sequence / name).is_file()]


# -- the organised layout ----------------------------------------------------------------------


@dataclass
class OrganiseReport:
    """What :func:`organise_hpatches` did and found."""

    pairs: int = 0
    """Lines of the pair list."""
    sequences: list[str] = field(default_factory=list)
    """In the organised folder now, sorted."""
    left_out: list[str] = field(default_factory=list)
    """High-resolution sequences of the source, left out by convention."""
    faulty: dict[str, str] = field(default_factory=dict)
    """Sequences of the source that are incomplete or damaged, and why; left out."""
    missing: list[str] = field(default_factory=list)
    """Sequences of the full benchmark that are not there."""
    written: int = 0
    """Files that were copied or linked in this call."""


def organise_hpatches(
    source: Path,
    destination: Path,
    *,
    link: Link = Link.COPY,
    on_progress: Callable[[int, int], None] | None = None,
) -> OrganiseReport:
    """Bring an unpacked release, whole or in part, into the layout that benchmarks read.

    ``<destination>/{illumination,viewpoint}/<seq>/<seq>_1.ppm``, ``<seq>_H_1_2`` and so on, and
    ``<destination>/image_pairs.txt`` that lists all pairs of the sequences there. Every image is decoded and
    every homography checked on its way. What is in place already is left alone.

    Args:
        source: folder with ``i_*`` and ``v_*`` folders, or one that holds ``hpatches-sequences-release``.
        destination: folder to organise into; made if need be.
        link: copy, or link in place of copying.
        on_progress: called with sequences done and in all.

    Raises:
        UsageError: `source` and `destination` are one folder, or one lies in the other.
        DatasetError: no sequence in `source`.
        OutputError: files cannot be written or linked.
    """
    folders = _sequence_folders(source) or _sequence_folders(source / "hpatches-sequences-release")
    if not folders:
        reason = "holds no HPatches sequences (folders i_* and v_*)" if source.is_dir() else "no such folder"
        raise DatasetError(f"{source}: {reason}; unpack the release there, or run 'gcm download'")
    _refuse_overlap(folders[0].parent, destination)
    report = OrganiseReport()
    report.left_out = [folder.name for folder in folders if folder.name in HIGH_RESOLUTION]
    folders = [folder for folder in folders if folder.name not in HIGH_RESOLUTION]
    for done, folder in enumerate(folders):
        if on_progress is not None:
            on_progress(done, len(folders))
        try:
            report.written += _organise_sequence(folder, destination, link)
        except OutputError:
            raise
        except GCMError as error:
            report.faulty[folder.name] = str(error)
    if on_progress is not None:
        on_progress(len(folders), len(folders))
    report.sequences = _organised_sequences(destination)
    report.missing = sorted(set(SEQUENCES) - set(report.sequences))
    lines = [_pair_line(name, k) for name in report.sequences for k in range(2, 7)]
    report.pairs = len(lines)
    if lines:
        write_if_changed(destination / PAIR_LIST, "".join(lines).encode(), alone=True)
    return report


def _refuse_overlap(source: Path, destination: Path) -> None:
    """Keep the organised files out of the release, and the release out of the organised folder.

    Raises:
        UsageError: both are one folder, or one lies in the other.
    """
    source_path, destination_path = source.resolve(), destination.resolve()
    if source_path in (destination_path, *destination_path.parents):
        relation = "is" if source_path == destination_path else "lies in"
        raise UsageError(
            f"{destination}: {relation} the folder of the release ({source}); "
            "give another folder for the organised files"
        )
    if destination_path in source_path.parents:
        raise UsageError(
            f"{destination}: holds the release ({source}); give another folder for the organised files"
        )


def _organise_sequence(folder: Path, destination: Path, link: Link) -> int:
    missing = _missing_files(folder)
    if missing:
        raise DatasetError(f"{folder}: lacks {', '.join(missing)}")
    target = destination / SUBSETS[folder.name[0]] / folder.name
    targets = {name: target / f"{folder.name}_{name}" for name in SEQUENCE_FILES}
    pending = [name for name in SEQUENCE_FILES if not _is_in_place(folder / name, targets[name])]
    if not pending:
        return 0
    clear_leftovers([target], [path.name for path in targets.values()])
    for name in SEQUENCE_FILES:
        _check_readable(folder / name)
    for name in pending:
        _copy_or_link(folder / name, targets[name], link)
    return len(pending)


def _is_in_place(source: Path, target: Path) -> bool:
    """Whether `target` is already what `source` would become: a link to it, or a copy as old and as long."""
    if not target.is_file():
        return False
    old, new = source.stat(), target.stat()
    return target.samefile(source) or (old.st_size, old.st_mtime_ns) == (new.st_size, new.st_mtime_ns)


def _check_readable(path: Path) -> None:
    if path.suffix == ".ppm":
        from gcm.images.files import load_image

        load_image(path)
    else:
        read_homography(path)


def _copy_or_link(source: Path, target: Path, link: Link) -> None:
    if link is Link.COPY:
        if target.is_symlink():
            target.unlink()  # or the file behind it would be replaced
        with whole_file(target) as temporary:
            shutil.copyfile(source, temporary)
            times = source.stat()
            os.utime(temporary, ns=(times.st_atime_ns, times.st_mtime_ns))
        return
    # Not by `whole_file`, which makes the file it yields.
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if link is Link.HARD:
            temporary.hardlink_to(source.resolve())
        else:
            temporary.symlink_to(source.resolve())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"{target}: no {link.value} link possible ({error.strerror}); copy instead, without --link"
        ) from error


def _organised_sequences(destination: Path) -> list[str]:
    return sorted(
        folder.name
        for subset in SUBSETS.values()
        for folder in _sequence_folders(destination / subset)
        if folder.name not in HIGH_RESOLUTION
        and all((folder / f"{folder.name}_{name}").is_file() for name in SEQUENCE_FILES)
    )


def _pair_line(name: str, k: int) -> str:
    start = f"{SUBSETS[name[0]]}/{name}/{name}"
    return f"{start}_1.ppm {start}_{k}.ppm {start}_H_1_{k}\n"
