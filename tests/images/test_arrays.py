"""Arrays, tensors and PIL images of every type to 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from gcm.errors import ImageError
from gcm.images import load_image, read_image
from gcm.images.arrays import upright
from gcm.images.network_input import network_input


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
def test_arrays_that_are_no_image(array: np.ndarray, words: str, one_line: Callable[..., None]) -> None:
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


# -- floats: 0..1 or 0..255, and what is neither ----------------------------------------------------


@pytest.mark.parametrize("interpolation", [cv2.INTER_CUBIC, cv2.INTER_LANCZOS4])
def test_interpolation_that_overshoots_does_not_change_the_range(
    small: np.ndarray, interpolation: int
) -> None:
    """One value a hair above 1 once made an image of 0..1 nearly black."""
    large = cv2.resize(small / 255.0, (480, 320), interpolation=interpolation)
    assert large.max() > 1.01
    assert large.min() < -0.01
    loaded = read_image(large)
    np.testing.assert_array_equal(loaded.pixels, np.rint(255 * large.clip(0, 1)))
    assert any("clipped to 0..1" in note for note in loaded.notes)
    np.testing.assert_array_equal(load_image(255 * large), loaded.pixels)
    assert any("clipped to 0..255" in note for note in read_image(255 * large).notes)


def test_rounding_is_not_worth_a_note(small: np.ndarray) -> None:
    assert read_image(small / 255.0 * (1 + 1e-7)).notes == ()
    assert read_image(small.astype(np.float32)).notes == ()
    assert read_image(small).notes == ()


@pytest.mark.parametrize(
    "values",
    [(-1.0, 1.0), (-2.1, 2.6), (0.0, 4.0), (-90.0, 200.0), (0.0, 400.0), (-0.5, 0.9), (0.0, 65535.0)],
)
def test_floats_of_neither_range_are_refused(
    values: tuple[float, float], one_line: Callable[..., None]
) -> None:
    """Normalised for a network, high dynamic range, physical units."""
    with pytest.raises(ImageError) as error:
        load_image(np.linspace(*values, 30).reshape(5, 6))
    one_line(error, "neither 0..1 nor 0..255", f"{values[0]:.4g}..{values[1]:.4g}")


# -- 16 bits that use few of them ------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(0, 1023), (0, 4095), (0, 16383), (29000, 31000), (7000, 9000)])
def test_a_small_range_of_16_bits_is_stretched(low: int, high: int, small: np.ndarray) -> None:
    """Cameras of 10, 12 and 14 bits, thermal counts: divided by 257 they would keep 4 to 63 levels."""
    narrow = np.rint(low + small / 255.0 * (high - low)).astype(np.uint16)
    loaded = read_image(narrow)
    assert np.abs(loaded.pixels.astype(int) - small).max() <= 2
    assert len(loaded.notes) == 1
    assert "stretched to 0..255" in loaded.notes[0]


def test_hot_and_dead_pixels_do_not_spoil_the_stretch(photo: np.ndarray) -> None:
    narrow = 2000 + photo.astype(np.uint16)
    narrow[5, 7], narrow[100, 30] = 65535, 0
    loaded = load_image(narrow)
    assert loaded.std() > 0.9 * photo.std()
    assert loaded[5, 7].tolist() == [255] * 3


@pytest.mark.parametrize(("low", "high"), [(0, 65535), (10000, 30000), (0, 20000)])
def test_a_usual_range_of_16_bits_is_divided_by_257(low: int, high: int, small: np.ndarray) -> None:
    usual = np.rint(low + small / 255.0 * (high - low)).astype(np.uint16)
    loaded = read_image(usual)
    np.testing.assert_array_equal(loaded.pixels, np.rint(usual / 257.0))
    assert loaded.notes == ()


def test_a_blank_16_bit_image_stays_blank() -> None:
    noise = np.random.default_rng(0).integers(1000, 1010, (40, 50), dtype=np.uint16)
    assert np.unique(load_image(noise)).tolist() == [4]
    assert load_image(np.full((4, 5), 777, np.uint16)).max() == 3


def test_opacity_of_a_stretched_image(small: np.ndarray) -> None:
    narrow = np.dstack([4 * small.astype(np.uint16), np.full((32, 48), 1023, np.uint16)])
    narrow[:3, :, 3] = 0
    narrow[:3, :, :3] = 65535  # not seen, so not of the range
    loaded = load_image(narrow)
    assert not loaded[:3].any()
    assert np.abs(loaded[3:].astype(int) - small[3:]).max() <= 2


# -- tensors ---------------------------------------------------------------------------------------


def as_tensor(image: np.ndarray, kind: str) -> torch.Tensor:
    tensor = torch.from_numpy(image)
    return {
        "H x W x C": lambda: tensor,
        "C x H x W": lambda: tensor.permute(2, 0, 1),
        "batch": lambda: tensor.permute(2, 0, 1)[None],
        "0..1": lambda: tensor.permute(2, 0, 1) / 255,
        "0..255 float": lambda: tensor.permute(2, 0, 1).float(),
        "double": lambda: tensor.double() / 255,
        "gradient": (tensor.permute(2, 0, 1) / 255).requires_grad_,
        "int64": tensor.long,
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    ["H x W x C", "C x H x W", "batch", "0..1", "0..255 float", "double", "gradient", "int64"],
)
def test_tensors(small: np.ndarray, kind: str) -> None:
    loaded = read_image(as_tensor(small, kind))
    np.testing.assert_array_equal(loaded.pixels, small)
    assert loaded.size == (48, 32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_tensors_of_half_precision(small: np.ndarray, dtype: torch.dtype) -> None:
    loaded = load_image(torch.from_numpy(small).permute(2, 0, 1).to(dtype) / 255)
    assert np.abs(loaded.astype(int) - small).max() <= 1


def test_grey_tensors(small: np.ndarray) -> None:
    expected = np.repeat(small[..., :1], 3, 2)
    grey = torch.from_numpy(small[..., 0].copy())
    for tensor in (grey, grey[None], grey[None, None], grey[..., None]):
        np.testing.assert_array_equal(load_image(tensor), expected)


def test_channels_in_front_come_first(small: np.ndarray) -> None:
    narrow = torch.from_numpy(small[:, :4].copy()).permute(2, 0, 1)  # 3 x 32 x 4
    np.testing.assert_array_equal(load_image(narrow), small[:, :4])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_tensors_on_a_gpu(small: np.ndarray) -> None:
    np.testing.assert_array_equal(load_image(torch.from_numpy(small).cuda()), small)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(2, 3, 8, 8), "a batch of 2 images"),
        (torch.zeros(5, 8, 9), "shape (5, 8, 9)"),
        (torch.zeros(7), "shape (7,)"),
        (torch.zeros(3, 0, 8), "no pixels"),
        (torch.full((3, 8, 8), 7.0), "neither 0..1 nor 0..255"),
        (torch.full((3, 8, 8), float("nan")), "nan"),
        (torch.zeros(3, 8, 8, device="meta"), "cannot be read"),
        (torch.zeros(3, 8, 8).to_sparse(), "cannot be read"),
        (torch.zeros(3, 8, 8, dtype=torch.complex64), "type"),
    ],
    ids=str,
)
def test_tensors_that_are_no_image(tensor: torch.Tensor, words: str, one_line: Callable[..., None]) -> None:
    with pytest.raises(ImageError) as error:
        load_image(tensor)
    one_line(error, words)


# -- orientation of arrays -------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_agrees_with_pillow(small: np.ndarray, orientation: int) -> None:
    from PIL import ImageOps

    image = Image.fromarray(small)
    image.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(upright(small, orientation), np.asarray(ImageOps.exif_transpose(image)))
