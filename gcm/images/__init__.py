"""Images: reading anything as upright 8-bit RGB, writing, resizing, and what networks want of them.

    from gcm.images import read_image
    image = read_image("photo.jpg")     # a path, "-", bytes, an open file, an array, a PIL image or a tensor
    image.pixels                        # H x W x 3 uint8 RGB, upright
    image.size, image.notes             # width and height as given; what was done that one would not expect

`files` reads from wherever an image comes, `decoding` and `tiff` turn a file's bytes into pixels, `arrays`
any values into 8 bits; `sizes` resizes, `content` finds flat ground, `normalisation` declares what a network
wants. None of them imports PyTorch; `network_input`, which makes the tensor, does, and is imported by name.
"""

from __future__ import annotations

from gcm.images.arrays import rgb_from_array
from gcm.images.content import on_flat_ground
from gcm.images.files import (
    ImageLike,
    check_image_suffix,
    check_read_once,
    load_image,
    read_file_header,
    read_image,
    read_size,
    write_image,
)
from gcm.images.loaded import DEFAULT_MAX_PIXELS, ImageHeader, LoadedImage, RGBImage
from gcm.images.normalisation import IMAGENET, MeanDeviation, Normalisation, PerImage
from gcm.images.sizes import fit_within, image_size, resize_to

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "IMAGENET",
    "ImageHeader",
    "ImageLike",
    "LoadedImage",
    "MeanDeviation",
    "Normalisation",
    "PerImage",
    "RGBImage",
    "check_image_suffix",
    "check_read_once",
    "fit_within",
    "image_size",
    "load_image",
    "on_flat_ground",
    "read_file_header",
    "read_image",
    "read_size",
    "resize_to",
    "rgb_from_array",
    "write_image",
]
