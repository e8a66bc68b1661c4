"""Other light on a photo: what day, season, weather, lamps and sensors do to it.

Descriptors that have only seen a photo and its copy take brightness for a property of a place. Here a region
of one colour keeps its shape and changes its tone, as leaves do in autumn and in the infrared.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.distillation.data import Image
from gcm.distillation.recipe import LightRecipe

__all__ = ["change_light"]

Light = NDArray[np.float32]

_MOST_LAMPS = 5
_CORNERS = (3, 7)
"""How many corners a shadow may have, the last not among them."""


def change_light(image: Image, recipe: LightRecipe, rng: np.random.Generator) -> Image:
    """An H x W x 3 uint8 RGB view in other light; each change with its own probability."""
    out = image.astype(np.float32)
    if rng.random() < recipe.sensor_share:
        out = _sensor(out, rng)
    if rng.random() < recipe.tone_share:
        out = _tones(out, recipe.tone, recipe.tones, rng)
    if rng.random() < recipe.haze_share:
        out = _haze(out, recipe.haze, rng)
    if rng.random() < recipe.shadow_share:
        out *= _shadow(out.shape[:2], recipe.shadow, rng)[..., None]
    night = rng.random() < recipe.night_share
    if night:
        out *= np.float32(rng.uniform(0.08, 0.35))
    if night or rng.random() < recipe.lamp_share:
        out *= _lamps(out.shape[:2], recipe.lamp, rng)[..., None]
    if rng.random() < recipe.invert_share:
        out = 255 - np.minimum(out, 255)
    result: Image = np.clip(np.rint(out), 0, 255).astype(np.uint8)
    return result


def _sensor(image: Light, rng: np.random.Generator) -> Light:
    """Grey by weights of its own for each channel, negative ones among them, as no eye sees."""
    weights = rng.standard_normal(3) * 0.6 + 0.33
    grey = image @ weights.astype(np.float32)
    low, high = np.percentile(grey, (1, 99))
    grey = (grey - low) * np.float32(255 / max(high - low, 1.0))
    return np.repeat(grey[..., None], 3, axis=2).astype(np.float32)


def _tones(image: Light, strength: float, regions: int, rng: np.random.Generator) -> Light:
    """Every region of one colour with a brightness, contrast and gamma of its own."""
    height, width = image.shape[:2]
    centres = image[rng.integers(height, size=regions), rng.integers(width, size=regions)]
    # Of the squared distances, what differs from region to region.
    closeness = image.reshape(-1, 3) @ centres.T - 0.5 * (centres**2).sum(axis=1)
    weights = np.eye(regions, dtype=np.float32)[closeness.argmax(axis=1)].reshape(height, width, regions)
    weights = np.atleast_3d(cv2.GaussianBlur(weights, (0, 0), rng.uniform(0.7, 3)))
    out = np.zeros_like(image)
    levels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    for k in range(regions):
        gain, gamma = np.exp(strength * rng.standard_normal(2))
        offset = 0.3 * strength * rng.standard_normal()
        toned = (255 * (gain * (np.arange(256) / 255) ** gamma + offset)).astype(np.float32)
        out += weights[..., k : k + 1] * toned[levels]
    return np.clip(out, 0, 255)


def _haze(image: Light, strength: float, rng: np.random.Generator) -> Light:
    """Less and less to be seen towards one side."""
    height, width = image.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.meshgrid(np.linspace(-0.7, 0.7, width), np.linspace(-0.7, 0.7, height))
    along = np.clip(0.5 + np.cos(angle) * x + np.sin(angle) * y, 0, 1)
    left = 1 - strength * rng.random() * (0.3 + 0.7 * along)
    left = left[..., None].astype(np.float32)
    hazy: Light = image * left + np.float32(rng.uniform(120, 250)) * (1 - left)
    return hazy


def _shadow(size: tuple[int, int], strength: float, rng: np.random.Generator) -> Light:
    """Factors, H x W: less inside a polygon."""
    height, width = size
    corners = rng.uniform(-0.3, 1.3, (int(rng.integers(*_CORNERS)), 2)) * [width, height]
    hull = cv2.convexHull(corners.astype(np.int32))
    inside = np.zeros(size, np.float32)
    cv2.fillConvexPoly(inside, hull, 1.0)
    soft = cv2.GaussianBlur(inside, (0, 0), np.exp(rng.uniform(np.log(0.5), np.log(12))))
    factors: Light = 1 - np.float32(strength * rng.uniform(0.4, 1)) * soft.astype(np.float32)
    return factors


def _lamps(size: tuple[int, int], strength: float, rng: np.random.Generator) -> Light:
    """Factors, H x W: more around some places."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    factors = np.ones(size, np.float32)
    for _ in range(int(rng.integers(1, _MOST_LAMPS))):
        place = rng.uniform(0, 1, 2) * [width, height]
        reach = rng.uniform(0.05, 0.4) * max(width, height)
        square = ((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * reach**2)
        factors += np.float32(strength * rng.uniform(0.3, 1)) * np.exp(-square)
    return factors
