"""Images in and out: reading anything a camera or tool writes.

Everywhere in `gcm` an image is H x W x 3 uint8 RGB, upright (EXIF orientation applied). That upright
image is "the image as given" in which all points are expressed.
"""

from __future__ import annotations

import os
import stat
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageOps, UnidentifiedImageError

from gcm.errors import ImageError, OutputError, UsageError
from gcm.storage.atomic import whole_file

__all__ = [
    "ImageLike",
    "RGBImage",
    "check_image_suffix",
    "load_image",
    "write_image",
]

RGBImage: TypeAlias = NDArray[np.uint8]
"""H x W x 3 uint8 RGB."""

ImageLike: TypeAlias = str | os.PathLike[str] | NDArray[Any] | PILImage.Image
"""A path, a numpy array (H x W grey, H x W x 3 RGB or H x W x 4 RGBA; integers or floats), or a PIL image."""


def load_image(source: ImageLike) -> RGBImage:
    """Return any image as upright H x W x 3 uint8 RGB.

    EXIF orientation is applied (files and PIL images). Grey becomes three equal channels; palettes and
    CMYK are converted; 16-bit values are divided by 257, which a wider or signed integer type also means
    unless nothing in it exceeds 255; floating point is taken as 0..1 unless it exceeds 1, then as 0..255;
    transparent pixels are laid over black.

    Raises:
        ImageError: missing, a folder, not an image, truncated, empty, or of a shape or type that is no image.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, "array")
    if isinstance(source, PILImage.Image):
        return _guarded(lambda: _from_pil(source, "PIL image"), "PIL image")
    if not isinstance(source, str | os.PathLike):
        raise ImageError(f"{type(source).__name__}: no image; give a path, a numpy array or a PIL image")
    path = Path(source)
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a name no file can have
        raise ImageError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{path}: is a folder; give an image file")
    if status.st_size == 0:
        raise ImageError(f"{path}: is empty; give an image file")
    try:
        return _guarded(lambda: _from_file(path), str(path))
    except UnidentifiedImageError:
        return _with_opencv(path)


def _guarded(read: Callable[[], RGBImage], name: str) -> RGBImage:
    """Run a Pillow reader; its many ways to report trouble become :class:`ImageError`."""
    try:
        with warnings.catch_warnings():
            # Damaged metadata and 100-megapixel photos are no business of the caller's.
            warnings.simplefilter("ignore")
            return read()
    except UnidentifiedImageError:
        raise
    except PILImage.DecompressionBombError as error:
        raise ImageError(
            f"{name}: has too many pixels to be read safely; shrink it first ({error})"
        ) from error
    except PermissionError as error:
        raise ImageError(f"{name}: cannot be read ({error.strerror})") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        # Pillow reports damage found while decoding with any of these.
        raise ImageError(f"{name}: damaged or truncated image ({error})") from error


def _from_file(path: Path) -> RGBImage:
    with PILImage.open(path) as image:
        return _from_pil(image, str(path))


def _with_opencv(path: Path) -> RGBImage:
    """Formats Pillow does not know (16-bit RGB TIFF, OpenEXR builds, ...) may still be OpenCV's."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        image = None
    if image is None:
        raise ImageError(f"{path}: not an image file that can be read (PNG, JPEG, PPM, TIFF, WebP, ... can)")
    if image.ndim == 3 and image.shape[2] >= 3:
        image = image[..., [2, 1, 0, *range(3, image.shape[2])]]
    return _from_array(image, str(path))


def _from_pil(image: PILImage.Image, name: str) -> RGBImage:
    image.load()
    image = _upright(image)
    if image.mode.startswith("I"):  # 16-bit grey, also in 32 bits
        values = np.asarray(image)
        if values.size and values.min() >= 0 and values.max() <= 65535:
            values = values.astype(np.uint16)
        return _from_array(values, name)
    if image.mode == "F":
        return _from_array(np.asarray(image), name)
    if "transparency" in image.info or image.mode in {"RGBA", "LA", "PA", "RGBa", "La"}:
        return _from_array(np.asarray(image.convert("RGBA")), name)
    return _from_array(np.asarray(image.convert("RGB")), name)


def _upright(image: PILImage.Image) -> PILImage.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return image  # metadata too damaged to hold an orientation; the pixels are not


def _from_array(array: NDArray[Any], name: str) -> RGBImage:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        channels = 1
    elif array.ndim == 3 and array.shape[2] in (3, 4):
        channels = array.shape[2]
    else:
        raise ImageError(f"{name}: shape {array.shape} is no image; give H x W, H x W x 3 or H x W x 4")
    if 0 in array.shape:
        raise ImageError(f"{name}: has no pixels (shape {array.shape})")
    values = _to_uint8(array, name)
    if channels == 1:
        values = np.repeat(values[..., None], 3, axis=2)
    elif channels == 4:
        alpha = values[..., 3:].astype(np.uint16)
        values = ((values[..., :3] * alpha + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(values)


def _to_uint8(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return np.asarray(array, dtype=np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(array.dtype, np.floating):
        return _float_to_uint8(array, name)
    if np.issubdtype(array.dtype, np.integer):
        wide = array.astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            # Beyond 16 bits there is no agreed full scale.
            raise ImageError(f"{name}: values outside 0..65535 are no 8- or 16-bit image; convert them first")
        if array.dtype != np.uint16 and wide.max() <= 255:
            return wide.astype(np.uint8)  # 8-bit values after arithmetic
        return ((wide + 128) // 257).astype(np.uint8)
    raise ImageError(f"{name}: values of type {array.dtype} are no image; give uint8, uint16 or float")


def _float_to_uint8(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if not np.all(np.isfinite(array)):
        raise ImageError(f"{name}: contains nan or infinite values; replace them first")
    highest = float(array.max())
    if highest > 2 * 255:  # interpolation may overshoot 255, but not by that much
        raise ImageError(f"{name}: values up to {highest:g} are neither 0..1 nor 0..255; scale them first")
    scale = 255.0 if highest <= 1.0 else 1.0
    return np.clip(np.rint(array.astype(np.float64) * scale), 0, 255).astype(np.uint8)


def check_image_suffix(path: Path) -> str:
    """The image format a file name asks for.

    Raises:
        UsageError: a suffix that names no image format.
    """
    suffix = path.suffix.lower()
    known = PILImage.registered_extensions()
    if known.get(suffix) not in PILImage.SAVE:
        raise UsageError(f"{path}: unknown image suffix '{suffix}'; use .png, .jpg or .webp")
    return known[suffix]


def write_image(path: Path, image: RGBImage) -> None:
    """Write an image whole or not at all; the format follows from the suffix.

    Raises:
        UsageError: a suffix that names no image format.
        OutputError: the file cannot be written.
    """
    image_format = check_image_suffix(path)
    with whole_file(path) as temporary:
        try:
            PILImage.fromarray(image).save(temporary, format=image_format)
        except ValueError as error:  # larger than the format allows
            raise OutputError(f"{path}: cannot be written ({error}); use .png") from error
