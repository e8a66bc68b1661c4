"""COLMAP: its database, ready for mapping."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcm.errors import DependencyError, GCMError, ImageError, OutputError, to_install
from gcm.export.cameras import UNKNOWN, Cameras
from gcm.geometry import CORNER
from gcm.scene.photos import Photo, as_stored
from gcm.scene.tracks import FEWEST_SHARED, Tracks
from gcm.storage.atomic import whole_file
from gcm.storage.disk import try_room

__all__ = [
    "LOG_SUFFIXES",
    "DatabaseSummary",
    "check_photos",
    "first_line",
    "load_pycolmap",
    "write_database",
]

_MAJOR = 4

LOG_SUFFIXES = ("-wal", "-shm", "-journal")
"""Of the files that SQLite writes beside a database."""

_HEIC = (".heic", ".heif")

SharedPoints = tuple[int, int, NDArray[np.int64]]
"""Two photos, and K x 2 rows of the points that both show."""


@dataclass(frozen=True)
class DatabaseSummary:
    """What a database holds."""

    photos: int
    keypoints: int
    pairs: int
    """Pairs of photos with a verified geometry."""
    tracks: int


def load_pycolmap() -> Any:
    """The package, silent.

    Raises:
        DependencyError: it is missing, or too old.
    """
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        import pycolmap
    except ImportError as error:
        raise DependencyError(
            f"this needs pycolmap {_MAJOR} or newer ({error}); {to_install('colmap')}"
        ) from error
    version = str(getattr(pycolmap, "__version__", "0"))
    if int(version.split(".", maxsplit=1)[0]) < _MAJOR:
        raise DependencyError(f"pycolmap {version} is too old; pip install --upgrade 'pycolmap>={_MAJOR}'")
    if threading.current_thread() is threading.main_thread() and terminate is not None:
        # Its log library answers a request to end with pages of addresses.
        signal.signal(signal.SIGTERM, terminate)
    pycolmap.logging.minloglevel = pycolmap.logging.Level.FATAL.value  # errors are raised, and told once
    return pycolmap


def check_photos(photos: Sequence[Photo]) -> None:
    """Refuse photos that COLMAP cannot read, before the work that leads there.

    Raises:
        ImageError: a photo in HEIC.
    """
    heic = [photo for photo in photos if photo.path.suffix.lower() in _HEIC]
    if heic:
        raise ImageError(
            f"{heic[0].path}: COLMAP reads no HEIC photos"
            + (f", of which there are {len(heic)}" if len(heic) > 1 else "")
            + "; save them as JPEG in another folder"
        )


def write_database(
    file: Path,
    folder: Path,
    photos: Sequence[Photo],
    tracks: Tracks,
    cameras: Cameras = UNKNOWN,
    *,
    overwrite: bool = False,
) -> DatabaseSummary:
    """Write a COLMAP database: cameras, images, keypoints, matches and verified two-view geometries.

    ``pycolmap.incremental_mapping`` and GLOMAP can start from it at once.

    Args:
        file: the database.
        folder: of the photos, to which COLMAP's names are relative.
        photos: all photos.
        tracks: their points.
        cameras: of the photos.
        overwrite: replace a database that is there.

    Raises:
        ImageError: a photo that COLMAP cannot read.
        OutputError: there is one already, or it cannot be written.
        DependencyError: pycolmap is missing or too old.
    """
    pycolmap = load_pycolmap()
    check_photos(photos)
    if file.exists() and not overwrite:
        raise OutputError(f"{file}: is there already; give another name, or --overwrite to replace it")
    pairs = list(tracks.pairs())
    with whole_file(file) as temporary:
        try_room(temporary, _size(tracks, pairs))
        temporary.unlink()
        try:
            summary = _fill(pycolmap, temporary, folder, photos, tracks, pairs, cameras)
        except (GCMError, OSError):
            raise
        except Exception as error:  # SQLite's troubles come as RuntimeError
            raise OutputError(f"{file}: cannot be written ({first_line(error)})") from error
        finally:
            _remove_logs(temporary)
        _remove_logs(file)  # of the one that is replaced; SQLite would take them for the new one's
    return summary


def _remove_logs(file: Path) -> None:
    for suffix in LOG_SUFFIXES:
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _size(tracks: Tracks, pairs: Sequence[SharedPoints]) -> int:
    """About how many bytes a database has: two numbers a keypoint, and twice a match; and SQLite's pages."""
    points, matches = sum(map(len, tracks.positions)), sum(len(rows) for _, _, rows in pairs)
    return (8 * points + 16 * matches + 1024 * (len(tracks.positions) + len(pairs))) * 5 // 4 + 2**18


def _fill(
    pycolmap: Any,
    file: Path,
    folder: Path,
    photos: Sequence[Photo],
    tracks: Tracks,
    pairs: Sequence[SharedPoints],
    cameras: Cameras,
) -> DatabaseSummary:
    names = [photo.name for photo in photos]
    _import_images(pycolmap, file, folder, names, cameras)
    with pycolmap.Database.open(str(file)) as database:
        images = {image.name: image for image in database.read_all_images()}
        missing = [name for name in names if name not in images]
        if missing:
            raise OutputError(
                f"{folder / missing[0]}: COLMAP does not take it; photos of one camera must have one size"
            )
        points = [
            (as_stored(photo, tracks.positions[k]) + CORNER).astype(np.float32)
            for k, photo in enumerate(photos)
        ]
        for name, found in zip(names, points, strict=True):
            database.write_keypoints(images[name].image_id, found.reshape(-1, 2))
        read = [database.read_camera(images[name].camera_id) for name in names]
        verified = 0
        for i, j, rows in pairs:
            shared = rows.astype(np.uint32)
            ids = images[names[i]].image_id, images[names[j]].image_id
            geometry = pycolmap.estimate_two_view_geometry(
                read[i], points[i].astype(float), read[j], points[j].astype(float), shared
            )
            database.write_matches(*ids, shared)
            if len(geometry.inlier_matches) >= FEWEST_SHARED:
                database.write_two_view_geometry(*ids, geometry)
                verified += 1
    return DatabaseSummary(len(photos), sum(map(len, points)), verified, tracks.count)


def _import_images(pycolmap: Any, file: Path, folder: Path, names: Sequence[str], cameras: Cameras) -> None:
    """Make the database, with its images and their cameras."""
    with pycolmap.Database.open(str(file)):
        pass
    if cameras.intrinsics is None or not cameras.known:  # COLMAP reads EXIF itself
        mode = pycolmap.CameraMode.SINGLE if cameras.one else pycolmap.CameraMode.AUTO
        pycolmap.import_images(str(file), str(folder), camera_mode=mode, image_names=list(names))
        return
    for group in cameras.shared(len(names)):
        intrinsics = cameras.intrinsics[group[0]]
        options = pycolmap.ImageReaderOptions()
        options.camera_model = intrinsics.model
        options.camera_params = ",".join(map(repr, intrinsics.parameters))
        pycolmap.import_images(
            str(file),
            str(folder),
            camera_mode=pycolmap.CameraMode.SINGLE,
            image_names=[names[k] for k in group],
            options=options,
        )


def first_line(error: Exception) -> str:
    """Of what COLMAP says went wrong."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
