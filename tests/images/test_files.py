"""Reading whatever a camera or tool writes, from wherever it comes; and writing."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from orientations import ORIENTATION, UPRIGHT_TO_STORED
from PIL import Image

from gcm.errors import ImageError, OutputError, UsageError
from gcm.images import load_image, write_image

# -- what is no image ------------------------------------------------------------------------------


def test_missing(tmp_path: Path, one_line: Callable[..., None]) -> None:
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "none.png")
    one_line(error, str(tmp_path / "none.png"), "no such file")


def test_folder(tmp_path: Path, one_line: Callable[..., None]) -> None:
    with pytest.raises(ImageError) as error:
        load_image(str(tmp_path))
    one_line(error, "is a folder")


def test_below_a_regular_file(tmp_path: Path, one_line: Callable[..., None]) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "file" / "a.png")
    one_line(error, "cannot be read")


@pytest.mark.parametrize("name", ["a\0b.png", "a" * 300 + ".png"], ids=["null", "long"])
def test_impossible_names(tmp_path: Path, name: str, one_line: Callable[..., None]) -> None:
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / name)
    one_line(error, "cannot be read")


def test_empty(tmp_path: Path, one_line: Callable[..., None]) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "a.jpg")
    one_line(error, "is empty")


@pytest.mark.parametrize(
    "content", [b"hello, this is text\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", bytes(100)]
)
def test_not_an_image(tmp_path: Path, content: bytes, one_line: Callable[..., None]) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "a.png")
    one_line(error, str(tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "ppm", "tif", "webp", "bmp"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated(
    tmp_path: Path, photo: np.ndarray, suffix: str, share: float, one_line: Callable[..., None]
) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError) as error:
        load_image(path)
    one_line(error, str(path))


def test_a_truncated_image_that_was_opened_by_the_caller(
    photo: np.ndarray, one_line: Callable[..., None]
) -> None:
    data = io.BytesIO()
    Image.fromarray(photo).save(data, "PNG")
    with pytest.raises(ImageError) as error:
        load_image(Image.open(io.BytesIO(data.getvalue()[:5000])))
    one_line(error, "truncated")


@pytest.mark.parametrize("source", [None, 3, [[1, 2], [3, 4]]], ids=["none", "int", "list"])
def test_things_that_are_no_image(source: Any, one_line: Callable[..., None]) -> None:
    with pytest.raises(ImageError) as error:
        load_image(source)
    one_line(error, "give a path, bytes, an open binary file, a numpy array, a PIL image or a PyTorch tensor")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"%PDF-1.7", "a PDF document"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"PK\3\4", "a zip archive"),
    ],
)
def test_what_lies_where_an_image_should(
    tmp_path: Path, content: bytes, words: str, one_line: Callable[..., None]
) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "a.jpg")
    one_line(error, words)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


def test_heic_without_its_plug_in(tmp_path: Path, monkeypatch: Any, one_line: Callable[..., None]) -> None:
    (tmp_path / "a.jpg").write_bytes(HEIC)  # phones name them so, too
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "a.jpg")
    one_line(error, "HEIC", "pip install pillow-heif")


def test_heic_with_its_plug_in(tmp_path: Path, monkeypatch: Any, one_line: Callable[..., None]) -> None:
    """It is registered when it is needed."""
    registered = []
    plug_in = types.ModuleType("pillow_heif")
    plug_in.__spec__ = importlib.machinery.ModuleSpec("pillow_heif", None)
    plug_in.register_heif_opener = lambda: registered.append(True)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", plug_in)
    (tmp_path / "a.heic").write_bytes(HEIC)
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "a.heic")
    one_line(error, "a.heic")
    assert registered


@pytest.mark.parametrize(
    "content",
    [
        b"hello, this is text",
        b"\x89PNG\r\n\x1a\n",
        HEIC,
        b"v/1\1" + bytes(99),
        b"II*\0" + bytes(99),
        b"P6 9 9 65535\n",
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + bytes(40),
        b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(99) + b"\xff\xc4\0\3",
        b"#?RADIANCE\n" + bytes(99),
    ],
)
def test_bad_input_prints_nothing(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str], one_line: Callable[..., None]
) -> None:
    """Neither OpenCV's log nor anybody else's."""
    with pytest.raises(ImageError) as error:
        load_image(content)
    one_line(error, "image in memory")
    assert capfd.readouterr() == ("", "")


# -- files of every kind ---------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "ppm", "tif", "bmp", "webp"])
def test_lossless_colour(tmp_path: Path, small: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(small).save(path, **({"lossless": True} if suffix == "webp" else {}))
    loaded = load_image(path)
    np.testing.assert_array_equal(loaded, small)
    assert loaded.dtype == np.uint8
    assert loaded.flags.c_contiguous


@pytest.mark.parametrize("suffix", ["png", "pgm", "tif"])
def test_grey(tmp_path: Path, small: np.ndarray, suffix: str) -> None:
    grey = small[..., 0]
    Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(load_image(tmp_path / f"a.{suffix}"), np.repeat(grey[..., None], 3, 2))


def test_black_and_white(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).uniform(size=(20, 30)) < 0.5
    Image.fromarray(bits).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), np.repeat(255 * bits[..., None], 3, 2))


def over_black(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.rint(colour.astype(float) * alpha[..., None] / 255)


def test_rgba_is_laid_over_black(tmp_path: Path, small: np.ndarray) -> None:
    alpha = np.roll(small[..., 0], 5)
    alpha[:4] = 255
    alpha[4:8] = 0
    rgba = np.dstack([small, alpha])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png")
    np.testing.assert_array_equal(loaded, over_black(small, alpha))
    np.testing.assert_array_equal(loaded[:4], small[:4])
    assert not loaded[4:8].any()
    np.testing.assert_array_equal(load_image(rgba), loaded)
    np.testing.assert_array_equal(load_image(Image.fromarray(rgba)), loaded)


def test_grey_with_alpha(tmp_path: Path, small: np.ndarray) -> None:
    grey, alpha = (Image.fromarray(np.ascontiguousarray(small[..., k])) for k in (0, 1))
    Image.merge("LA", [grey, alpha]).save(tmp_path / "a.png")
    expected = over_black(np.repeat(small[..., :1], 3, 2), small[..., 1])
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("transparent", [None, 3, bytes(range(0, 256, 32))])
def test_palette(tmp_path: Path, transparent: int | bytes | None) -> None:
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (8, 3), dtype=np.uint8)
    index = rng.integers(0, 8, (20, 30), dtype=np.uint8)
    image = Image.fromarray(index)
    image.putpalette(palette.tobytes())
    alpha = np.full(8, 255)
    if isinstance(transparent, int):
        alpha[transparent] = 0
    elif transparent is not None:
        alpha[:] = list(transparent)
    image.save(tmp_path / "a.png", **({} if transparent is None else {"transparency": transparent}))
    with Image.open(tmp_path / "a.png") as written:
        assert written.mode == "P"
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), over_black(palette[index], alpha[index]))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bit_grey(tmp_path: Path, deep: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    assert cv2.imwrite(str(path), deep[..., 0])
    expected = np.rint(deep[..., :1] / 257).repeat(3, 2)
    np.testing.assert_array_equal(load_image(path), expected)
    np.testing.assert_array_equal(load_image(deep[..., 0]), expected)


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
def test_sixteen_bit_colour(tmp_path: Path, deep: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    assert cv2.imwrite(str(path), deep[..., ::-1])
    loaded = load_image(path)
    assert np.abs(loaded.astype(int) - deep / 257.0).max() <= 1.0  # Pillow takes the upper byte of some
    assert loaded[0, 0].tolist() == [0, 0, 0]
    assert loaded[0, 1].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(load_image(deep), np.rint(deep / 257.0))


def test_cmyk_jpeg(tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(photo).convert("CMYK").save(tmp_path / "a.jpg", quality=98, subsampling=0)
    with Image.open(tmp_path / "a.jpg") as written:
        assert written.mode == "CMYK"
    error = np.abs(load_image(tmp_path / "a.jpg").astype(int) - photo)
    assert error.mean() < 2


def test_jpeg(tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(photo).save(tmp_path / "a.jpg", quality=98, subsampling=0)
    assert np.abs(load_image(tmp_path / "a.jpg").astype(int) - photo).mean() < 2


# -- orientation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_orientation_of_files(tmp_path: Path, small: np.ndarray, suffix: str, orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](small)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(load_image(path), small)
    with Image.open(path) as image:
        np.testing.assert_array_equal(load_image(image), small)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_jpeg(tmp_path: Path, photo: np.ndarray, orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](photo)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    assert np.abs(load_image(tmp_path / "a.jpg").astype(int) - photo).mean() < 3


def test_the_caller_s_image_is_not_turned(small: np.ndarray) -> None:
    image = Image.fromarray(small)
    image.getexif()[ORIENTATION] = 6
    assert load_image(image).shape == (48, 32, 3)
    assert image.size == (48, 32)
    assert image.getexif()[ORIENTATION] == 6


@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0MM"])
def test_damaged_metadata_does_not_matter(tmp_path: Path, photo: np.ndarray, exif: bytes) -> None:
    Image.fromarray(photo).save(tmp_path / "a.jpg", exif=exif)
    assert load_image(tmp_path / "a.jpg").shape == photo.shape


# -- to the network, and out -----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "PNG", "ppm", "bmp", "tif"])
def test_written_images_are_read_back(tmp_path: Path, small: np.ndarray, suffix: str) -> None:
    path = tmp_path / "new" / f"a.{suffix}"
    write_image(path, small)
    np.testing.assert_array_equal(load_image(path), small)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.npz"])
def test_unknown_image_suffix(tmp_path: Path, small: np.ndarray, name: str) -> None:
    with pytest.raises(UsageError, match=r"suffix.*; use one of \.png, \.jpg"):
        write_image(tmp_path / name, small)
    assert not list(tmp_path.iterdir())


def test_unwritable_images(tmp_path: Path, small: np.ndarray) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_image(tmp_path / "file" / "a.png", small)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_larger_than_the_format_allows(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(OutputError) as error:
        write_image(tmp_path / f"a.{suffix}", np.zeros((1, 70_000, 3), np.uint8))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
