"""Arrays and tensors of any type to 8-bit RGB."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcm.errors import ImageError, WrongTypeError
from gcm.images.loaded import RGBImage

__all__ = ["array_from_tensor", "images_of_batch", "is_tensor", "rgb_from_array", "upright", "visible_in"]

_FULL_16_BIT = 65535

_STRETCH_BELOW = 64 * 257
"""16-bit values that span less are stretched, since fewer than 64 of the 256 grey levels would be left."""

_NOISE = 16
"""16-bit values that span no more than this are not stretched: they are a blank image's noise."""

_PERCENTILES = (0.1, 99.9)
"""What is stretched to 0 and 255; dead and hot pixels lie beyond."""

_SAMPLES = 2**21
"""Percentiles are taken of about so many pixels."""

_TOLERANCE = 0.4
"""Share of the range by which floats may leave 0..1 or 0..255: interpolation (Lanczos) overshoots so far."""

_LEAST_BRIGHTEST = 16.0
"""A float image of 0..255 has pixels brighter than this; a maximum between is of neither range."""


def rgb_from_array(array: NDArray[Any], name: str = "array") -> tuple[RGBImage, tuple[str, ...]]:
    """H x W, H x W x 1, H x W x 3 or H x W x 4 values to H x W x 3 uint8 RGB, and notes on what was done.

    - 8-bit integers stay as they are; booleans become 0 and 255.
    - 16-bit integers are divided by 257, but where that would leave fewer than 64 grey levels (10- and
      12-bit cameras, thermal counts), the range from the 0.1 to the 99.9 percentile is stretched to 0..255,
      and a note says so. A wider or signed integer type is taken for 16 bits unless nothing exceeds 255.
    - Floats within 0..1 are multiplied by 255, those within 0..255 rounded; what lies beyond by less than 0.4
      of the range is clipped (interpolation overshoots), with a note.
    - A fourth channel is opacity; transparent pixels are laid over black.

    Raises:
        ImageError: another shape, no pixels, nan, or values of neither range.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise ImageError(f"{name}: shape {array.shape} is no image; give H x W, H x W x 3 or H x W x 4")
    if 0 in array.shape:
        raise ImageError(f"{name}: has no pixels (shape {array.shape})")
    values, notes = _to_uint8(array, name)
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    elif values.shape[2] == 4:
        alpha = values[..., 3:].astype(np.uint16)
        values = ((values[..., :3] * alpha + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(values), notes


def visible_in(array: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where an H x W x 4 image is not wholly transparent, H x W; None of one without a fourth channel."""
    if array.ndim != 3 or array.shape[2] != 4:
        return None
    return np.asarray(array[..., 3] > 0)


def _to_uint8(array: NDArray[Any], name: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    if array.dtype == np.uint8:
        return np.asarray(array, dtype=np.uint8), ()
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255), ()
    if np.issubdtype(array.dtype, np.floating):
        return _float_to_uint8(array, name)
    if not np.issubdtype(array.dtype, np.integer):
        raise ImageError(f"{name}: values of type {array.dtype} are no image; give uint8, uint16 or float")
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or highest > _FULL_16_BIT:
        # Beyond 16 bits there is no agreed full scale.
        raise ImageError(
            f"{name}: values {lowest}..{highest} are outside 0..65535, so this is no 8- or 16-bit image; "
            "convert them first"
        )
    if array.dtype != np.uint16 and highest <= 255:
        return array.astype(np.uint8), ()  # 8-bit values after arithmetic
    return _16_bit_to_uint8(array.astype(np.uint16, copy=False))


def _16_bit_to_uint8(array: NDArray[np.uint16]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    step = max(1, int(np.sqrt(array.shape[0] * array.shape[1] / _SAMPLES)))
    sample = array[::step, ::step]
    if array.ndim == 3 and array.shape[2] == 4:
        visible = sample[sample[..., 3] > 0][:, :3]
        sample = visible if visible.size else sample[..., :3]
    low, high = (float(value) for value in np.percentile(sample, _PERCENTILES))
    if not _NOISE < high - low < _STRETCH_BELOW:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8), ()
    # Through a table of all 16-bit values, which takes neither time nor memory for an image of floats.
    scale = (np.arange(_FULL_16_BIT + 1) - low) * (255 / (high - low))
    stretched: NDArray[np.uint8] = np.clip(np.rint(scale), 0, 255).astype(np.uint8)[array]
    if array.ndim == 3 and array.shape[2] == 4:
        opacity = array[..., 3].astype(np.float64)
        stretched[..., 3] = np.rint(opacity * (255 / max(1.0, float(opacity.max()))))
    note = (
        f"16-bit values of a small range: {low:.0f} to {high:.0f} (0.1 and 99.9 percentiles) "
        "were stretched to 0..255"
    )
    return stretched, (note,)


def _float_to_uint8(array: NDArray[Any], name: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    lowest, highest = float(array.min()), float(array.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise ImageError(f"{name}: contains nan or infinite values; replace them first")
    if lowest >= -_TOLERANCE and highest <= 1 + _TOLERANCE:
        full = 1.0
    elif lowest >= -_TOLERANCE * highest and _LEAST_BRIGHTEST <= highest <= (1 + _TOLERANCE) * 255:
        full = 255.0
    else:
        raise ImageError(
            f"{name}: float values {lowest:.4g}..{highest:.4g} are neither 0..1 nor 0..255; scale them first"
        )
    values = np.clip(np.rint(array.astype(np.float64) * (255 / full)), 0, 255).astype(np.uint8)
    half_level = 0.5 * full / 255
    if lowest < -half_level or highest > full + half_level:
        return values, (f"float values {lowest:.4g}..{highest:.4g} were clipped to 0..{full:g}",)
    return values, ()


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A stored H x W (x C) array turned as EXIF's orientation, 1 to 8, says; others leave it as it is."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def is_tensor(source: object) -> bool:
    """Whether something is a PyTorch tensor, without importing torch for it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


def images_of_batch(batch: Any, name: str) -> list[Any]:
    """The images of a B x C x H x W or B x H x W x C tensor, a B x H x W x C array, or a list.

    Raises:
        WrongTypeError: something else, one image among others.
    """
    if isinstance(batch, list | tuple):
        return list(batch)
    if not is_tensor(batch) and not isinstance(batch, np.ndarray):
        raise WrongTypeError(
            f"{name}: {type(batch).__name__} is no batch; give B x C x H x W or a list of images"
        )
    if batch.ndim != 4:
        raise WrongTypeError(
            f"{name}: shape {tuple(batch.shape)} is no batch; give B x C x H x W or a list of images"
        )
    return list(batch)


def array_from_tensor(tensor: Any, name: str = "tensor") -> NDArray[Any]:
    """A tensor on any device as an H x W or H x W x C array of its values.

    C x H x W is PyTorch's order, so 1, 3 or 4 in front are channels, and only where the front is none of
    these are they looked for at the end. A batch of one image is taken for that image.

    Raises:
        ImageError: a batch of several images, another shape, or values that cannot be had.
    """
    if tensor.ndim == 4:
        if tensor.shape[0] != 1:
            raise ImageError(
                f"{name}: a batch of {tensor.shape[0]} images; give one at a time, or batches to match_batch"
            )
        tensor = tensor[0]
    if tensor.ndim == 3 and tensor.shape[0] in (1, 3, 4):
        tensor = tensor.permute(1, 2, 0)
    elif tensor.ndim != 2 and not (tensor.ndim == 3 and tensor.shape[2] in (1, 3, 4)):
        raise ImageError(
            f"{name}: shape {tuple(tensor.shape)} is no image; give C x H x W, H x W x C or H x W "
            "with 1, 3 or 4 channels"
        )
    try:
        tensor = tensor.detach().cpu()
        if str(tensor.dtype) == "torch.bfloat16":  # numpy has none
            tensor = tensor.float()
        array: NDArray[Any] = tensor.numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:  # sparse, quantized, without storage
        raise ImageError(
            f"{name}: a {tensor.dtype} tensor whose values cannot be read; give uint8 or float"
        ) from error
    return array
