"""Where photos lie on a canvas that holds them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gcm.geometry import Matrix, apply_homography, image_corners

__all__ = ["Placed", "fit_canvas"]

Placed = tuple[dict[int, Matrix], tuple[int, int]]
"""By photo, 3 x 3, its pixels to those of the canvas; width and height of the canvas."""


def fit_canvas(
    sizes: Sequence[tuple[int, int]], to_frame: Mapping[int, Matrix], largest: float
) -> Placed | None:
    """The smallest canvas that holds photos which homographies bring into one frame.

    The frame is shifted by whole pixels, so that a photo with the identity is not resampled.

    Args:
        sizes: width and height of each photo.
        to_frame: by photo, 3 x 3, its pixels to the frame; photos that are missing have no place.
        largest: times the area of these photos that the canvas may take.

    Returns:
        None where a photo reaches beyond the horizon of its homography, or the canvas would be too large.
    """
    corners = []
    for k, h in to_frame.items():
        ends = image_corners(*sizes[k])
        # Linear in x and y: where it has one sign at the corners, it has in all the photo.
        depth = np.column_stack([ends, np.ones(4)]) @ h[2]
        if not (depth * depth[0] > 0).all():
            return None
        corners.append(apply_homography(h, ends))
    low = np.floor(np.concatenate(corners).min(axis=0))
    width, height = np.ceil(np.concatenate(corners).max(axis=0) - low) + 1
    if not width * height <= largest * sum(sizes[k][0] * sizes[k][1] for k in to_frame):
        return None
    shift = np.array([[1.0, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]])
    return {k: shift @ h for k, h in to_frame.items()}, (int(width), int(height))
