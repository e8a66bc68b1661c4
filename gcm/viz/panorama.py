"""One picture of several photos: each warped into the frame of one of them, and blended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.errors import GCMError
from gcm.geometry import Matrix, apply_homography, image_corners, inverse
from gcm.images.files import RGBImage
from gcm.images.sizes import image_size
from gcm.matches import Matches
from gcm.viz.canvas import fit_canvas

__all__ = ["Panorama", "PanoramaError", "join_photos", "stitch"]

_FEWEST = 30
"""Matches on the homography of two photos that make these neighbours."""

_LARGEST = 12.0
"""Times the area of the photos that the picture may take: beyond, some are stretched past use."""

_TOO_WIDE = "the photos span too wide an angle for a flat picture; leave out the outermost"

_BANDS = 5

_detail: Any = cv2.detail
"""Its types ask for UMat where arrays do."""


class PanoramaError(GCMError):
    """Photos that make no picture."""


@dataclass(frozen=True)
class Panorama:
    """Where photos lie in one picture."""

    to_picture: dict[int, Matrix]
    """By photo: 3 x 3, its pixels to those of the picture. Photos without a neighbour are missing."""
    size: tuple[int, int]
    """Width and height of the picture."""
    reference: int
    """The photo that is not warped."""


def join_photos(sizes: Sequence[tuple[int, int]], pairs: Mapping[tuple[int, int], Matches]) -> Panorama:
    """Find where photos lie in the frame of the best connected one.

    Homographies are chained along the pairs with most inliers (a spanning tree), which is right for a flat
    thing, and for a camera that turns by less than a right angle in all.

    Args:
        sizes: width and height of each photo.
        pairs: matches of photos i and j.

    Raises:
        PanoramaError: no two photos have a homography in common, or they span too wide an angle for a flat
            picture.
    """
    edges = sorted(
        (
            (matches.inlier_count, i, j)
            for (i, j), matches in pairs.items()
            if matches.h_0_to_1 is not None and matches.inlier_count >= _FEWEST
        ),
        reverse=True,
    )
    if not edges:
        raise PanoramaError("no two photos share a plane or a place the camera turned in: nothing to stitch")
    strength = np.zeros(len(sizes))
    for count, i, j in edges:
        strength[[i, j]] += count
    reference = int(strength.argmax())
    to_reference: dict[int, Matrix] = {reference: np.eye(3)}
    grown = True
    while grown:
        grown = False
        for _, i, j in edges:
            if (i in to_reference) == (j in to_reference):
                continue
            h_0_to_1 = pairs[i, j].h_0_to_1
            assert h_0_to_1 is not None
            if i in to_reference:
                to_reference[j] = to_reference[i] @ inverse(h_0_to_1)
            else:
                to_reference[i] = to_reference[j] @ h_0_to_1
            grown = True
            break
    placed = fit_canvas(sizes, to_reference, _LARGEST)
    if placed is None:
        raise PanoramaError(_TOO_WIDE)
    return Panorama(*placed, reference)


def stitch(photos: Sequence[RGBImage], panorama: Panorama) -> RGBImage:
    """Blend photos into one picture, brightness evened out, fine detail along seams and coarse across them.

    Args:
        photos: H x W x 3 uint8 RGB each.
        panorama: of :func:`join_photos`, for photos of these sizes.

    Returns:
        H x W x 3 uint8 RGB; black where no photo shows anything.

    Source: Burt and Adelson 1983 (multi-band blending) and Brown and Lowe 2007, as OpenCV has them.
    """
    chosen = sorted(panorama.to_picture)
    warped, masks, corners = [], [], []
    for k in chosen:
        image, mask, corner = _warp(photos[k], panorama.to_picture[k], panorama.size)
        warped.append(image)
        masks.append(mask)
        corners.append(corner)
    compensator = _detail.ExposureCompensator.createDefault(_detail.ExposureCompensator_GAIN)
    compensator.feed(corners=corners, images=warped, masks=masks)
    seams = _detail.SeamFinder.createDefault(_detail.SeamFinder_VORONOI_SEAM)
    parts = seams.find([image.astype(np.float32) for image in warped], corners, [m.copy() for m in masks])
    blender = _detail.MultiBandBlender()
    blender.setNumBands(_BANDS)
    blender.prepare((0, 0, *panorama.size))
    for number, (image, corner) in enumerate(zip(warped, corners, strict=True)):
        even = compensator.apply(number, corner, image.copy(), masks[number])
        part = np.asarray(parts[number].get() if isinstance(parts[number], cv2.UMat) else parts[number])
        blender.feed(np.asarray(even).astype(np.int16), part.astype(np.uint8), corner)
    blended, _ = blender.blend(None, None)
    picture: RGBImage = np.clip(blended, 0, 255).astype(np.uint8)
    return picture


def _warp(
    photo: RGBImage, h: Matrix, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[int, int]]:
    """A photo as it lies in the picture, cut out; its mask; and the corner it was cut at."""
    corners = apply_homography(h, image_corners(*image_size(photo)))
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, size)
    width, height = (int(v) for v in high - low)
    shifted = np.array([[1.0, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]]) @ h
    image = cv2.warpPerspective(
        photo, shifted, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    whole = np.full(photo.shape[:2], 255, np.uint8)
    mask = cv2.warpPerspective(whole, shifted, (width, height), flags=cv2.INTER_NEAREST)
    return np.asarray(image, np.uint8), np.asarray(mask, np.uint8), (int(low[0]), int(low[1]))
