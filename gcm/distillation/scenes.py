"""Procedural scenes with depth: photos on ground, walls, boxes and boards, seen by two cameras.

Where each pixel of one view lies in the other, and whether it is hidden there, is known exactly. All
surfaces are rectangles, so a pixel's depth on each is a linear function of its place, and the nearest one
wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.distillation.data import Image

__all__ = ["Scene", "draw_scene"]

Array = NDArray[np.float64]

_HIDDEN = 0.02
"""Share of the depth by which another surface lies in front of what is hidden."""

_TEXTURES = (768, 256)
"""Pixels a side of the photo on the ground and the wall behind, and on a smaller surface."""

_LARGE = 2
"""How many surfaces come first that are large."""

_AT_ONCE = 4096
"""Points that rays are sent through at once."""


@dataclass(frozen=True)
class Scene:
    """Two views of one scene."""

    images: tuple[Image, Image]
    """S x S x 3 uint8 RGB each."""
    to1: Array
    """N x 2, pixels: where the points asked for of view 0 lie in view 1; nan where that does not show
    them."""
    to0: Array
    """The same points of view 1, in view 0."""


@dataclass(frozen=True)
class _Camera:
    intrinsics: Array
    rotation: Array
    """World to camera."""
    centre: Array

    def project(self, points: Array) -> tuple[Array, Array]:
        """N x 3 of the world to N x 2 pixels and N depths."""
        seen = (points - self.centre) @ self.rotation.T @ self.intrinsics.T
        return seen[:, :2] / seen[:, 2:], seen[:, 2]


Rectangle = tuple[Array, Array, Array]
"""A corner, and the two sides that leave it."""


def draw_scene(
    photos: list[Image],
    size: int,
    points: Array,
    rng: np.random.Generator,
    *,
    baseline: float,
    zoom: float,
    light: float,
) -> Scene:
    """Draw one scene.

    Args:
        photos: the surfaces' textures, H x W x 3 uint8 RGB, used in turn.
        size: pixels a side of the views.
        points: N x 2, pixels; of which the correspondences are asked.
        rng: draws everything.
        baseline: largest distance of the cameras, as a share of the distance of what they look at.
        zoom: largest ratio of their focal lengths.
        light: deviation of the log of each surface's brightness, which differs from view to view.
    """
    rectangles = _rectangles(rng)
    cameras = _cameras(size, rng, baseline, zoom)
    atlas = _atlas(photos, len(rectangles), rng)
    inverses = [np.stack([_inverse(camera, rectangle) for rectangle in rectangles]) for camera in cameras]
    drawn = [_draw(inverse, atlas, size, light, rng) for inverse in inverses]
    to1 = _seen_from(cameras[0], cameras[1], inverses, points, size)
    to0 = _seen_from(cameras[1], cameras[0], inverses[::-1], points, size)
    return Scene((drawn[0], drawn[1]), to1, to0)


def _rectangles(rng: np.random.Generator) -> list[Rectangle]:
    """Ground, walls, boxes that stand on the ground and boards that float; the first camera looks along z."""
    depth, width, height = rng.uniform(4, 12), rng.uniform(3, 9), rng.uniform(0.8, 2.0)
    floor = np.array([-1.2 * width, height, 0.5])
    wall = np.array([-1.2 * width, height - 6, depth])
    across = np.array([2.4 * width, 0, 0])
    rectangles: list[Rectangle] = [
        (floor, across, np.array([0, 0, 1.2 * depth])),
        (wall, across, np.array([0, 6.0, 0])),
    ]
    for side in (-1, 1):
        if rng.random() < 0.5:
            corner = np.array([side * width, height - 4, rng.uniform(0.2, 0.6) * depth])
            rectangles.append((corner, np.array([0, 0, 0.5 * depth]), np.array([0, 4.0, 0])))
    for _ in range(int(rng.integers(1, 5))):
        rectangles += _box(depth, width, height, rng)
    for _ in range(int(rng.integers(0, 4))):
        rectangles.append(_board(depth, rng))
    return rectangles


def _box(depth: float, width: float, height: float, rng: np.random.Generator) -> list[Rectangle]:
    """The four upright faces and the top of a box on the ground."""
    angle = rng.uniform(0, np.pi / 2)
    along = np.array([np.cos(angle), 0, np.sin(angle)]) * rng.uniform(0.4, 1.8)
    across = np.array([-np.sin(angle), 0, np.cos(angle)]) * rng.uniform(0.4, 1.8)
    up = np.array([0, -rng.uniform(0.4, 2.5), 0])
    corner = np.array([rng.uniform(-0.5, 0.5) * width, height, rng.uniform(0.3, 0.95) * depth])
    return [
        (corner, along, up),
        (corner, across, up),
        (corner + along, across, up),
        (corner + across, along, up),
        (corner + up, along, across),
    ]


def _board(depth: float, rng: np.random.Generator) -> Rectangle:
    """A rectangle anywhere, turned anyhow but not seen from the side."""
    axes, _ = np.linalg.qr(np.eye(3) + 0.5 * rng.standard_normal((3, 3)))
    axes *= np.sign(np.diag(axes))
    middle = np.array([0, 0, rng.uniform(0.25, 0.8) * depth])
    middle[:2] = rng.uniform(-0.4, 0.4, 2) * middle[2]
    along, across = (axes[:, k] * rng.uniform(0.15, 0.5) * middle[2] for k in (0, 1))
    return middle - (along + across) / 2, along, across


def _cameras(size: int, rng: np.random.Generator, baseline: float, zoom: float) -> tuple[_Camera, _Camera]:
    """Two cameras that look at one place."""
    focal = size * rng.uniform(0.7, 1.4)
    distance = rng.uniform(3, 8)
    target = np.array([rng.uniform(-0.3, 0.3) * distance, rng.uniform(-0.3, 0.3), distance])
    step = rng.standard_normal(3) * [1.0, 0.35, 0.5]
    step *= distance * baseline * rng.uniform(0.1, 1) / np.linalg.norm(step)
    step[1] = min(step[1], 0.5)  # not below the ground
    focals = focal, focal * np.exp(rng.uniform(-1, 1) * np.log(zoom))
    first, second = (
        _looking(size, f, centre, target, np.deg2rad(rng.uniform(-15, 15)), rng)
        for f, centre in zip(focals, (np.zeros(3), step), strict=True)
    )
    return first, second


def _looking(
    size: int, focal: float, centre: Array, target: Array, roll: float, rng: np.random.Generator
) -> _Camera:
    ahead = target - centre + rng.standard_normal(3) * 0.12 * np.linalg.norm(target - centre)
    ahead /= np.linalg.norm(ahead)
    right = np.cross([0.0, 1.0, 0.0], ahead)
    right /= np.linalg.norm(right)
    down = np.cross(ahead, right)
    turned = np.cos(roll) * right + np.sin(roll) * down
    rotation = np.stack([turned, np.cross(ahead, turned), ahead])
    middle = (size - 1) / 2
    return _Camera(np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]]), rotation, centre)


@dataclass(frozen=True)
class _Atlas:
    """The textures of all surfaces, one above the other."""

    image: Image
    sides: NDArray[np.int64]
    tops: NDArray[np.int64]


def _atlas(photos: list[Image], number: int, rng: np.random.Generator) -> _Atlas:
    """Square crops of the photos, used in turn."""
    sides = np.array([_TEXTURES[0]] * _LARGE + [_TEXTURES[1]] * (number - _LARGE))
    tops = np.cumsum(sides) - sides
    image = np.zeros((int(sides.sum()), _TEXTURES[0], 3), np.uint8)
    for k, (side, top) in enumerate(zip(sides, tops, strict=True)):
        photo = photos[k % len(photos)]
        length = int(rng.uniform(0.9 if k < _LARGE else 0.4, 1) * min(photo.shape[:2]))
        y, x = (int(rng.integers(0, whole - length + 1)) for whole in photo.shape[:2])
        crop = photo[y : y + length, x : x + length]
        image[top : top + side, :side] = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    return _Atlas(image, sides, tops)


def _inverse(camera: _Camera, rectangle: Rectangle) -> Array:
    """3 x 3 from (x, y, 1) of a pixel to (u, v, 1) / z: shares of a rectangle's sides, and its depth
    there."""
    corner, along, across = rectangle
    matrix = camera.intrinsics @ camera.rotation @ np.column_stack([along, across, corner - camera.centre])
    if abs(np.linalg.det(matrix)) < 1e-9:  # seen exactly from its edge
        return np.zeros((3, 3))
    return np.asarray(np.linalg.inv(matrix))


def _nearest(inverse: Array, points: Array) -> tuple[NDArray[np.intp], Array]:
    """Which rectangle N points of a view show, -1 for none, and (u, v, 1 / z) there."""
    homogeneous = np.column_stack([points, np.ones(len(points))]).astype(np.float32)
    which = np.empty(len(points), np.intp)
    place = np.empty((len(points), 3))
    for start in range(0, len(points), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        which[some], place[some] = _nearest_of_some(inverse.astype(np.float32), homogeneous[some])
    return which, place


def _nearest_of_some(
    inverse: NDArray[np.float32], homogeneous: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """As :func:`_nearest`, of so few points that what is computed of them stays in a core's cache."""
    u, v, closeness = np.moveaxis(inverse @ homogeneous.T, 1, 0)
    hit = (closeness > 1e-3) & (u >= 0) & (v >= 0) & (u <= closeness) & (v <= closeness)
    closeness = np.where(hit, closeness, 0)
    which = closeness.argmax(axis=0)
    row = np.arange(len(which))
    best = closeness[which, row]
    safe = np.where(best > 0, best, 1)
    place = np.column_stack([u[which, row] / safe, v[which, row] / safe, best])
    return np.where(best > 0, which, -1), place


def _draw(inverse: Array, atlas: _Atlas, size: int, light: float, rng: np.random.Generator) -> Image:
    """One view; every surface is lit by itself, and where there is none is sky."""
    ticks = np.arange(size, dtype=np.float64)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    which, place = _nearest(inverse, grid)
    spot = np.clip(place[:, :2], 0, 1) * (atlas.sides[which] - 1)[:, None]
    spot[:, 1] += atlas.tops[which]
    x, y = spot.reshape(size, size, 2).astype(np.float32).transpose(2, 0, 1)
    image = cv2.remap(atlas.image, x, y, cv2.INTER_LINEAR).astype(np.float32)
    factors = np.exp(light * rng.standard_normal(len(inverse) + 1))
    sky = which.reshape(size, size) < 0
    image[sky] = rng.uniform(120, 240)
    image *= factors[which].reshape(size, size, 1)
    result: Image = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return result


def _seen_from(own: _Camera, other: _Camera, inverses: list[Array], points: Array, size: int) -> Array:
    """Where points of one camera's view lie in the other's; nan where they are hidden or outside."""
    which, place = _nearest(inverses[0], points)
    closeness = np.where(which >= 0, place[:, 2], 1)
    homogeneous = np.column_stack([points, np.ones(len(points))])
    rays = homogeneous @ np.linalg.inv(own.intrinsics).T / closeness[:, None]
    where, depth = other.project(rays @ own.rotation + own.centre)
    where = np.where(np.isfinite(where), where, -1e6)
    shown = (which >= 0) & (depth > 0) & (where >= 0).all(axis=1) & (where <= size - 1).all(axis=1)
    front, there = _nearest(inverses[1], np.where(shown[:, None], where, 0))
    shown &= (front >= 0) & (np.abs(there[:, 2] * depth - 1) < _HIDDEN)
    return np.where(shown[:, None], where, np.nan)
