"""How large an image may be, and JPEGs decoded at reduced size."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from orientations import ORIENTATION, UPRIGHT_TO_STORED
from PIL import Image

from gcm.errors import ImageError
from gcm.images import load_image, read_image

# -- how large -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "ppm"])
def test_too_many_pixels(
    tmp_path: Path, monkeypatch: Any, small: np.ndarray, suffix: str, one_line: Callable[..., None]
) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(small).save(path)
    with pytest.raises(ImageError) as error:
        load_image(path, max_pixels=48 * 32 - 1)
    one_line(error, str(path), "48 x 32 has too many pixels (limit 1535)", "--set max_pixels=1536")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's own limit is not asked
    assert load_image(path, max_pixels=48 * 32).shape == small.shape
    assert Image.MAX_IMAGE_PIXELS == 100
    assert load_image(small, max_pixels=10) is not None  # in memory already


def test_too_many_pixels_are_told_before_decoding(tmp_path: Path, one_line: Callable[..., None]) -> None:
    """A header of 60 000 x 60 000 pixels and no data."""
    data = io.BytesIO()
    Image.new("L", (8, 8)).save(data, "PNG")
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + header + struct.pack(">I", zlib.crc32(header))
    with pytest.raises(ImageError) as error:
        load_image(start + data.getvalue()[33:])
    one_line(error, "60000 x 60000 has too many pixels", "--set max_pixels=3600000000")


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("limit", "factor"), [(240 * 320, 1), (240 * 320 - 1, 2), (4800, 4), (4799, 8), (1200, 8)]
)
def test_large_jpegs_are_decoded_at_reduced_size(
    tmp_path: Path, photo: np.ndarray, orientation: int, limit: int, factor: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](photo)))
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    loaded = read_image(tmp_path / "a.jpg", max_pixels=limit)
    assert loaded.size == (320, 240)
    assert loaded.pixels.shape == (240 // factor, 320 // factor, 3)
    expected = cv2.resize(photo, (320 // factor, 240 // factor), interpolation=cv2.INTER_AREA)
    assert np.abs(loaded.pixels.astype(int) - expected).mean() < 3
    if factor == 1:
        assert loaded.notes == ()
    else:
        assert len(loaded.notes) == 1
        assert f"decoded at 1/{factor} of its" in loaded.notes[0]
        assert "decoded at" in repr(loaded)


@pytest.mark.parametrize("size", [(313, 227), (319, 240), (320, 233)])
def test_reduced_jpegs_show_the_whole_image_and_no_more(photo: np.ndarray, size: tuple[int, int]) -> None:
    """Their last blocks reach beyond the image, by up to 7 of its pixels; scale must not suffer from that."""
    width, height = size
    smooth = cv2.GaussianBlur(photo, (0, 0), 4)[:height, :width]
    data = io.BytesIO()
    Image.fromarray(smooth).save(data, "JPEG", quality=98, subsampling=0)
    loaded = read_image(data, max_pixels=width * height // 20)
    assert loaded.size == size
    reduced = loaded.pixels.shape[1], loaded.pixels.shape[0]
    assert reduced == (-(-width // 8), -(-height // 8))
    expected = cv2.resize(smooth, reduced, interpolation=cv2.INTER_AREA)
    assert np.abs(loaded.pixels.astype(int) - expected).mean() < 2


def test_jpegs_too_large_even_so(tmp_path: Path, photo: np.ndarray, one_line: Callable[..., None]) -> None:
    Image.fromarray(photo).save(tmp_path / "a.jpg")
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "a.jpg", max_pixels=1199)
    one_line(error, "320 x 240 has too many pixels")


@pytest.mark.e2e
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_two_hundred_megapixels(tmp_path: Path, suffix: str) -> None:
    """More than Pillow would read, fewer than our limit."""
    path = tmp_path / f"a.{suffix}"
    tile = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    image = np.tile(tile, (100, 130, 1))  # 12 800 x 16 640
    Image.fromarray(image).save(path, **({"compress_level": 1} if suffix == "png" else {"quality": 95}))
    loaded = read_image(path)
    assert loaded.size == (16640, 12800)
    assert loaded.notes == ()
    error = np.abs(loaded.pixels[6400:7000].astype(int) - image[6400:7000])
    assert error.mean() < (1e-9 if suffix == "png" else 8)
    if suffix == "jpg":
        reduced = read_image(path, max_pixels=100_000_000)
        assert reduced.pixels.shape == (6400, 8320, 3)
        assert reduced.size == (16640, 12800)
