"""Images in and out: reading anything a camera or tool writes, from wherever it comes.

Everywhere in `gcm` an image is H x W x 3 uint8 RGB, upright (EXIF orientation applied). That upright
image is "the image as given" in which all points are expressed.
"""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from gcm.errors import ImageError, OutputError, UsageError
from gcm.images.arrays import array_from_tensor, is_tensor, rgb_from_array, visible_in
from gcm.images.decoding import decode, from_pil, read_header, reading
from gcm.images.loaded import DEFAULT_MAX_PIXELS, ImageHeader, LoadedImage, RGBImage
from gcm.storage.atomic import whole_file

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "ImageLike",
    "LoadedImage",
    "RGBImage",
    "check_image_suffix",
    "check_read_once",
    "load_image",
    "read_file_header",
    "read_image",
    "read_size",
    "write_image",
]

ImageLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[Any] | PILImage.Image "
    "| Tensor | LoadedImage"
)
"""A path (``-`` is standard input), the bytes of an image file, an open binary file, a numpy array (H x W
grey, H x W x 3 RGB or H x W x 4 RGBA; integers or floats), a PIL image, a PyTorch tensor (C x H x W or
H x W x C, on any device), or what :func:`read_image` gave. (A string, lest PyTorch be imported.)"""

_STANDARD_INPUT = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")

_PICTURE_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".ppm": "PPM",
}
"""What pictures are written as, by suffix: photographs in full colour."""


def read_image(source: ImageLike, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> LoadedImage:
    """Read any image as upright H x W x 3 uint8 RGB, with its size as given and notes on what was done to it.

    EXIF orientation is applied (files and PIL images). Grey becomes three equal channels; palettes and
    CMYK are converted; transparent pixels are laid over black. How deeper values become 8 bits is said at
    :func:`gcm.images.rgb_from_array`; a note is left where they were stretched or clipped.

    Args:
        source: see :data:`ImageLike`. A path may be that of a named pipe; a path of ``-`` is standard input.
            An open file is read from its start, and its position left as it was, where it can be moved in.
            A tensor is C x H x W, or H x W x C where that cannot be; a batch of one counts as its image.
        max_pixels: files with more are refused before they are decoded, but JPEGs are decoded at 1/2, 1/4 or
            1/8 of their size, with a note; the size in the result stays that of the whole image.

    Raises:
        ImageError: missing, a folder, not an image, truncated, empty, too large, or of a shape or type that
            is no image.
    """
    if isinstance(source, LoadedImage):
        return source
    if isinstance(source, np.ndarray | PILImage.Image) or is_tensor(source):
        return _of_pixels(source, max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        return decode(io.BytesIO(source), "image in memory", max_pixels)
    if hasattr(source, "read"):
        return _read_open_file(source, max_pixels)
    if not isinstance(source, str | os.PathLike) or isinstance(os.fspath(source), bytes):
        raise ImageError(
            f"{type(source).__name__}: no image; give a path, bytes, an open binary file, a numpy array, "
            "a PIL image or a PyTorch tensor"
        )
    if os.fspath(source) in _STANDARD_INPUT:
        return decode(io.BytesIO(_standard_input()), "standard input", max_pixels)
    return _read_path(os.fspath(source), max_pixels)


def load_image(source: ImageLike, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> RGBImage:
    """The pixels of :func:`read_image`, which tells the rest; a JPEG beyond `max_pixels` is a reduced one."""
    return read_image(source, max_pixels=max_pixels).pixels


def read_file_header(path: Path) -> ImageHeader:
    """Size, orientation and whether there is an alpha channel; most kinds of files are not decoded for it.

    Raises:
        ImageError: missing, not an image, damaged.
    """
    try:
        with path.open("rb") as file:
            header = read_header(file, str(path))
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    if header is None:
        image = read_image(path)
        return ImageHeader(image.size, 1, image.visible is not None)
    return header


def read_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright image in a file, however large; see :func:`read_file_header`."""
    return read_file_header(path).size


def check_read_once(*sources: object) -> None:
    """Refuse several images from one source that can be read only once.

    Raises:
        UsageError: standard input, or one pipe, is given twice.
    """
    seen = set()
    for source in sources:
        if not isinstance(source, str | os.PathLike):
            continue
        name = os.fspath(source)
        key: Any = "-" if name in _STANDARD_INPUT else None
        try:
            status = Path(name).stat()
            if key is None and stat.S_ISFIFO(status.st_mode):
                key = status.st_dev, status.st_ino
        except (OSError, ValueError):
            pass  # told when it is read
        if key is not None and key in seen:
            raise UsageError(f"{name}: is given twice but can be read only once; give one image as a file")
        seen.add(key)


def _of_pixels(source: Any, max_pixels: int) -> LoadedImage:
    if isinstance(source, PILImage.Image):
        with reading("PIL image"):
            return from_pil(source, "PIL image", max_pixels)
    if is_tensor(source):
        array, name = array_from_tensor(source), "tensor"
    else:
        array, name = source, "array"
    pixels, notes = rgb_from_array(array, name)
    return LoadedImage(pixels, (pixels.shape[1], pixels.shape[0]), notes, visible_in(array))


def _standard_input() -> bytes:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or sys.stdin.closed:
        raise ImageError("standard input: is closed; give an image file")
    if sys.stdin.isatty():
        raise ImageError(
            "standard input: is a terminal; send an image into it, as in: gcm match - b.jpg < a.jpg"
        )
    data: bytes = stream.read()
    if not data:
        raise ImageError("standard input: is empty, or has been read already; send one image into it")
    return data


def _read_open_file(file: Any, max_pixels: int) -> LoadedImage:
    name = file.name if isinstance(getattr(file, "name", None), str) else "open file"
    try:
        movable = file.seekable()
        position = file.tell() if movable else 0
        if movable:
            file.seek(0)
        data = file.read()
        if movable:
            file.seek(position)
    except (OSError, ValueError, AttributeError) as error:  # closed, or opened for writing
        raise ImageError(f"{name}: cannot be read ({error})") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name}: is opened as text; open it in mode 'rb'")
    return decode(io.BytesIO(data), name, max_pixels)


def _read_path(name: str, max_pixels: int) -> LoadedImage:
    if not name:  # the system takes it for the folder one is in
        raise ImageError("an image's name is empty; give a file")
    try:
        mode = Path(name).stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{name}: is a folder; give an image file")
        if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode) and name != os.devnull:
            raise ImageError(f"{name}: is a device or socket; give an image file")
        with Path(name).open("rb") as file:
            if file.seekable():
                return decode(file, name, max_pixels)
            data = file.read()
    except FileNotFoundError as error:
        if address := re.match(r"([a-z][a-z0-9+.-]+):/", name, re.IGNORECASE):
            raise ImageError(_about_address(name, address[1].lower())) from error
        raise ImageError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a name no file can have
        raise ImageError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    return decode(io.BytesIO(data), name, max_pixels)


def _about_address(name: str, scheme: str) -> str:
    if scheme == "file":
        path = re.sub("^file:/+", "/", name, flags=re.IGNORECASE)
        return f"{name}: is an address; give the path alone: {path}"
    return (
        f"{name}: is an address, and images are read from files; download it first, as with: curl -O ADDRESS"
    )


def check_image_suffix(path: str | os.PathLike[str]) -> str:
    """The image format a file name asks for.

    Raises:
        UsageError: a suffix that names no image format.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _PICTURE_FORMATS:
        told = f"unknown image suffix '{suffix}'" if suffix else "no suffix, which tells the kind of image"
        raise UsageError(f"{path}: {told}; use one of {', '.join(_PICTURE_FORMATS)}")
    return _PICTURE_FORMATS[suffix]


def write_image(path: str | os.PathLike[str], image: RGBImage) -> None:
    """Write an image whole or not at all; the format follows from the suffix.

    Raises:
        UsageError: a suffix that names no image format.
        OutputError: the file cannot be written.
    """
    image_format = check_image_suffix(path)
    with whole_file(Path(path)) as temporary:
        try:
            PILImage.fromarray(image).save(temporary, format=image_format)
        except ValueError as error:  # larger than the format allows
            raise OutputError(f"{path}: cannot be written ({error}); use .png") from error
