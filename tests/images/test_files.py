"""Reading whatever a camera or tool writes, and the network's input."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from gcm.errors import ImageError, OutputError, UsageError
from gcm.images.content import on_flat_ground
from gcm.images.files import load_image, write_image
from gcm.images.network_input import network_input, normalise, standardise
from gcm.images.sizes import resize_to

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def small() -> np.ndarray:
    """48 x 32, no symmetry, no equal channels."""
    return np.random.default_rng(3).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def one_line(error: pytest.ExceptionInfo[ImageError], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


# -- what is no image ------------------------------------------------------------------------------


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "none.png")
    one_line(error, str(tmp_path / "none.png"), "no such file")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as error:
        load_image(str(tmp_path))
    one_line(error, "is a folder")


def test_below_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "file" / "a.png")
    one_line(error, "cannot be read")


@pytest.mark.parametrize("name", ["a\0b.png", "a" * 300 + ".png"], ids=["null", "long"])
def test_impossible_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / name)
    one_line(error, "cannot be read")


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "a.jpg")
    one_line(error, "is empty")


@pytest.mark.parametrize(
    "content", [b"hello, this is text\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", bytes(100)]
)
def test_not_an_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "a.png")
    one_line(error, str(tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "ppm", "tif", "webp", "bmp"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated(tmp_path: Path, photo: np.ndarray, suffix: str, share: float) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError) as error:
        load_image(path)
    one_line(error, str(path))


def test_a_truncated_image_that_was_opened_by_the_caller(photo: np.ndarray) -> None:
    data = io.BytesIO()
    Image.fromarray(photo).save(data, "PNG")
    with pytest.raises(ImageError) as error:
        load_image(Image.open(io.BytesIO(data.getvalue()[:5000])))
    one_line(error, "truncated")


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: np.ndarray) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(small).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # beyond this Pillow warns, beyond twice it refuses
    assert load_image(path).shape == small.shape
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError) as error:
        load_image(path)
    one_line(error, "too many pixels")


@pytest.mark.parametrize(
    "source", [None, 3, [[1, 2], [3, 4]], torch.zeros(3, 4, 4)], ids=["none", "int", "list", "tensor"]
)
def test_things_that_are_no_image(source: Any) -> None:
    with pytest.raises(ImageError) as error:
        load_image(source)
    one_line(error, "give a path, a numpy array or a PIL image")


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (2000, 10), (10, 2000), (1, 500), (17, 31)])
def test_any_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), image)
    np.testing.assert_array_equal(load_image(image), image)
    x = network_input(image, 16)
    height, width = shape
    assert x.shape == (1, 3, -(-height // 16) * 16, -(-width // 16) * 16)
    assert not x[..., height:, :].any()
    assert not x[..., width:].any()


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


@pytest.fixture(scope="module")
def deep() -> np.ndarray:
    """16 bits, using the whole range."""
    image = np.random.default_rng(4).integers(0, 65536, (32, 48, 3), dtype=np.uint16)
    image[0, 0], image[0, 1] = 0, 65535
    return image


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bit_grey(tmp_path: Path, deep: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    assert cv2.imwrite(str(path), deep[..., 0])
    expected = np.rint(deep[..., :1] / 257).repeat(3, 2)
    np.testing.assert_array_equal(load_image(path), expected)
    np.testing.assert_array_equal(load_image(deep[..., 0]), expected)


def test_a_dark_sixteen_bit_image_stays_dark(tmp_path: Path) -> None:
    dark = np.arange(255, dtype=np.uint16).reshape(15, 17)
    cv2.imwrite(str(tmp_path / "a.png"), dark)
    assert load_image(tmp_path / "a.png").max() == 1
    assert load_image(dark).max() == 1


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

UPRIGHT_TO_STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: np.rot90,
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}
"""How a camera that reports an orientation stores an upright image."""


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


# -- arrays ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint32, np.int16, np.uint8])
def test_eight_bit_values_in_any_integer_type(small: np.ndarray, dtype: type) -> None:
    np.testing.assert_array_equal(load_image(small.astype(dtype)), small)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16])
def test_sixteen_bit_values_in_any_integer_type(deep: np.ndarray, dtype: type) -> None:
    np.testing.assert_array_equal(load_image(deep.astype(dtype)), np.rint(deep / 257.0))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats(small: np.ndarray, dtype: type) -> None:
    np.testing.assert_array_equal(load_image((small / 255.0).astype(dtype)), small)
    np.testing.assert_array_equal(load_image(small.astype(dtype)), small)


def test_floats_that_overshoot_are_clipped() -> None:
    image = np.array([[-3.0, 0.0], [100.4, 262.0]])
    assert load_image(image)[..., 0].tolist() == [[0, 0], [100, 255]]


def test_booleans() -> None:
    assert load_image(np.array([[True, False]]))[..., 1].tolist() == [[255, 0]]


def test_grey_arrays(small: np.ndarray) -> None:
    expected = np.repeat(small[..., :1], 3, 2)
    np.testing.assert_array_equal(load_image(small[..., 0]), expected)
    np.testing.assert_array_equal(load_image(small[..., :1]), expected)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((5, 0), np.uint8), "no pixels"),
        (np.zeros((3, 20, 30), np.uint8), "shape"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros(9, np.uint8), "shape"),
        (np.zeros((1, 4, 4, 3), np.uint8), "shape"),
        (np.array([[np.nan, 0.5]]), "nan"),
        (np.array([[np.inf, 0.5]]), "infinite"),
        (np.array([[0.0, 40000.0]]), "scale them"),
        (np.array([[-1, 5]]), "outside"),
        (np.array([[0, 70000]]), "outside"),
        (np.array([["a", "b"]]), "type"),
        (np.array([[1j, 2]]), "type"),
        (np.array([[None]]), "type"),
    ],
)
def test_arrays_that_are_no_image(array: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError) as error:
        load_image(array)
    one_line(error, words)


@pytest.mark.parametrize(
    "mode", ["L", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "P", "1", "LA", "I", "F", "I;16"]
)
def test_pil_modes(mode: str) -> None:
    value = 65535 if mode.startswith("I") else 255
    image = Image.new(mode, (4, 3), value if mode in {"I", "F", "I;16"} else None)  # type: ignore[arg-type]
    assert load_image(image).shape == (3, 4, 3)
    if mode in {"I", "F", "I;16"}:
        assert load_image(image).min() == 255


def test_pil_images_that_cannot_be_converted() -> None:
    with pytest.raises(ImageError):
        load_image(Image.new("RGB", (0, 5)))


def test_a_floating_point_tiff(tmp_path: Path, small: np.ndarray) -> None:
    Image.fromarray((small[..., 0] / 255).astype(np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(load_image(tmp_path / "a.tif")[..., 2], small[..., 0])


def test_views_and_read_only_arrays_do_not_matter(small: np.ndarray) -> None:
    for view in (small[::-1, ::-1], small.transpose(1, 0, 2), small[..., ::-1]):
        loaded = load_image(view)
        np.testing.assert_array_equal(loaded, view)
        np.testing.assert_allclose(network_input(view, 1), network_input(view.copy(), 1))
    frozen = small.copy()
    frozen.flags.writeable = False
    network_input(load_image(frozen), 16)  # torch warns of memory it must not write to


# -- to the network, and out -----------------------------------------------------------------------


def test_normalisation() -> None:
    white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    expected = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(normalise(white).flatten(), torch.tensor(expected))
    x = network_input(np.full((5, 6, 3), 255, np.uint8), 16)
    torch.testing.assert_close(x[0, :, 4, 5], torch.tensor(expected))
    assert x.dtype == torch.float32


def test_standardised_input_ignores_exposure_and_tint(photo: np.ndarray) -> None:
    image = torch.from_numpy(photo // 2).permute(2, 0, 1)
    other = image + torch.tensor([3, 40, 90], dtype=torch.uint8).view(3, 1, 1)
    torch.testing.assert_close(standardise(other), standardise(image), atol=1e-4, rtol=1e-4)
    brighter = 2 * image
    torch.testing.assert_close(standardise(brighter), standardise(image), atol=1e-4, rtol=1e-4)
    x = standardise(image)
    torch.testing.assert_close(x.mean(dim=(1, 2)), torch.zeros(3), atol=1e-4, rtol=0)
    assert float(x.var(unbiased=False)) == pytest.approx(1, abs=1e-3)
    assert not standardise(torch.full((3, 9, 9), 77, dtype=torch.uint8)).any()
    torch.testing.assert_close(standardise(image[:, :50], like=image), x[:, :50])


def test_resizing(photo: np.ndarray) -> None:
    assert resize_to(photo, (320, 240)) is photo
    for size in ((100, 50), (400, 300), (100, 300)):
        assert resize_to(photo, size).shape == (size[1], size[0], 3)
    blocks = photo.reshape(120, 2, 160, 2, 3).mean(axis=(1, 3))
    assert np.abs(resize_to(photo, (160, 120)) - blocks).max() <= 0.5 + 1e-9


def test_flat_ground() -> None:
    image = np.full((40, 50, 3), 9, np.uint8)
    places = np.stack(np.meshgrid(np.arange(50), np.arange(40)), axis=-1).reshape(-1, 2).astype(float)
    assert on_flat_ground(image, places, 3).all()
    image[20, 30, 1] = 10
    expected = np.ones((40, 50), bool)
    expected[17:24, 27:34] = False
    np.testing.assert_array_equal(on_flat_ground(image, places, 3).reshape(40, 50), expected)
    assert on_flat_ground(image[:1, :1], places[:1], 16).all()


@pytest.mark.parametrize("suffix", ["png", "PNG", "ppm", "bmp"])
def test_written_images_are_read_back(tmp_path: Path, small: np.ndarray, suffix: str) -> None:
    path = tmp_path / "new" / f"a.{suffix}"
    write_image(path, small)
    np.testing.assert_array_equal(load_image(path), small)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.npz"])
def test_unknown_image_suffix(tmp_path: Path, small: np.ndarray, name: str) -> None:
    with pytest.raises(UsageError, match="unknown image suffix"):
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
