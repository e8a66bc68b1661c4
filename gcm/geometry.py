"""The coordinate rules, each written once.

Points are (x, y) in pixels, pixel centres at integers: the centre of the top-left pixel is (0, 0), its
corner (-0.5, -0.5). A homography's name says its direction: ``h_1_to_0`` maps points of image 1 into
image 0.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "apply_homography",
    "cell_to_pixel",
    "epipolar_distances",
    "homography_scale",
    "image_corners",
    "inside",
    "inverse",
    "pixel_to_cell",
    "resize_matrix",
    "resize_points",
    "scaled_inverse",
    "warp_image",
    "warp_smoothly",
]

_ALIASES_BELOW = 0.7
"""Scale below which an image is shrunk before it is warped."""

Points = NDArray[np.float64]
Matrix = NDArray[np.float64]


CORNER = 0.5
"""Pixels from the corner of the first pixel, where COLMAP counts from, to its centre, where we do."""


def cell_to_pixel(cells: NDArray[Any], stride: int) -> Points:
    """Centre, in pixels of the network's input, of the cells of a map of that stride; any shape."""
    return (np.asarray(cells, dtype=np.float64) + 0.5) * stride - 0.5


def pixel_to_cell(points: NDArray[Any], stride: int) -> Points:
    """Inverse of :func:`cell_to_pixel`; fractional where a point is not a cell's centre."""
    return (np.asarray(points, dtype=np.float64) + 0.5) / stride - 0.5


def resize_points(points: NDArray[Any], size: tuple[int, int], new_size: tuple[int, int]) -> Points:
    """Where points lie after an image of `size` became one of `new_size` (both width, height).

    Pixel *corners* map onto each other when an image is resized, hence the halves.
    """
    scale = np.array([new_size[0] / size[0], new_size[1] / size[1]])
    resized: Points = (np.asarray(points, dtype=np.float64) + 0.5) * scale - 0.5
    return resized


def resize_matrix(size: tuple[int, int], new_size: tuple[int, int]) -> Matrix:
    """The 3 x 3 form of :func:`resize_points`."""
    sx, sy = new_size[0] / size[0], new_size[1] / size[1]
    return np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]])


def apply_homography(h: ArrayLike, points: NDArray[Any]) -> Points:
    """Map N x 2 points by a 3 x 3 homography; a point on its horizon becomes inf or nan."""
    matrix = np.asarray(h, dtype=np.float64)
    pts = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    # A row a coordinate: four times as fast as a row a point, and the same to the last bit.
    mapped = matrix[:, :2] @ pts.T
    mapped += matrix[:, 2:]
    result: Points = np.empty_like(pts, order="C")
    with np.errstate(divide="ignore", invalid="ignore"):
        np.divide(mapped[:2], mapped[2], out=result.T)
    return result


def inverse(h: Matrix) -> Matrix:
    """The homography back."""
    result: Matrix = np.linalg.inv(h).astype(np.float64)
    return result


def scaled_inverse(h: Matrix) -> Matrix:
    """The homography back, scaled so that its last entry is 1, where that entry is not zero."""
    back = inverse(h)
    return back / back[2, 2] if abs(back[2, 2]) > 1e-12 else back


def rounded_homography(h: Matrix, size: tuple[int, int], step: float = 0.125) -> Matrix:
    """The homography next to `h` whose four quarter points of an image land on multiples of `step`.

    What is found to a hundredth of a pixel is then the same to the last digit, whichever processor found it.

    Args:
        h: 3 x 3.
        size: width and height of the image it is applied to.
        step: pixels of its target.

    Returns:
        `h` itself where the four points do not all lie before its horizon.
    """
    x, y = (size[0] - 1) / 4, (size[1] - 1) / 4
    points = np.array([[x, y], [3 * x, y], [3 * x, 3 * y], [x, 3 * y]])
    depths = points @ h[2, :2] + h[2, 2]
    if not (np.all(depths > 0) or np.all(depths < 0)):
        return h
    targets = np.round(apply_homography(h, points) / step) * step
    (u, v), ones, zeros = targets.T, np.ones(4), np.zeros(4)
    x, y = points.T
    across = np.column_stack([x, y, ones, zeros, zeros, zeros, -u * x, -u * y])
    down = np.column_stack([zeros, zeros, zeros, x, y, ones, -v * x, -v * y])
    try:
        entries = np.linalg.solve(np.vstack([across, down]), np.concatenate([u, v]))
    except np.linalg.LinAlgError:
        return h
    return np.append(entries, 1.0).reshape(3, 3)


def image_corners(width: int, height: int) -> Points:
    """Centres of the four corner pixels, clockwise from the top left, 4 x 2."""
    w, h = width - 1.0, height - 1.0
    return np.array([[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]])


def inside(points: NDArray[Any], width: int, height: int) -> NDArray[np.bool_]:
    """Which of N x 2 points lie within the centres of the border pixels."""
    x, y = np.asarray(points)[:, 0], np.asarray(points)[:, 1]
    result: NDArray[np.bool_] = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return result


def epipolar_distances(fundamental: ArrayLike, points0: Points, points1: Points) -> tuple[Points, Points]:
    """How far N matches lie from the epipolar lines of their partners, pixels, in image 0 and in image 1.

    Args:
        fundamental: 3 x 3, points of image 0 to lines in image 1.
        points0, points1: N x 2 each, pixels.

    Returns:
        N and N; nan or inf where a line is none.
    """
    matrix = np.asarray(fundamental, dtype=np.float64)
    first, second = (np.column_stack([points, np.ones(len(points))]) for points in (points0, points1))
    lines1, lines0 = first @ matrix.T, second @ matrix
    off = np.abs((second * lines1).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return off / np.hypot(lines0[:, 0], lines0[:, 1]), off / np.hypot(lines1[:, 0], lines1[:, 1])


def warp_image(image: NDArray[np.uint8], h: ArrayLike, width: int, height: int) -> NDArray[np.uint8]:
    """Warp an image by a homography (image -> result), bilinear, black outside; height x width (x C)."""
    warped = cv2.warpPerspective(image, np.asarray(h, dtype=np.float64), (width, height))
    return np.asarray(warped, dtype=np.uint8)


def warp_smoothly(image: NDArray[np.uint8], h: ArrayLike, width: int, height: int) -> NDArray[np.uint8]:
    """As :func:`warp_image`, but where the warp shrinks the image it is shrunk by area first.

    Bilinear sampling alone skips pixels there, and what aliases does not match.
    """
    matrix = np.asarray(h, dtype=np.float64)
    old = image.shape[1], image.shape[0]
    zoom = homography_scale(matrix, old, (width, height))
    if zoom < _ALIASES_BELOW:
        # To twice the final density at most: the warp itself averages over four pixels.
        new = max(1, round(old[0] * min(1.0, 1.4 * zoom))), max(1, round(old[1] * min(1.0, 1.4 * zoom)))
        image = np.asarray(cv2.resize(image, new, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        matrix = matrix @ resize_matrix(new, old)
    return warp_image(image, matrix, width, height)


def homography_scale(h: Matrix, size: tuple[int, int], target: tuple[int, int]) -> float:
    """Median linear scale of a homography over the part of an image that lands inside the target."""
    x, y = np.meshgrid(np.linspace(0, size[0] - 1, 9), np.linspace(0, size[1] - 1, 9))
    points = np.column_stack([x.ravel(), y.ravel()])
    w = points @ h[2, :2] + h[2, 2]
    points = points[inside(apply_homography(h, points), *target) & (w * np.sign(h[2, 2]) > 1e-9)]
    if not len(points):
        return 1.0
    w = points @ h[2, :2] + h[2, 2]
    # The determinant of a homography's derivative is det(h) / w^3.
    return float(np.median(np.abs(np.linalg.det(h) / w**3)) ** 0.5)
