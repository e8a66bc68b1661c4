"""kapture 1.1: a folder of text files and raw arrays (Humenberger et al., 2020)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gcm.errors import OutputError
from gcm.export.cameras import UNKNOWN, Cameras
from gcm.geometry import CORNER
from gcm.scene.photos import Photo, as_stored
from gcm.scene.tracks import FEWEST_SHARED, Tracks

__all__ = ["TYPE", "KaptureSummary", "write_kapture"]

TYPE = "gcm"
"""What kapture calls our keypoints."""

_HEADER = "# kapture format: 1.1\n"


@dataclass(frozen=True)
class KaptureSummary:
    """What was written."""

    photos: int
    keypoints: int
    pairs: int


def write_kapture(
    folder: Path,
    photos: Sequence[Photo],
    tracks: Tracks,
    cameras: Cameras = UNKNOWN,
    *,
    overwrite: bool = False,
    fewest: int = FEWEST_SHARED,
) -> KaptureSummary:
    """Write sensors, records, keypoints and matches; the photos themselves stay where they are.

    Args:
        folder: written whole or not at all.
        photos: all photos.
        tracks: their points.
        cameras: of the photos; without intrinsics they are said to be unknown.
        overwrite: replace a folder that is there.
        fewest: points that a pair must share.

    Raises:
        OutputError: the folder is there already or cannot be written, or a name that kapture cannot take.
    """
    for photo in photos:
        if "," in photo.name:
            raise OutputError(f"'{photo.name}': kapture's lists part names by commas; rename the photo")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        raise OutputError(f"{folder}: is there already; give another folder, or --overwrite to replace it")
    target = folder.absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        pairs = _write(work, photos, tracks, cameras, fewest)
        if target.exists():
            shutil.rmtree(target)
        work.replace(target)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return KaptureSummary(len(photos), sum(map(len, tracks.positions)), pairs)


def _write(work: Path, photos: Sequence[Photo], tracks: Tracks, cameras: Cameras, fewest: int) -> int:
    work.chmod(0o755)
    _write_sensors(work / "sensors", photos, cameras)
    keypoints = work / "reconstruction/keypoints" / TYPE
    _text(keypoints / "keypoints.txt", "# name, dtype, dsize\n", [f"{TYPE}, float32, 2\n"])
    for photo, points in zip(photos, tracks.positions, strict=True):
        corner = (as_stored(photo, points) + CORNER).astype("<f4")
        _bytes(keypoints / f"{photo.name}.kpt", corner.tobytes())
    count = 0
    for i, j, shared in tracks.pairs(fewest):
        count += 1
        (first, rows0), (second, rows1) = sorted(
            [(photos[i].name, shared[:, 0]), (photos[j].name, shared[:, 1])], key=lambda end: end[0]
        )
        rows = np.column_stack([rows0, rows1, np.ones(len(shared))]).astype("<f8")
        file = f"{first}.overlapping/{second}.matches"
        _bytes(work / "reconstruction/matches" / TYPE / file, rows.tobytes())
    return count


def _write_sensors(folder: Path, photos: Sequence[Photo], cameras: Cameras) -> None:
    """The cameras, and which photo is of which."""
    sensors: list[str] = []
    records: dict[int, str] = {}
    groups = cameras.shared(len(photos))
    for group in groups:
        sensor = "camera" if len(groups) == 1 else f"camera{group[0]}"
        width, height = photos[group[0]].stored_size
        model, parameters = "UNKNOWN_CAMERA", ""
        if cameras.intrinsics is not None:
            intrinsics = cameras.intrinsics[group[0]]
            model, parameters = intrinsics.model, "".join(f", {value!r}" for value in intrinsics.parameters)
        sensors.append(f"{sensor}, , camera, {model}, {width}, {height}{parameters}\n")
        records |= {k: f"{k}, {sensor}, {photos[k].name}\n" for k in group}
    _text(folder / "sensors.txt", "# sensor_id, name, sensor_type, [sensor_params]+\n", sensors)
    in_order = [records[k] for k in sorted(records)]
    _text(folder / "records_camera.txt", "# timestamp, device_id, image_path\n", in_order)


def _text(path: Path, columns: str, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_HEADER + columns + "".join(lines), encoding="utf-8", newline="\n")


def _bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
