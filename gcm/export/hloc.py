"""hloc: keypoints and matches in HDF5 files, and a list of pairs.

The layout is that of Hierarchical-Localization (Sarlin et al., CVPR 2019), read by its triangulation and
localisation. Numbers are float32 and int32, where hloc's own writer rounds to half precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcm.errors import DependencyError, OutputError, to_install
from gcm.scene.photos import Photo, as_stored
from gcm.scene.tracks import FEWEST_SHARED, Tracks
from gcm.storage.atomic import whole_file
from gcm.storage.disk import try_room

__all__ = ["FEATURES_FILE", "MATCHES_FILE", "PAIRS_FILE", "HlocSummary", "write_hloc"]

FEATURES_FILE = "features.h5"
MATCHES_FILE = "matches.h5"
PAIRS_FILE = "pairs.txt"

_UNCERTAINTY = 1.0
"""Pixels; what hloc takes for the precision of a keypoint."""

_HEAD = 8192
"""Bytes that HDF5 takes for a group and its arrays, at most, besides their numbers."""


@dataclass(frozen=True)
class HlocSummary:
    """What was written."""

    photos: int
    keypoints: int
    pairs: int


def write_hloc(
    folder: Path,
    photos: Sequence[Photo],
    tracks: Tracks,
    *,
    overwrite: bool = False,
    fewest: int = FEWEST_SHARED,
) -> HlocSummary:
    """Write ``features.h5``, ``matches.h5`` and ``pairs.txt`` into a folder.

    Args:
        folder: made where it is missing.
        photos: all photos; a name with a space is not for hloc's lists.
        tracks: their points.
        overwrite: replace files that are there.
        fewest: points that a pair must share.

    Raises:
        OutputError: a file is there already or cannot be written, or a name that hloc cannot take.
        DependencyError: h5py is missing.
    """
    h5py = _load_h5py()
    files = [folder / name for name in (FEATURES_FILE, MATCHES_FILE, PAIRS_FILE)]
    for file in files:
        if file.exists() and not overwrite:
            raise OutputError(f"{file}: is there already; give another folder, or --overwrite to replace it")
    for photo in photos:
        if any(letter.isspace() for letter in photo.name):
            raise OutputError(f"'{photo.name}': hloc's lists part names by spaces; rename the photo")
    names = [photo.name for photo in photos]
    pairs = list(tracks.pairs(fewest))
    lengths = [len(points) for points in tracks.positions]
    with ExitStack() as all_or_none:
        lists = all_or_none.enter_context(whole_file(files[2]))
        lines = [f"{names[i]} {names[j]}\n" for i, j, _ in pairs]
        lists.write_text("".join(lines), encoding="utf-8", newline="\n")
        size = sum(8 * lengths[i] + _HEAD for i, _, _ in pairs)
        _write_matches(all_or_none.enter_context(_whole_h5(h5py, files[1], size)), names, lengths, pairs)
        size = sum(12 * length + _HEAD for length in lengths)
        _write_features(all_or_none.enter_context(_whole_h5(h5py, files[0], size)), photos, tracks)
    return HlocSummary(len(photos), sum(map(len, tracks.positions)), len(pairs))


def _write_features(file: Any, photos: Sequence[Photo], tracks: Tracks) -> None:
    for photo, points in zip(photos, tracks.positions, strict=True):
        group = file.create_group(photo.name)
        keypoints = as_stored(photo, points).astype(np.float32)
        group.create_dataset("keypoints", data=keypoints).attrs["uncertainty"] = _UNCERTAINTY
        group.create_dataset("scores", data=np.ones(len(points), np.float32))
        group.create_dataset("image_size", data=np.array(photo.stored_size))


def _write_matches(
    file: Any, names: list[str], lengths: list[int], pairs: Sequence[tuple[int, int, NDArray[np.int64]]]
) -> None:
    for i, j, shared in pairs:
        group = file.create_group("/".join(name.replace("/", "-") for name in (names[i], names[j])))
        partner = np.full(lengths[i], -1, np.int32)
        partner[shared[:, 0]] = shared[:, 1]
        group.create_dataset("matches0", data=partner)
        group.create_dataset("matching_scores0", data=(partner >= 0).astype(np.float32))


@contextmanager
def _whole_h5(h5py: Any, path: Path, size: int) -> Iterator[Any]:
    """A new file of about so many bytes; HDF5 brings down the process where the disk fills up under it."""
    with whole_file(path) as temporary:
        try_room(temporary, size)
        with h5py.File(temporary, "w") as file:
            yield file


def _load_h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise DependencyError(f"this needs h5py ({error}); {to_install('hloc')}") from error
    return h5py
