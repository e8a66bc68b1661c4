"""Files of more than 8 bits a channel, in every layout in which they are met."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from gcm.errors import ImageError
from gcm.images import load_image, read_image


def tiff(values: np.ndarray, **options: Any) -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, values, **{"metadata": None, **options})
    return data.getvalue()


@pytest.mark.parametrize(
    "depth", [np.uint8, np.uint16, np.float16, np.float32, np.float64], ids=lambda d: d.__name__
)
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_colour_tiffs(small: np.ndarray, depth: type, planes: str, bigtiff: bool) -> None:
    values = {np.uint8: small, np.uint16: small.astype(np.uint16) * 257}.get(
        depth, (small / 255.0).astype(depth)
    )
    stored = values if planes == "contig" else np.moveaxis(values, -1, 0)
    data = tiff(stored, photometric="rgb", planarconfig=planes, bigtiff=bigtiff)
    loaded = read_image(data)
    np.testing.assert_array_equal(loaded.pixels, small)
    assert loaded.size == (48, 32)
    assert loaded.notes == ()


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32], ids=lambda d: d.__name__)
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_grey_tiffs(small: np.ndarray, depth: type, photometric: str) -> None:
    """White may be zero, of a picture that is none the brighter for that."""
    grey = small[..., 0]
    seen = 255 - grey if photometric == "miniswhite" else grey
    values = {np.uint8: seen, np.uint16: seen.astype(np.uint16) * 257}.get(
        depth, (seen / 255.0).astype(depth)
    )
    loaded = load_image(tiff(values, photometric=photometric))
    np.testing.assert_array_equal(loaded, np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_deep_tiffs(deep: np.ndarray, orientation: int) -> None:
    data = tiff(deep, photometric="rgb", extratags=[(274, "H", 1, orientation, False)])
    eight = tiff(
        (deep >> 8).astype(np.uint8), photometric="rgb", extratags=[(274, "H", 1, orientation, False)]
    )
    loaded, expected = load_image(data), load_image(eight)
    assert loaded.shape == expected.shape
    assert np.abs(loaded.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("compression", ["zlib", "packbits", "lzw"])
@pytest.mark.parametrize("channels", [1, 3])
def test_compressed_deep_tiffs(tmp_path: Path, deep: np.ndarray, compression: str, channels: int) -> None:
    values = deep[..., 0] if channels == 1 else deep
    scheme = {"zlib": 8, "packbits": 32773, "lzw": 5}[compression]
    path = tmp_path / "a.tif"
    assert cv2.imwrite(
        str(path), values[..., ::-1] if channels == 3 else values, [cv2.IMWRITE_TIFF_COMPRESSION, scheme]
    )
    expected = np.rint(deep / 257.0) if channels == 3 else np.rint(deep[..., :1] / 257.0).repeat(3, 2)
    np.testing.assert_array_equal(load_image(path), expected)


def test_a_compression_that_takes_a_package_is_named(
    tmp_path: Path, deep: np.ndarray, monkeypatch: Any, one_line: Callable[..., None]
) -> None:
    """Or read, where that package is installed."""
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), deep)
    monkeypatch.setattr("gcm.images.decoding.decode_with_opencv", lambda stream: None)
    if importlib.util.find_spec("imagecodecs"):
        np.testing.assert_array_equal(load_image(path)[..., ::-1], np.rint(deep / 257.0))
        return
    with pytest.raises(ImageError) as error:
        load_image(path)
    one_line(error, "LZW", "pip install imagecodecs")


def test_bands_and_opacity(deep: np.ndarray) -> None:
    opacity = np.full((32, 48, 1), 65535, np.uint16)
    opacity[:5] = 0
    expected = np.rint(deep / 257.0)
    five = np.concatenate([deep, deep[..., :2] // 2], axis=2)
    loaded = read_image(tiff(five, photometric="minisblack", planarconfig="contig"))
    np.testing.assert_array_equal(loaded.pixels, expected)
    assert loaded.notes == ("of 5 bands, the first three were taken as red, green and blue",)
    rgba = np.concatenate([deep, opacity], axis=2)
    loaded = read_image(tiff(rgba, photometric="rgb", extrasamples=["unassalpha"]))
    np.testing.assert_array_equal(loaded.pixels[5:], expected[5:])
    assert not loaded.pixels[:5].any()
    loaded = read_image(tiff(rgba, photometric="rgb", extrasamples=["unspecified"]))
    np.testing.assert_array_equal(loaded.pixels, expected)
    assert len(loaded.notes) == 1
    two = np.concatenate([deep[..., :1], opacity], axis=2)
    loaded = read_image(
        tiff(two, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"])
    )
    np.testing.assert_array_equal(loaded.pixels[5:], expected[5:, :, :1].repeat(3, 2))
    assert not loaded.pixels[:5].any()


def test_counts_of_a_thermal_camera(small: np.ndarray) -> None:
    loaded = read_image(tiff(29000 + 8 * small[..., 0].astype(np.uint16), photometric="minisblack"))
    assert np.abs(loaded.pixels.astype(int) - small[..., :1]).max() <= 2
    assert "stretched" in loaded.notes[0]


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (np.zeros((9, 9, 4), np.uint16), {"photometric": "separated"}, "SEPARATED"),
        (
            np.zeros((4, 32, 32), np.uint16),
            {"photometric": "minisblack", "volumetric": True, "tile": (16, 16, 16)},
            "volume",
        ),
        (
            np.linspace(-40, 55, 81, dtype=np.float32).reshape(9, 9),
            {"photometric": "minisblack"},
            "neither 0..1",
        ),
        (np.full((9, 9), -5, np.int16), {"photometric": "minisblack"}, "outside 0..65535"),
        (np.full((9, 9), 1 + 1j, np.complex64), {"photometric": "minisblack"}, "complex64"),
    ],
    ids=["cmyk", "volume", "degrees", "negative", "complex"],
)
def test_deep_tiffs_that_are_no_picture(
    values: np.ndarray, options: dict[str, Any], words: str, one_line: Callable[..., None], capfd: Any
) -> None:
    with pytest.raises(ImageError) as error:
        load_image(tiff(values, **options))
    one_line(error, words)
    assert capfd.readouterr() == ("", "")


def test_too_many_pixels_in_a_deep_tiff(deep: np.ndarray, one_line: Callable[..., None]) -> None:
    with pytest.raises(ImageError) as error:
        load_image(tiff(deep, photometric="rgb"), max_pixels=1000)
    one_line(error, "48 x 32 has too many pixels")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_truncated_deep_tiffs(
    deep: np.ndarray, share: float, compression: str | None, one_line: Callable[..., None], capfd: Any
) -> None:
    data = tiff(deep, photometric="rgb", compression=compression)
    with pytest.raises(ImageError) as error:
        load_image(data[: int(share * len(data))])
    one_line(error, "image in memory")
    assert capfd.readouterr() == ("", "")


def test_damaged_deep_tiffs_say_so_or_are_read(deep: np.ndarray, capfd: Any) -> None:
    """Bytes of the header and the tags changed at random: one line, nothing printed, no other error."""
    data = np.frombuffer(tiff(deep, photometric="rgb", compression="zlib"), np.uint8)
    random = np.random.default_rng(0)
    for _ in range(200):
        damaged = data.copy()
        damaged[random.integers(4, 300, 3)] = random.integers(0, 256, 3)
        with suppress(ImageError):
            load_image(damaged.tobytes(), max_pixels=10**6)
    assert capfd.readouterr() == ("", "")


# -- PNG and PPM -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".ppm", ".tif"])
def test_ten_bits_in_sixteen(small: np.ndarray, suffix: str) -> None:
    """Pillow alone keeps 4 levels of them."""
    ok, data = cv2.imencode(suffix, 4 * small[..., ::-1].astype(np.uint16))
    assert ok
    loaded = read_image(data.tobytes())
    assert np.abs(loaded.pixels.astype(int) - small).max() <= 2
    assert "stretched" in loaded.notes[0]


@pytest.mark.parametrize("suffix", [".png", ".ppm"])
def test_deep_colour_is_divided_by_257(deep: np.ndarray, suffix: str) -> None:
    ok, data = cv2.imencode(suffix, deep[..., ::-1])
    assert ok
    np.testing.assert_array_equal(load_image(data.tobytes()), np.rint(deep / 257.0))


def test_deep_png_with_opacity(deep: np.ndarray) -> None:
    opacity = np.full((32, 48, 1), 65535, np.uint16)
    opacity[:5] = 0
    ok, data = cv2.imencode(".png", np.concatenate([deep[..., ::-1], opacity], axis=2))
    assert ok
    loaded = load_image(data.tobytes())
    np.testing.assert_array_equal(loaded[5:], np.rint(deep / 257.0)[5:])
    assert not loaded[:5].any()


def test_a_pgm_says_how_many_bits_it_has() -> None:
    values = np.arange(0, 1024, 4).astype(">u2")
    grey = load_image(b"P5 16 16 1023\n" + values.tobytes())[..., 0]
    assert np.abs(grey.ravel().astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_deep_png(
    deep: np.ndarray, share: float, one_line: Callable[..., None], capfd: Any
) -> None:
    data = cv2.imencode(".png", deep)[1].tobytes()
    with pytest.raises(ImageError) as error:
        load_image(data[: int(share * len(data))])
    one_line(error, "truncated")
    assert capfd.readouterr() == ("", "")


# -- real ones -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cases(shared: Path, capfd: Any, one_line: Callable[..., None]) -> None:
    folder = shared / "cases"
    photo = load_image(folder / "small.png")
    for name in ("chunky_u16.tif", "planar_u16.tif"):
        loaded = read_image(folder / name)
        assert np.abs(loaded.pixels.astype(int) - photo).max() <= 1, name
        assert loaded.notes == ()
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    white = load_image(folder / "miniswhite_u16.tif")[..., 0]
    assert np.corrcoef(white.ravel(), grey.ravel())[0, 1] > 0.99
    bands = read_image(folder / "band5_u16.tif")
    assert bands.size == (160, 60)
    assert any("of 5 bands" in note for note in bands.notes)
    for name in ("l10bit.png", "r10bit.png"):
        loaded = read_image(folder / name)
        assert len(np.unique(loaded.pixels)) > 200
        assert any("stretched" in note for note in loaded.notes)
    with pytest.raises(ImageError) as error:
        load_image(folder / "heic_header_only.heic")
    one_line(error, "heic_header_only.heic")
    assert capfd.readouterr() == ("", "")
