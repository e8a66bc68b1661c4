"""Images in and out: reading anything a camera or tool writes, and making the network's input.

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
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageOps, UnidentifiedImageError
from torch import Tensor

from gcm.errors import ImageError, OutputError, UsageError
from gcm.files import whole_file

__all__ = [
    "ImageLike",
    "RGBImage",
    "check_image_suffix",
    "load_image",
    "network_input",
    "normalise",
    "on_flat_ground",
    "resize_to",
    "standardise",
    "write_image",
]

RGBImage: TypeAlias = NDArray[np.uint8]
"""H x W x 3 uint8 RGB."""

ImageLike: TypeAlias = str | os.PathLike[str] | NDArray[Any] | PILImage.Image
"""A path, a numpy array (H x W grey, H x W x 3 RGB or H x W x 4 RGBA; integers or floats), or a PIL image."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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


FLAT_RADIUS = 16
"""Pixels: where everything so near has one colour, there is nothing to match."""


def on_flat_ground(
    image: RGBImage, points: NDArray[np.float64], radius: int = FLAT_RADIUS
) -> NDArray[np.bool_]:
    """Whether all pixels of the (2 radius + 1)-square around each of N x 2 points have one colour.

    There is nothing to match in such a place; what a network says of it is its padding's doing.

    Args:
        image: H x W x 3 uint8 RGB.
        points: (x, y) in pixels, inside the image.
        radius: in pixels; of the square, what lies in the image counts.
    """
    height, width = image.shape[:2]
    x, y = np.rint(points).astype(np.int64).T
    left, right = np.maximum(x - radius, 0), np.minimum(x + radius, width - 1)
    top, bottom = np.maximum(y - radius, 0), np.minimum(y + radius, height - 1)
    # A square has one colour where no pixel of it differs from the next, to the right and below.
    beside = _steps(image[:, 1:], image[:, :-1])
    below = _steps(image[1:], image[:-1])
    count = _sums(beside, left, top, right, bottom + 1) + _sums(below, left, top, right + 1, bottom)
    result: NDArray[np.bool_] = count == 0
    return result


def _steps(image: NDArray[np.uint8], neighbour: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Integral image of where two images differ."""
    if image.size == 0:
        return np.zeros((image.shape[0] + 1, image.shape[1] + 1), np.int32)
    same = cv2.inRange(cv2.absdiff(image, neighbour), (0, 0, 0), (0, 0, 0))
    return np.asarray(cv2.integral((same == 0).view(np.uint8)), dtype=np.int32)


def _sums(
    integral: NDArray[np.int32],
    left: NDArray[np.int64],
    top: NDArray[np.int64],
    right: NDArray[np.int64],
    bottom: NDArray[np.int64],
) -> NDArray[np.int32]:
    """Sums over rectangles; right and bottom are exclusive."""
    result: NDArray[np.int32] = (
        integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
    )
    return result


def resize_to(image: RGBImage, size: tuple[int, int]) -> RGBImage:
    """Resize to a width and height; area averaging when shrinking, so that nothing aliases."""
    height, width = image.shape[:2]
    if size == (width, height):
        return image
    shrink = size[0] <= width and size[1] <= height
    method = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)


def fit_within(image: RGBImage, side: int) -> RGBImage:
    """The image, shrunk where its longer side exceeds `side`; itself where it does not."""
    factor = min(1.0, side / max(image.shape[:2]))
    width, height = image_size(image)
    return resize_to(image, (max(1, round(width * factor)), max(1, round(height * factor))))


def image_size(image: RGBImage) -> tuple[int, int]:
    """Width and height."""
    return image.shape[1], image.shape[0]


def normalise(images: Tensor) -> Tensor:
    """uint8 RGB, ... x 3 x H x W, to float32 less ImageNet's mean, over its deviation (matching.md, 1)."""
    shape = (3, 1, 1)
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(shape)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(shape)
    return (images.float() / 255 - mean) / std


def standardise(images: Tensor, like: Tensor | None = None) -> Tensor:
    """uint8 RGB, ... x 3 x H x W, to float32 with each image's own mean colour and contrast.

    Exposure and tint then no longer matter. The deviation is common to the three channels, so that a
    channel without signal is not blown up, and at least 4 grey levels, so that noise is not.

    Args:
        images: what to standardise.
        like: images whose mean and deviation to use instead (for a warped image, the one it came from).
    """
    measured = (images if like is None else like).float()
    mean = measured.mean(dim=(-2, -1), keepdim=True)
    variance = measured.var(dim=(-2, -1), keepdim=True, unbiased=False).mean(dim=-3, keepdim=True)
    return (images.float() - mean) / variance.sqrt().clamp(min=4.0)


def _standardised_by(images: Tensor, measured: RGBImage) -> Tensor:
    """:func:`standardise` by the measures of an H x W x 3 array, which OpenCV takes much faster."""
    mean, deviation = (torch.from_numpy(v).float().view(3, 1, 1) for v in cv2.meanStdDev(measured))
    scale = deviation.square().mean().sqrt().clamp(min=4.0)
    return (images.float() - mean.to(images.device)) / scale.to(images.device)


def _standardised_grey_by(image: RGBImage, measured: RGBImage, device: torch.device | str) -> Tensor:
    """The mean of :func:`standardise`'s three channels, by the measures of an array; 1 x 1 x H x W."""
    mean, deviation = cv2.meanStdDev(measured)
    scale = max(float(np.sqrt(np.mean(deviation**2))), 4.0)
    red, green, blue = cv2.split(image)
    total = cv2.add(cv2.add(red, green, dtype=cv2.CV_16S), blue, dtype=cv2.CV_16S)
    grey = torch.from_numpy(total).to(device).float()[None, None]
    return grey.mul_(1 / (3 * scale)).sub_(float(mean.mean()) / scale)


NORMALISATIONS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "imagenet": lambda images, _: normalise(images),
    "standardised": standardise,
    "standardised grey": lambda images, like: standardise(images, like).mean(dim=-3, keepdim=True),
}
"""What a backbone may ask for in ``BackboneInfo.normalisation``: images and the ones to measure -> input."""


def network_input(
    image: RGBImage,
    multiple: int,
    device: torch.device | str = "cpu",
    *,
    normalisation: str = "imagenet",
    like: RGBImage | None = None,
) -> Tensor:
    """1 x 3 x H' x W' float32 (1 x 1 of grey), zero-padded right and bottom up to multiples of `multiple`.

    Zero means zero after normalisation, that is, the mean colour.

    Args:
        image: H x W x 3 uint8 RGB.
        multiple: of which the sides become multiples.
        device: where the tensor lives.
        normalisation: a key of :data:`NORMALISATIONS`.
        like: measure this image instead, see :func:`standardise`.
    """
    if normalisation == "standardised grey":
        tensor = _standardised_grey_by(image, image if like is None else like, device)
    elif normalisation == "standardised":
        tensor = _standardised_by(_tensor(image, device), image if like is None else like)
    else:
        tensor = _tensor(image, device)
        tensor = NORMALISATIONS[normalisation](tensor, None if like is None else _tensor(like, device))
    height, width = image.shape[:2]
    return torch.nn.functional.pad(tensor, (0, -width % multiple, 0, -height % multiple))


def _tensor(image: RGBImage, device: torch.device | str) -> Tensor:
    """H x W x 3 array to 1 x 3 x H x W tensor."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"])).to(device).permute(2, 0, 1)[None]


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
