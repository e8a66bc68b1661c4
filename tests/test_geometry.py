"""The coordinate rules."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcm.geometry import (
    apply_homography,
    cell_to_pixel,
    image_corners,
    inside,
    pixel_to_cell,
    resize_matrix,
    resize_points,
    rounded_homography,
    warp_image,
)

POINTS = arrays(np.float64, (5, 2), elements=st.floats(-1e4, 1e4))
STRIDES = st.integers(1, 64)
SIZES = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


def test_cell_centres_of_the_specification() -> None:
    assert cell_to_pixel(np.array([[0, 1]]), 16).tolist() == [[7.5, 23.5]]
    assert cell_to_pixel(np.array([[0, 1]]), 1).tolist() == [[0.0, 1.0]]
    assert cell_to_pixel(np.array([[3, 4]]), 2).dtype == np.float64


@given(cells=POINTS, stride=STRIDES)
def test_cells_and_pixels_invert_each_other(cells: np.ndarray, stride: int) -> None:
    np.testing.assert_allclose(pixel_to_cell(cell_to_pixel(cells, stride), stride), cells, atol=1e-8)


@given(stride=st.integers(1, 16), ratio=st.integers(1, 4), cell=st.integers(0, 100))
def test_a_cell_is_centred_on_its_children(stride: int, ratio: int, cell: int) -> None:
    children = np.arange(cell * ratio, (cell + 1) * ratio)
    assert cell_to_pixel(children, stride).mean() == pytest.approx(
        float(cell_to_pixel(np.array(cell), stride * ratio))
    )


@given(points=POINTS, size=SIZES, new_size=SIZES)
def test_resizing_there_and_back(
    points: np.ndarray, size: tuple[int, int], new_size: tuple[int, int]
) -> None:
    there = resize_points(points, size, new_size)
    np.testing.assert_allclose(resize_points(there, new_size, size), points, rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(
        apply_homography(resize_matrix(size, new_size), points), there, rtol=1e-9, atol=1e-6
    )


@given(size=SIZES, new_size=SIZES)
def test_resizing_keeps_the_image_s_corners(size: tuple[int, int], new_size: tuple[int, int]) -> None:
    corners = np.array([[-0.5, -0.5], [size[0] - 0.5, size[1] - 0.5]])
    expected = [[-0.5, -0.5], [new_size[0] - 0.5, new_size[1] - 0.5]]
    np.testing.assert_allclose(resize_points(corners, size, new_size), expected, atol=1e-9)


def test_resized_points_follow_opencv() -> None:
    """A bright block lands where the rule says when OpenCV resizes the image."""
    image = np.zeros((40, 60), np.float32)
    image[20:24, 32:36] = 1
    small = cv2.resize(image, (30, 10), interpolation=cv2.INTER_AREA)
    y, x = np.nonzero(small == small.max())
    centre = np.array([[x.mean(), y.mean()]])
    np.testing.assert_allclose(resize_points(np.array([[33.5, 21.5]]), (60, 40), (30, 10)), centre)


@given(
    h=arrays(np.float64, (3, 3), elements=st.floats(-0.2, 0.2)),
    points=arrays(np.float64, (5, 2), elements=st.floats(-1, 1)),
)
def test_homographies_compose_and_invert(h: np.ndarray, points: np.ndarray) -> None:
    h = h + np.diag([1.0, 1.0, 2.0])  # invertible, and no point of the unit square near its horizon
    mapped = apply_homography(h, points)
    np.testing.assert_allclose(apply_homography(np.linalg.inv(h), mapped), points, atol=1e-6)
    np.testing.assert_allclose(apply_homography(h @ h, points), apply_homography(h, mapped), atol=1e-6)
    np.testing.assert_allclose(apply_homography(-3 * h, points), mapped, atol=1e-9)


def test_points_on_the_horizon_are_not_finite() -> None:
    h = np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]])
    mapped = apply_homography(h, np.array([[0.0, 1.0], [0.0, 0.0], [2.0, 4.0]]))
    assert not np.isfinite(mapped[:2]).all(axis=1).any()
    assert mapped[2].tolist() == [1.0, 2.0]


def test_no_points_map_to_no_points() -> None:
    assert apply_homography(np.eye(3), np.zeros((0, 2))).shape == (0, 2)
    assert inside(np.zeros((0, 2)), 5, 5).shape == (0,)


def test_inside_means_within_the_centres_of_the_border_pixels() -> None:
    points = np.array(
        [[0, 0], [9, 4], [9.01, 4], [9, 4.01], [-0.01, 0], [0, -0.01], [np.nan, 1], [np.inf, 1]]
    )
    assert inside(points, 10, 5).tolist() == [True, True, False, False, False, False, False, False]
    assert inside(image_corners(10, 5), 10, 5).all()
    assert image_corners(10, 5).tolist() == [[0, 0], [9, 0], [9, 4], [0, 4]]


def test_warping_agrees_with_mapping_points(photo: np.ndarray) -> None:
    shift = np.array([[1.0, 0, 12], [0, 1, -7], [0, 0, 1]])
    warped = warp_image(photo, shift, 320, 240)
    assert warped.dtype == np.uint8
    np.testing.assert_array_equal(warped[:233, 12:], photo[7:, :308])
    assert not warped[:, :12].any()  # black outside
    assert warp_image(photo, np.eye(3), 100, 50).shape == (50, 100, 3)
    assert warp_image(photo[..., 0], np.eye(3), 100, 50).shape == (50, 100)


def test_a_rounded_homography_lies_near_and_takes_up_small_differences() -> None:
    h = np.array([[1.1, 0.07, 12.3], [-0.05, 0.9, 2.1], [1e-4, 2e-4, 1]])
    rounded = rounded_homography(h, (640, 480))
    quarters = np.array([[159.75, 119.75], [479.25, 119.75], [479.25, 359.25], [159.75, 359.25]])
    mapped = apply_homography(rounded, quarters)
    assert np.abs(mapped - apply_homography(h, quarters)).max() <= 0.0626
    np.testing.assert_allclose(mapped * 8, np.round(mapped * 8), atol=1e-6)
    for scale in (-2.0, 1.0, 1 + 1e-9):
        assert np.array_equal(rounded_homography(h * scale + 1e-9, (640, 480)), rounded)
    np.testing.assert_allclose(rounded_homography(rounded, (640, 480)), rounded, atol=1e-12)


def test_what_cannot_be_rounded_is_left() -> None:
    horizon = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 320, 0, 1]])
    assert rounded_homography(horizon, (640, 480)) is horizon
    assert rounded_homography(np.eye(3), (1, 1)).tolist() == np.eye(3).tolist()  # all four are one point
    tiny = np.diag([1e-6, 1e-6, 1.0])  # all four land on one
    assert rounded_homography(tiny, (640, 480)) is tiny
