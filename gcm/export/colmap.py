"""COLMAP: its database, ready for mapping."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gcm.errors import DependencyError, GCMError, OutputError, UsageError
from gcm.geometry import CORNER
from gcm.scene.photos import Photo, as_stored
from gcm.scene.tracks import FEWEST_SHARED, Tracks
from gcm.storage.atomic import whole_file

__all__ = ["UNKNOWN", "Camera", "DatabaseSummary", "load_pycolmap", "write_database"]

_MAJOR = 4


@dataclass(frozen=True)
class Camera:
    """How the cameras of all photos see."""

    intrinsics: tuple[float, float, float, float] | None = None
    """fx, fy, cx, cy in pixels, pixel centres at integers: one camera for all photos, known exactly. None: by
    EXIF, or guessed, and refined when a model is made."""
    one: bool = False
    """All photos are of one camera; otherwise those that EXIF says are."""

    @classmethod
    def read(cls, text: str | None, *, one: bool = False) -> Camera:
        """From ``fx,fy,cx,cy``.

        Raises:
            UsageError: not four numbers, or no focal lengths.
        """
        if text is None:
            return cls(None, one)
        try:
            fx, fy, cx, cy = (float(value) for value in text.split(","))
        except ValueError:
            raise UsageError(
                f"intrinsics '{text}': give fx,fy,cx,cy in pixels, as in 920,920,512,341"
            ) from None
        if not (fx > 0 and fy > 0 and np.isfinite([fx, fy, cx, cy]).all()):
            raise UsageError(f"intrinsics '{text}': focal lengths must be above 0, and all numbers finite")
        return cls((fx, fy, cx, cy), True)

    @property
    def parameters(self) -> tuple[float, float, float, float] | None:
        """fx, fy, cx, cy of a pinhole camera as COLMAP and kapture count pixels; None without intrinsics."""
        if self.intrinsics is None:
            return None
        fx, fy, cx, cy = self.intrinsics
        return fx, fy, cx + CORNER, cy + CORNER

    def check(self, photos: Sequence[Photo]) -> None:
        """Refuse intrinsics that cannot be of these photos.

        Raises:
            UsageError: photos of several sizes, or a principal point outside.
        """
        if self.intrinsics is None:
            return
        sizes = {photo.stored_size for photo in photos}
        if len(sizes) > 1:
            raise UsageError(
                f"intrinsics are of one camera, but the photos have {len(sizes)} sizes; leave them out, or "
                "give a folder of photos of one size"
            )
        ((width, height),) = sizes
        _, _, cx, cy = self.intrinsics
        if not (0 < cx < width and 0 < cy < height):
            raise UsageError(
                f"intrinsics: the principal point {cx:g}, {cy:g} lies outside photos of {width} x {height}; "
                "are they of another size?"
            )


UNKNOWN = Camera()
"""Cameras of which nothing is known but what EXIF says."""


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
            f"this needs pycolmap {_MAJOR} or newer ({error}); pip install 'gcm[colmap]'"
        ) from error
    version = str(getattr(pycolmap, "__version__", "0"))
    if int(version.split(".", maxsplit=1)[0]) < _MAJOR:
        raise DependencyError(f"pycolmap {version} is too old; pip install --upgrade 'pycolmap>={_MAJOR}'")
    if threading.current_thread() is threading.main_thread() and terminate is not None:
        # Its log library answers a request to end with pages of addresses.
        signal.signal(signal.SIGTERM, terminate)
    pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value
    return pycolmap


def write_database(
    file: Path,
    folder: Path,
    photos: Sequence[Photo],
    tracks: Tracks,
    camera: Camera = UNKNOWN,
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
        camera: of the photos.
        overwrite: replace a database that is there.

    Raises:
        OutputError: there is one already, or it cannot be written.
        DependencyError: pycolmap is missing or too old.
        UsageError: intrinsics of another size.
    """
    pycolmap = load_pycolmap()
    camera.check(photos)
    if file.exists() and not overwrite:
        raise OutputError(f"{file}: is there already; give another name, or --overwrite to replace it")
    with whole_file(file) as temporary:
        temporary.unlink()
        try:
            summary = _fill(pycolmap, temporary, folder, photos, tracks, camera)
        except (GCMError, OSError):
            raise
        except Exception as error:  # SQLite's troubles come as RuntimeError, as that of a full disk
            raise OutputError(f"{file}: cannot be written ({_first_line(error)})") from error
        finally:
            for suffix in ("-wal", "-shm", "-journal"):
                temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
    return summary


def _fill(
    pycolmap: Any, file: Path, folder: Path, photos: Sequence[Photo], tracks: Tracks, camera: Camera
) -> DatabaseSummary:
    names = [photo.name for photo in photos]
    options = pycolmap.ImageReaderOptions()
    if camera.parameters is not None:
        options.camera_model = "PINHOLE"
        options.camera_params = ",".join(map(repr, camera.parameters))
    mode = pycolmap.CameraMode.SINGLE if camera.one else pycolmap.CameraMode.AUTO
    with pycolmap.Database.open(str(file)):
        pass
    pycolmap.import_images(str(file), str(folder), camera_mode=mode, image_names=names, options=options)
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
        cameras = [database.read_camera(images[name].camera_id) for name in names]
        pairs = 0
        for i, j, rows in tracks.pairs():
            shared = rows.astype(np.uint32)
            ids = images[names[i]].image_id, images[names[j]].image_id
            geometry = pycolmap.estimate_two_view_geometry(
                cameras[i], points[i].astype(float), cameras[j], points[j].astype(float), shared
            )
            database.write_matches(*ids, shared)
            if len(geometry.inlier_matches) >= FEWEST_SHARED:
                database.write_two_view_geometry(*ids, geometry)
                pairs += 1
    return DatabaseSummary(len(photos), sum(map(len, points)), pairs, tracks.count)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
