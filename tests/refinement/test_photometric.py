"""Patches aligned by their intensities."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from gcm.refinement import photometric
from gcm.refinement.photometric import align_patches


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    rng = np.random.default_rng(0)
    image = sum(
        cv2.resize(rng.uniform(0, 1, (200 // s + 2, 240 // s + 2)), (240, 200), interpolation=cv2.INTER_CUBIC)
        for s in (3, 8, 20)
    )
    return np.asarray(255 * (image - image.min()) / np.ptp(image), np.uint8)


def points() -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(30, 210, 9.0), np.arange(30, 170, 9.0)), axis=-1).reshape(-1, 2)


# In 32nds of a pixel, to which OpenCV 4 rounds where it reads an image.
@pytest.mark.parametrize("motion", [(0.0, 0.0), (13 / 32, -10 / 32), (-19 / 32, 16 / 32)])
@pytest.mark.parametrize("exposure", [1.0, 0.6])
def test_fractions_of_a_pixel_are_found(
    texture: np.ndarray, motion: tuple[float, float], exposure: float
) -> None:
    matrix = np.array([[1.0, 0, motion[0]], [0, 1, motion[1]]])
    moved = cv2.warpAffine(texture, matrix, (240, 200), flags=cv2.INTER_CUBIC)
    moved = np.asarray(moved * exposure + 20, np.uint8)
    at = points()
    found, correlation = align_patches(texture, moved, at, at)
    off = np.linalg.norm(found - at - motion, axis=1)
    assert np.median(off) < 0.05
    assert np.percentile(off, 95) < 0.15
    assert correlation.min() > 0.95


def test_what_differs_does_not_correlate(texture: np.ndarray) -> None:
    other = np.random.default_rng(1).integers(0, 255, texture.shape).astype(np.uint8)
    _, correlation = align_patches(texture, other, points(), points())
    assert np.median(np.abs(correlation)) < 0.4
    assert (np.abs(correlation) <= 1 + 1e-5).all()


def test_without_structure_nothing_moves() -> None:
    flat = np.full((200, 240), 90, np.uint8)
    found, correlation = align_patches(flat, flat, points(), points() + 0.3)
    np.testing.assert_allclose(found, points() + 0.3, atol=1e-3)
    assert np.isfinite(correlation).all()


def test_no_points(texture: np.ndarray) -> None:
    found, correlation = align_patches(texture, texture, np.zeros((0, 2)), np.zeros((0, 2)))
    assert found.shape == (0, 2)
    assert correlation.shape == (0,)


@pytest.mark.parametrize("pixels", [240, 240 * 37, 240 * 199])
def test_a_large_image_is_gone_through_in_bands(
    texture: np.ndarray, pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = np.array([[1.0, 0, 0.4], [0, 1, -0.3]])
    moved = np.asarray(cv2.warpAffine(texture, matrix, (240, 200), flags=cv2.INTER_CUBIC), np.uint8)
    # All over, in no order, some at the very border.
    at = np.random.default_rng(3).uniform(0, (239, 199), (3000, 2))
    expected, alike = align_patches(texture, moved, at, at)
    monkeypatch.setattr(photometric, "_BAND_PIXELS", pixels)
    found, correlation = align_patches(texture, moved, at, at)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_allclose(correlation, alike, atol=1e-4)
