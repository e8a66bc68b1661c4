"""TIFF files of more than 8 bits a channel, in the many layouts that science and remote sensing use."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from gcm.errors import ImageError
from gcm.images.arrays import rgb_from_array, upright, visible_in
from gcm.images.loaded import LoadedImage, check_pixel_count
from gcm.images.shared_change import SharedChange

__all__ = ["decode_tiff"]

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
"""Photometric interpretations (TIFF 6.0, section 8)."""
_ASSOCIATED, _UNASSOCIATED = 1, 2
"""Kinds of extra samples that are opacity: colours are multiplied by it already, or are not."""


def decode_tiff(stream: BinaryIO, name: str, max_pixels: int) -> LoadedImage:
    """The first page of a TIFF: grey or colour, chunky or planar, integers or floats, WhiteIsZero too.

    Of more bands than three, the first three are taken for red, green and blue.

    Args:
        stream: seekable, at the start.
        name: for messages.
        max_pixels: larger images are refused.

    Raises:
        ImageError: too large, damaged, or a layout that is no picture.
    """
    try:
        return _decode(stream, name, max_pixels)
    except ImageError:
        raise
    except Exception as error:  # what damaged bytes make tifffile raise has no end
        reason = " ".join(str(error).split())[:160]
        raise ImageError(f"{name}: damaged or truncated TIFF ({reason})") from error


def _decode(stream: BinaryIO, name: str, max_pixels: int) -> LoadedImage:
    with _logging_disabled, tifffile.TiffFile(stream) as file:
        page = file.pages[0]
        if not isinstance(page, tifffile.TiffPage) or page.imagedepth > 1:
            raise ImageError(f"{name}: a TIFF of a volume, no image; save one slice of it")
        check_pixel_count(page.imagewidth, page.imagelength, max_pixels, name)
        photometric = int(page.photometric)
        if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
            kind = getattr(page.photometric, "name", photometric)
            raise ImageError(
                f"{name}: a TIFF of {page.bitspersample} bits in {kind}; "
                "save it as grey or RGB, or with 8 bits"
            )
        array = _values(page, stream, name)
        if photometric == _WHITE_IS_ZERO:
            array = _inverted(array, page.bitspersample)
        tag = page.tags.get(274)
        orientation = int(tag.value) if tag else 1
        extra = [int(kind) for kind in page.extrasamples]
        opacity = _premultiplied_by(array, extra)
        array, notes = _picture(array, extra)
        array = upright(_sixteen_bits(array, page.bitspersample), orientation)
        pixels, converted = rgb_from_array(array, name)
        visible = visible_in(array) if opacity is None else upright(opacity, orientation) > 0
        return LoadedImage(pixels, (pixels.shape[1], pixels.shape[0]), (*notes, *converted), visible)


def _values(page: tifffile.TiffPage, stream: BinaryIO, name: str) -> NDArray[Any]:
    """H x W x C values of a page, as stored."""
    try:
        array = page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        return _values_by_opencv(page, stream, name)
    height, width, channels = page.imagelength, page.imagewidth, page.samplesperpixel
    if int(page.planarconfig) == 2 and channels > 1:
        return np.moveaxis(array.reshape(channels, height, width), 0, -1)
    return array.reshape(height, width, channels)


def _values_by_opencv(page: tifffile.TiffPage, stream: BinaryIO, name: str) -> NDArray[Any]:
    """Of compressions that tifffile leaves to imagecodecs; OpenCV reads the usual ones, in usual layouts."""
    from gcm.images.decoding import decode_with_opencv

    channels = page.samplesperpixel
    tag = page.tags.get(274)
    plain = (int(page.planarconfig) == 1 or channels == 1) and channels in (1, 3, 4)
    plain = plain and page.bitspersample in (16, 32) and (tag is None or int(tag.value) == 1)
    size = page.imagelength * page.imagewidth * channels
    array = decode_with_opencv(stream) if plain else None
    if array is None or array.dtype != page.dtype or array.size != size:
        kind = getattr(page.compression, "name", page.compression)
        raise ImageError(
            f"{name}: a TIFF of {page.bitspersample} bits compressed with {kind}; to read it: "
            "pip install imagecodecs, or save it without compression"
        )
    return array.reshape(*array.shape[:2], channels)


def _inverted(array: NDArray[Any], bits: int) -> NDArray[Any]:
    if np.issubdtype(array.dtype, np.unsignedinteger):
        inverted: NDArray[Any] = np.asarray((1 << bits) - 1, array.dtype) - array
        return inverted
    mirrored: NDArray[Any] = array.max() - array + array.min()
    return mirrored


def _picture(array: NDArray[Any], extra: list[int]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Of H x W x C bands those that are shown: grey, RGB or RGBA."""
    channels = array.shape[2]
    colours = channels - len(extra)
    if channels <= 1 or (channels == 3 and not extra):
        return array, ()
    if extra and extra[0] == _UNASSOCIATED and colours in (1, 3):
        shown = [0, 0, 0, 1] if colours == 1 else [0, 1, 2, 3]
        return array[..., shown], ()
    if extra and extra[0] == _ASSOCIATED and colours in (1, 3):
        return array[..., :colours], ()  # laid over black already
    if channels == 2:
        return array[..., :1], ("of 2 bands, the first was taken as grey",)
    return array[..., :3], (f"of {channels} bands, the first three were taken as red, green and blue",)


def _premultiplied_by(array: NDArray[Any], extra: list[int]) -> NDArray[Any] | None:
    """H x W opacity by which the colours of H x W x C bands are multiplied already; None of others."""
    colours = array.shape[2] - len(extra)
    return array[..., colours] if extra and extra[0] == _ASSOCIATED and colours in (1, 3) else None


def _sixteen_bits(array: NDArray[Any], bits: int) -> NDArray[Any]:
    """Values of 9 to 15 bits, of which the file says how many they are, at full scale."""
    if array.dtype != np.uint16 or bits == 16:
        return array
    return (array.astype(np.uint32) * 65535 // ((1 << bits) - 1)).astype(np.uint16)


@contextmanager
def _disable_logging() -> Iterator[None]:
    """tifffile logs what it finds odd, which without a logging set-up lands on stderr."""
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


_logging_disabled = SharedChange(_disable_logging)
