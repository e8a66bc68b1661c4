"""How a camera sees, from whatever people have of it: numbers, a file, EXIF."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from gcm.errors import InputError, UsageError
from gcm.geometry import CORNER

__all__ = ["EXIF", "focal_by_exif", "read_intrinsics"]

Matrix = NDArray[np.float64]

EXIF = "exif"
"""Asks for the focal length that the photo itself tells."""

_EXIF_BLOCK, _FOCAL_35 = 0x8769, 0xA405
_DIAGONAL_35 = math.hypot(36, 24)
"""Millimetres; of the film that equivalent focal lengths are told for."""

_FOCAL_PARAMETERS = {
    "SIMPLE_PINHOLE": 1, "PINHOLE": 2, "SIMPLE_RADIAL": 1, "RADIAL": 1, "OPENCV": 2, "FULL_OPENCV": 2,
}  # fmt: skip
"""COLMAP's camera models, and how many focal lengths each begins with; the principal point follows."""


def read_intrinsics(text: str, photo: Path | None, size: tuple[int, int]) -> Matrix:
    """A 3 x 3 camera matrix, pixel centres at integers.

    Args:
        text: ``fx,fy,cx,cy``, or a focal length alone (the principal point is then the middle), in pixels;
            ``exif``; or a file: nine numbers in text, JSON with them or with them under ``K``, or COLMAP's
            ``cameras.txt``, of which the first camera counts. Distortion is not undone.
        photo: the photo, for EXIF.
        size: its width and height, upright.

    Raises:
        UsageError: none of these, or a camera that cannot be of this photo.
        InputError: a file that cannot be read, or a photo that does not tell.
    """
    if text.lower() == EXIF:
        focal = None if photo is None else focal_by_exif(photo, size)
        if focal is None:
            raise InputError(f"{photo}: does not tell its focal length; give --intrinsics FX,FY,CX,CY")
        return _matrix(focal, focal, *_middle(size))
    path = Path(text)
    matrix = _from_file(path, size) if path.is_file() else _from_numbers(text, size)
    _check(matrix, text, size)
    return matrix


def focal_by_exif(photo: Path, size: tuple[int, int]) -> float | None:
    """Focal length in pixels by EXIF's 35 mm equivalent; None where the photo does not tell."""
    try:
        with PILImage.open(photo) as image:
            told = float(image.getexif().get_ifd(_EXIF_BLOCK)[_FOCAL_35])
    except (OSError, KeyError, ValueError, TypeError, SyntaxError, ZeroDivisionError):
        return None
    return told / _DIAGONAL_35 * math.hypot(*size) if told > 0 and math.isfinite(told) else None


def _middle(size: tuple[int, int]) -> tuple[float, float]:
    return (size[0] - 1) / 2, (size[1] - 1) / 2


def _matrix(fx: float, fy: float, cx: float, cy: float) -> Matrix:
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _from_numbers(text: str, size: tuple[int, int]) -> Matrix:
    try:
        values = [float(value) for value in text.split(",")]
    except ValueError:
        raise UsageError(
            f"intrinsics '{text}': no such file, and not numbers; give FX,FY,CX,CY in pixels, a focal "
            "length, a file with a 3 x 3 matrix, COLMAP's cameras.txt, or exif"
        ) from None
    if len(values) == 1:
        return _matrix(values[0], values[0], *_middle(size))
    if len(values) != 4:
        raise UsageError(f"intrinsics '{text}': {len(values)} numbers; give FX,FY,CX,CY, or a focal length")
    return _matrix(*values)


def _from_file(path: Path, size: tuple[int, int]) -> Matrix:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as intrinsics ({error})") from error
    try:
        if path.suffix.lower() == ".json":
            return _from_json(json.loads(text))
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        fields = lines[0].split() if lines else []
        if len(fields) > 4 and fields[1] in _FOCAL_PARAMETERS:
            return _from_colmap(fields, size, path)
        return np.array([float(value) for line in lines for value in line.split()]).reshape(3, 3)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{path}: not intrinsics ({error}); nine numbers, JSON with K, or COLMAP's cameras.txt are"
        ) from error


def _from_json(data: Any) -> Matrix:
    if isinstance(data, dict):
        data = data["K"]
    return np.asarray(data, dtype=np.float64).reshape(3, 3)


def _from_colmap(fields: list[str], size: tuple[int, int], path: Path) -> Matrix:
    width, height = int(fields[2]), int(fields[3])
    if (width, height) != size:
        raise UsageError(
            f"{path}: its first camera is of {width} x {height} pixels, the photo of {size[0]} x {size[1]}"
        )
    parameters = [float(value) for value in fields[4:]]
    focal = parameters[: _FOCAL_PARAMETERS[fields[1]]]
    cx, cy = parameters[len(focal) : len(focal) + 2]
    return _matrix(focal[0], focal[-1], cx - CORNER, cy - CORNER)


def _check(matrix: Matrix, text: str, size: tuple[int, int]) -> None:
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise UsageError(f"intrinsics '{text}': focal lengths must be above 0, and all numbers finite")
    cx, cy = matrix[0, 2], matrix[1, 2]
    if not (0 < cx < size[0] and 0 < cy < size[1]):
        raise UsageError(
            f"intrinsics '{text}': the principal point {cx:g}, {cy:g} lies outside a photo of {size[0]} x "
            f"{size[1]}; are they of another size?"
        )
