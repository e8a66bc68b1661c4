"""How cameras see, from whatever people have of it: numbers, a file, a folder of COLMAP's, EXIF."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from gcm.errors import InputError, UsageError
from gcm.geometry import CORNER
from gcm.scene.photos import Photo, as_upright
from gcm.storage.text import decode_text

__all__ = ["CAMERA_MODELS", "EXIF", "Intrinsics", "focal_by_exif", "read_intrinsics"]

Matrix = NDArray[np.float64]

EXIF = "exif"
"""Asks for the focal length that each photo itself tells."""

CAMERAS_FILE = "cameras.txt"
IMAGES_FILE = "images.txt"

CAMERA_MODELS = {
    "SIMPLE_PINHOLE": (1, 3),
    "PINHOLE": (2, 4),
    "SIMPLE_RADIAL": (1, 4),
    "RADIAL": (1, 5),
    "OPENCV": (2, 8),
    "FULL_OPENCV": (2, 12),
}
"""COLMAP's models of cameras that a 3 x 3 matrix describes but for their distortion: how many focal lengths
their parameters begin with, before the principal point, and how many parameters there are."""

_EXIF_BLOCK, _FOCAL_35 = 0x8769, 0xA405
_DIAGONAL_35 = math.hypot(36, 24)
"""Millimetres; of the film that equivalent focal lengths are told for."""

_OFF_CENTRE = 0.1
"""A principal point further from the middle, as a share of a side, may be that of the photo upright."""


@dataclass(frozen=True)
class Intrinsics:
    """How a camera sees, for the pixels as they lie in the photo's file, before EXIF turns them."""

    model: str
    """One of :data:`CAMERA_MODELS`."""
    parameters: tuple[float, ...]
    """As COLMAP orders them; in pixels, counted from the corner of the top-left one."""
    known: bool = True
    """They are right. Those that EXIF tells are a beginning, and refined when a model is made."""

    @classmethod
    def pinhole(cls, fx: float, fy: float, cx: float, cy: float, *, known: bool = True) -> Intrinsics:
        """From focal lengths and principal point in pixels, pixel centres at integers."""
        return cls("PINHOLE", (fx, fy, cx + CORNER, cy + CORNER), known)

    @property
    def matrix(self) -> Matrix:
        """3 x 3, pixel centres at integers; distortion is left out."""
        count, _ = CAMERA_MODELS[self.model]
        cx, cy = self.parameters[count : count + 2]
        return _matrix(self.parameters[0], self.parameters[count - 1], cx - CORNER, cy - CORNER)

    @property
    def distorted(self) -> bool:
        """Whether straight lines come out bent."""
        return any(self.parameters[CAMERA_MODELS[self.model][0] + 2 :])

    def upright(self, photo: Photo) -> Matrix:
        """The matrix for the photo once it stands upright, which is how matches see it."""
        matrix = self.matrix
        cx, cy = as_upright(photo, matrix[None, :2, 2])[0].tolist()
        fx, fy = np.diag(matrix)[:2].tolist()
        return _matrix(fy, fx, cx, cy) if photo.orientation in (5, 6, 7, 8) else _matrix(fx, fy, cx, cy)


@dataclass(frozen=True)
class _Told:
    """What was told of one camera."""

    intrinsics: Intrinsics
    source: str
    """For messages."""
    size: tuple[int, int] | None = None
    """Width and height of its photos as they lie in their files, where told."""

    def __post_init__(self) -> None:
        matrix = self.intrinsics.matrix
        if not np.isfinite(self.intrinsics.parameters).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise UsageError(f"{self.source}: focal lengths must be above 0, and all numbers finite")


def read_intrinsics(text: str, photos: Sequence[Photo]) -> list[Intrinsics]:
    """The intrinsics of each photo.

    Numbers are pixels of the photo as it lies in its file, before EXIF turns it; those of COLMAP are counted
    from the corner of the top-left pixel, all others from its centre.

    Args:
        text: ``fx,fy,cx,cy``, or a focal length alone (the principal point is then the middle), of one camera
            for all photos; ``exif``; or a file, or the folder of COLMAP's text files:

            - a 3 x 3 matrix or ``fx fy cx cy`` in text, or JSON with a matrix or with one under ``K``: one
              camera for all photos;
            - JSON of such matrices by the photo's name (``{"a.jpg": ...}``, or ``[{"image": "a.jpg", "K":
              ...}]``);
            - COLMAP's ``cameras.txt``: one camera for all photos, or those that the ``images.txt`` beside it
              says;
            - hloc's list of a line a photo: name, model, width, height, parameters.

            Photos are found by name, or by as much of the end of their path as is named.
        photos: which ones.

    Raises:
        UsageError: none of these, or a camera that cannot be of these photos.
        InputError: a file that cannot be read, names no camera for a photo, or a photo that does not tell.
    """
    if text.lower() == EXIF:
        return [_by_exif(photo) for photo in photos]
    path = Path(text)
    if path.exists():
        told = _from_file(path / CAMERAS_FILE if path.is_dir() else path)
        each = _by_name(told, photos, text) if isinstance(told, dict) else [told] * len(photos)
        if not isinstance(told, dict) and told.size is None:
            _check_one_size(str(path), {photo.stored_size for photo in photos})
    else:
        each = _from_numbers(text, photos)
    for one, photo in zip(each, photos, strict=True):
        _check(one, photo)
    return [one.intrinsics for one in each]


def focal_by_exif(photo: Path, size: tuple[int, int]) -> float | None:
    """Focal length in pixels by EXIF's 35 mm equivalent; None where the photo does not tell."""
    try:
        with PILImage.open(photo) as image:
            told = float(image.getexif().get_ifd(_EXIF_BLOCK)[_FOCAL_35])
    except (OSError, KeyError, ValueError, TypeError, SyntaxError, ZeroDivisionError):
        return None
    return told / _DIAGONAL_35 * math.hypot(*size) if told > 0 and math.isfinite(told) else None


def _by_exif(photo: Photo) -> Intrinsics:
    focal = focal_by_exif(photo.path, photo.size)
    if focal is None:
        raise InputError(
            f"{photo.path}: does not tell its focal length; give FX,FY,CX,CY, or a file of intrinsics"
        )
    width, height = photo.stored_size
    return Intrinsics("SIMPLE_PINHOLE", (focal, width / 2, height / 2), known=False)


def _matrix(fx: float, fy: float, cx: float, cy: float) -> Matrix:
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


# -- numbers ---------------------------------------------------------------------------------------


def _split(text: str) -> list[str]:
    """Numbers, between which stand commas or white space."""
    return text.replace(",", " ").split()


def _from_numbers(text: str, photos: Sequence[Photo]) -> list[_Told]:
    source = f"intrinsics '{text}'"
    try:
        values = [float(value) for value in _split(text)]
    except ValueError:
        raise UsageError(
            f"{source}: no such file, and not numbers; give FX,FY,CX,CY in pixels, a focal "
            "length, a file with a 3 x 3 matrix, COLMAP's cameras.txt, or exif"
        ) from None
    sizes = [photo.stored_size for photo in photos]
    if len(values) == 1:
        _check_one_size(source, {(max(size), min(size)) for size in sizes})
        middles = [((width - 1) / 2, (height - 1) / 2) for width, height in sizes]
        return [_Told(Intrinsics.pinhole(values[0], values[0], *middle), source) for middle in middles]
    if len(values) != 4:
        raise UsageError(f"{source}: {len(values)} numbers; give FX,FY,CX,CY, or a focal length")
    told = _Told(Intrinsics.pinhole(*values), source)
    _check_one_size(source, set(sizes))
    return [told] * len(photos)


# -- files -----------------------------------------------------------------------------------------


def _from_file(path: Path) -> _Told | dict[str, _Told]:
    """One camera for all photos, or the photos' by name."""
    try:
        text = decode_text(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(_no_text_model(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as intrinsics ({error})") from error
    try:
        if path.suffix.lower() == ".json":
            return _from_json(json.loads(text), path)
        rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        if rows and all(len(row) > 4 and row[1].isupper() for row in rows):
            cameras = {row[0]: _from_colmap(row, path) for row in rows}
            return _of_images(cameras, path) if all(name.isdigit() for name in cameras) else cameras
        values = [float(value) for row in rows for value in _split(" ".join(row))]
        return _Told(Intrinsics.pinhole(*values) if len(values) == 4 else _from_matrix(values), str(path))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{path}: not intrinsics ({error}); a 3 x 3 matrix, JSON with K, or COLMAP's cameras.txt are"
        ) from error


def _no_text_model(path: Path) -> str:
    if path.with_suffix(".bin").is_file():
        return (
            f"{path.parent}: a model in COLMAP's binary form; write it as text first: python -c "
            f"\"import pycolmap; m = r'{path.parent}'; pycolmap.Reconstruction(m).write_text(m)\""
        )
    return f"{path.parent}: holds no {path.name}; give the folder of COLMAP's text files, or a file"


def _from_json(data: Any, path: Path) -> _Told | dict[str, _Told]:
    if isinstance(data, list) and data and all(isinstance(entry, dict) for entry in data):
        data = {entry["image"]: entry for entry in data}
    if isinstance(data, dict) and "K" not in data:
        return {
            str(name): _Told(_from_matrix(_under_k(entry)), f"{path}, {name}") for name, entry in data.items()
        }
    return _Told(_from_matrix(_under_k(data)), str(path))


def _under_k(data: Any) -> Any:
    return data["K"] if isinstance(data, dict) else data


def _from_matrix(values: Any) -> Intrinsics:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.size != 9:
        raise ValueError(f"{matrix.size} numbers, where a matrix has 9")
    matrix = matrix.reshape(3, 3)
    if matrix[2].tolist() != [0, 0, 1]:
        raise ValueError("the last row of a camera matrix is 0 0 1")
    (fx, _, cx), (_, fy, cy) = matrix[:2].tolist()
    return Intrinsics.pinhole(fx, fy, cx, cy)


def _from_colmap(fields: list[str], path: Path) -> _Told:
    """A line of name or number, model, width, height, parameters."""
    name, model, width, height, *rest = fields
    source = f"{path}, {'camera ' if name.isdigit() else ''}{name}"
    if model not in CAMERA_MODELS:
        raise InputError(f"{source}: cannot use cameras of model {model}, but {', '.join(CAMERA_MODELS)}")
    _, count = CAMERA_MODELS[model]
    if len(rest) != count:
        raise InputError(f"{source}: {model} has {count} parameters, not {len(rest)}")
    parameters = tuple(float(value) for value in rest)
    return _Told(Intrinsics(model, parameters), source, (int(width), int(height)))


def _of_images(cameras: dict[str, _Told], path: Path) -> _Told | dict[str, _Told]:
    """The only camera of ``cameras.txt``, or the photos' by name from the ``images.txt`` beside it."""
    if len(cameras) == 1:
        return next(iter(cameras.values()))
    images = path.with_name(IMAGES_FILE)
    if not images.is_file():
        raise InputError(
            f"{path}: holds {len(cameras)} cameras; put {IMAGES_FILE} beside it, which says which photo is "
            "of which"
        )
    named = {}
    lines = iter(decode_text(images.read_bytes()).splitlines())
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        *_, camera, name = line.split(maxsplit=9)
        if camera not in cameras:
            raise InputError(f"{images}: {name} is of camera {camera}, which {path} does not hold")
        named[name.strip()] = cameras[camera]
        next(lines, None)  # its points
    return named


def _by_name(told: dict[str, _Told], photos: Sequence[Photo], text: str) -> list[_Told]:
    found = [_find(told, photo.name) for photo in photos]
    missing = [photo.name for photo, one in zip(photos, found, strict=True) if one is None]
    if missing:
        raise InputError(
            f"{text}: names no camera of {missing[0]}"
            + (f" and {len(missing) - 1} more of {len(photos)} photos" if len(missing) > 1 else "")
        )
    return [one for one in found if one is not None]


def _find(told: dict[str, _Told], photo: str) -> _Told | None:
    """By the whole name, or by the end of the one or the other; None where that is none or several."""
    if photo in told:
        return told[photo]
    longer = [name for name in told if f"/{photo}".endswith(f"/{name}")]
    if longer:
        return told[max(longer, key=len)]
    shorter = [name for name in told if name.endswith(f"/{photo}")]
    return told[shorter[0]] if len(shorter) == 1 else None


# -- what cannot be --------------------------------------------------------------------------------


def _check_one_size(source: str, sizes: set[tuple[int, int]]) -> None:
    if len(sizes) > 1:
        raise UsageError(
            f"{source}: one camera, but the photos have {len(sizes)} sizes; give a file that "
            "names the camera of each, or photos of one size"
        )


def _check(told: _Told, photo: Photo) -> None:
    """Refuse a camera that cannot be that of a photo."""
    size = photo.stored_size
    if told.size is not None and told.size != size:
        raise UsageError(
            f"{told.source}: is of {_text(told.size)} pixels, but {photo.name} lies in its file as "
            f"{_text(size)}"
        )
    point = told.intrinsics.matrix[:2, 2]
    told_point = f"the principal point {point[0]:g}, {point[1]:g}"
    if (
        told.size is None
        and size != photo.size
        and _off(point, size) > max(_OFF_CENTRE, _off(point, photo.size))
    ):
        raise UsageError(
            f"{told.source}: {told_point} is that of {photo.name} upright; give it for the photo as it lies "
            f"in its file, {_text(size)}, before EXIF turns it"
        )
    if not (0 < point[0] < size[0] and 0 < point[1] < size[1]):
        raise UsageError(
            f"{told.source}: {told_point} lies outside a photo of {_text(size)}; are they of another size?"
        )


def _off(point: NDArray[np.float64], size: tuple[int, int]) -> float:
    """How far from the middle, as a share of the sides."""
    return float(np.abs(point / np.array(size) - 0.5).max())


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
