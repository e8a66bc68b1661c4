"""From the bytes of an image file to 8-bit RGB.

Pillow decodes nearly everything. It keeps 8 bits of some deep formats; those are decoded by tifffile
(:mod:`gcm.images.tiff`) and OpenCV instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from gcm.errors import GCMError, ImageError
from gcm.images.arrays import rgb_from_array, upright, visible_in
from gcm.images.loaded import ImageHeader, LoadedImage, check_pixel_count
from gcm.images.shared_change import SharedChange

__all__ = ["decode", "decode_with_opencv", "from_pil", "read_header", "reading"]

ORIENTATION = 0x0112
"""EXIF's tag."""

_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its log of damaged files lands on stderr

_OPENCV_STARTS = (b"#?RADIANCE", b"#?RGBE", b"P7\n", b"PF\n", b"Pf\n", b"v/1\1", b"\x59\xa6\x6a\x95")
"""Formats that OpenCV reads and Pillow does not: HDR, PAM, PFM, OpenEXR, Sun raster. Of others it must not be
asked, since its libraries print what they dislike."""

_NO_PICTURES = {
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<svg": "an SVG drawing",
    b"%pdf": "a PDF document",
    b"pk\3\4": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"version https://git-lfs": "a Git LFS pointer, whose file was not fetched",
}
"""What often lies where an image is meant to be, by its first bytes in lower case."""


def decode(stream: BinaryIO, name: str, max_pixels: int) -> LoadedImage:
    """Decode an image file.

    Args:
        stream: its bytes; seekable, at the start.
        name: for messages.
        max_pixels: larger images are refused; JPEGs are decoded at 1/2, 1/4 or 1/8 of their size.

    Raises:
        ImageError: not an image, truncated, too large, or of a kind that cannot be read (HEIC without its
            plug-in among them).
    """
    start = stream.read(64)
    stream.seek(0)
    if not start:
        raise ImageError(f"{name}: is empty; give an image file")
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS:
        _register_heic(name)
    with reading(name), _pillow_limit_lifted:
        try:
            image = PILImage.open(stream)
        except UnidentifiedImageError:
            image = None
        if start.startswith(_TIFF_STARTS) and (image is None or _is_deep_tiff(image)):
            from gcm.images.tiff import decode_tiff  # brings tifffile, which few images need

            stream.seek(0)
            return decode_tiff(stream, name, max_pixels)
        if image is not None:
            with image:
                return from_pil(image, name, max_pixels, stream)
    for beginning, kind in _NO_PICTURES.items():
        if start.lstrip().lower().startswith(beginning):
            raise ImageError(f"{name}: is {kind}, no image file (PNG, JPEG, PPM, TIFF, WebP, ...)")
    array = decode_with_opencv(stream) if start.startswith(_OPENCV_STARTS) else None
    if array is None:
        raise ImageError(f"{name}: not an image file that can be read (PNG, JPEG, PPM, TIFF, WebP, ... can)")
    height, width = array.shape[:2]
    pixels, notes = rgb_from_array(array, name)
    return LoadedImage(pixels, (width, height), notes, visible_in(array))


def read_header(stream: BinaryIO, name: str) -> ImageHeader | None:
    """What an image file tells without being decoded; None where Pillow cannot read it.

    Args:
        stream: its bytes; seekable, at the start.
        name: for messages.

    Raises:
        ImageError: damaged.
    """
    with reading(name), _pillow_limit_lifted:
        try:
            image = PILImage.open(stream)
        except UnidentifiedImageError:
            return None
        with image:
            told = orientation_of(image)
            orientation = told if 1 <= told <= 8 else 1
            return ImageHeader(_upright_size(image.size, orientation), orientation, _has_alpha(image))


@contextmanager
def reading(name: str) -> Iterator[None]:
    """The many ways in which decoders report trouble become :class:`ImageError`."""
    try:
        with _warnings_ignored:
            yield
    except PILImage.DecompressionBombError as error:
        raise ImageError(f"{name}: has too many pixels to be read safely; shrink it first") from error
    except MemoryError as error:
        raise ImageError(f"{name}: too large for this machine's memory; shrink it first") from error
    except GCMError:
        raise
    except PermissionError as error:
        raise ImageError(f"{name}: cannot be read ({error.strerror})") from error
    except Exception as error:  # what damaged bytes make decoders raise has no end
        reason = " ".join(str(error).split())[:160]
        raise ImageError(f"{name}: damaged or truncated image ({reason})") from error


@contextmanager
def _lift_pillow_limit() -> Iterator[None]:
    """Pillow does not decide how large images may be."""
    limit, PILImage.MAX_IMAGE_PIXELS = PILImage.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        PILImage.MAX_IMAGE_PIXELS = limit


@contextmanager
def _ignore_warnings() -> Iterator[None]:
    """Damaged metadata, of which Pillow warns, is no business of the caller's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


_pillow_limit_lifted = SharedChange(_lift_pillow_limit)
_warnings_ignored = SharedChange(_ignore_warnings)


def from_pil(
    image: PILImage.Image, name: str, max_pixels: int, stream: BinaryIO | None = None
) -> LoadedImage:
    """A PIL image as upright RGB; with the file it comes from, at that file's full depth.

    Args:
        image: decoded already, or not.
        name: for messages.
        max_pixels: see :func:`decode`; what is decoded already may be larger.
        stream: of the file. Without it the image is the caller's, and it is not reduced.
    """
    stored, factor = image.size, 1
    if stream is not None or getattr(image, "tile", None):  # not decoded yet
        if stream is not None and image.format in ("JPEG", "MPO"):
            factor = _reduce(image, max_pixels)
        check_pixel_count(*image.size, max_pixels, name)
    deep = stream is not None and _is_deep(image)
    image.load()
    array = decode_with_opencv(stream) if deep and stream is not None else None
    orientation = orientation_of(image)  # only now: of a TIFF, Pillow turns the pixels while it loads them
    if factor > 1:
        image = _without_padding(image, stored, factor)
    array = upright(_array(image) if array is None else array, orientation)
    pixels, notes = rgb_from_array(array, name)
    if factor == 1:
        return LoadedImage(pixels, (pixels.shape[1], pixels.shape[0]), notes, visible_in(array))
    note = (
        f"decoded at 1/{factor} of its {stored[0]} x {stored[1]} pixels, which are more than "
        f"max_pixels = {max_pixels}"
    )
    return LoadedImage(pixels, _upright_size(stored, orientation), (note, *notes))


def _array(image: PILImage.Image) -> NDArray[Any]:
    if image.mode.startswith("I"):  # 16-bit grey, also in 32 bits
        values = np.asarray(image)
        if values.size and values.min() >= 0 and values.max() <= 65535:
            values = values.astype(np.uint16)
        return values
    if image.mode == "F":
        return np.asarray(image)
    return np.asarray(image.convert("RGBA" if _has_alpha(image) else "RGB"))


def _has_alpha(image: PILImage.Image) -> bool:
    if image.mode.startswith(("I", "F")):  # of which only the values are taken
        return False
    return "transparency" in image.info or image.mode in {"RGBA", "LA", "PA", "RGBa", "La"}


def _upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height of a stored image of that size once it is turned as EXIF says."""
    width, height = size
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def orientation_of(image: PILImage.Image) -> int:
    """EXIF's orientation of an image, 1 where it does not tell: how it is turned to stand upright."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return 1  # metadata too damaged to hold an orientation; the pixels are not


def _reduce(image: PILImage.Image, max_pixels: int) -> int:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its size, whichever first has few enough pixels.

    Returns:
        By what the size is divided; 1 where it has few enough, or too many all the same.
    """
    width, height = image.size
    for factor in (1, 2, 4, 8):
        if -(-width // factor) * -(-height // factor) <= max_pixels:
            if factor == 1 or min(width, height) < factor:
                return 1
            return factor if image.draft(None, (width // factor, height // factor)) else 1
    return 1


def _without_padding(image: PILImage.Image, size: tuple[int, int], factor: int) -> PILImage.Image:
    """A JPEG of some size decoded at reduced size, less the part of its last column and row beyond it."""
    box = (0.0, 0.0, size[0] / factor, size[1] / factor)
    if box[2:] == image.size:
        return image
    exact = image.resize(image.size, PILImage.Resampling.BICUBIC, box=box)
    exact.info = image.info
    return exact


def _is_deep_tiff(image: PILImage.Image) -> bool:
    """Whether a TIFF has more than 8 bits a channel, or none that Pillow tells."""
    bits = getattr(image, "tag_v2", {}).get(258, (1,))
    return max(bits) > 8 if isinstance(bits, tuple) else True


def _is_deep(image: PILImage.Image) -> bool:
    """Whether a PNG or PPM that is not decoded yet has 16 bits in channels of which Pillow keeps 8."""
    tiles = getattr(image, "tile", ())
    arguments = tiles[0][3] if tiles else None
    if image.format == "PNG":
        rawmode = arguments[0] if isinstance(arguments, tuple) else arguments
        deep = image.mode in ("RGB", "RGBA", "LA") and str(rawmode).endswith(";16B")
        return deep and "transparency" not in image.info
    return image.format == "PPM" and arguments == ("RGB", 65535)


def decode_with_opencv(stream: BinaryIO) -> NDArray[Any] | None:
    """H x W or H x W x C as stored, at full depth, RGB before alpha; None when OpenCV cannot."""
    stream.seek(0)
    with _opencv_silenced:
        try:
            array = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            return None
    if array is None:
        return None
    if array.ndim == 3 and array.shape[2] >= 3:
        array = array[..., [2, 1, 0, *range(3, array.shape[2])]]
    return np.asarray(array)


_SILENT = 0
"""OpenCV's LOG_LEVEL_SILENT."""


@contextmanager
def _silence_opencv() -> Iterator[None]:
    """OpenCV prints its errors besides raising them."""
    log: Any = getattr(cv2.utils, "logging", cv2)  # OpenCV 4.8 has these functions at its top
    level = log.getLogLevel()
    log.setLogLevel(_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)


_opencv_silenced = SharedChange(_silence_opencv)


def _register_heic(name: str) -> None:
    if importlib.util.find_spec("pillow_heif") is None:
        raise ImageError(
            f"{name}: is a HEIC photo, which takes a plug-in to read; install it with: "
            "pip install pillow-heif, or save the photo as JPEG"
        )
    importlib.import_module("pillow_heif").register_heif_opener()
