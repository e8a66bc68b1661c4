"""Images of other sizes, and where an image shows nothing to match."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcm.images import load_image, on_flat_ground, resize_to
from gcm.images.network_input import network_input


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
