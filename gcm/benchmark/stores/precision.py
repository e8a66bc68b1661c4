"""How exactly positions are kept.

``float64``
    As they were measured.
``float32``
    Positions and scores as float32: a position is off by 0.00006 px at most in a photo of up to 2048 px,
    0.00012 up to 4096, 0.00024 up to 8192 (half of the last binary place).
``uint16``
    A position is one of 65536 places across the image and a margin of a pixel around it, scores are float32:
    off by half a step at most, (side + 2) / 131070 px, which is 0.008 px at 1024 and 0.031 at 4096. What lies
    further outside the image than that pixel is moved to the margin's edge.

Homographies, confidences, sizes and inliers are kept as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcm.matches import Matches

__all__ = ["FULL", "PRECISIONS", "decode_points", "encode_points", "rounded", "score_type"]

FULL = "float64"
PRECISIONS = ("float64", "float32", "uint16")

_MARGIN = 1.0
"""Pixels around an image in which uint16 has places: positions may lie a little outside."""
_LAST = 65535

Size = tuple[int, int]


def score_type(precision: str) -> type[np.floating[Any]]:
    """What scores are kept as."""
    return np.float64 if precision == FULL else np.float32


def encode_points(points: NDArray[np.float64], size: Size, precision: str) -> NDArray[Any]:
    """N x 2 positions as they are kept.

    Args:
        points: pixels, in an image of `size`.
        size: its width and height.
        precision: one of :data:`PRECISIONS`.
    """
    if precision != "uint16":
        return points.astype(precision)
    origin, step = _grid(size)
    return np.clip(np.rint((points - origin) / step), 0, _LAST).astype(np.uint16)


def decode_points(codes: NDArray[Any], size: Size) -> NDArray[np.float64]:
    """Inverse of :func:`encode_points`."""
    if codes.dtype != np.uint16:
        return codes.astype(np.float64)
    origin, step = _grid(size)
    decoded: NDArray[np.float64] = codes * step + origin
    return decoded


def _grid(size: Size) -> tuple[float, NDArray[np.float64]]:
    """The first place and the distance of two, x and y."""
    return -0.5 - _MARGIN, (np.array(size, np.float64) + 2 * _MARGIN) / _LAST


def rounded(matches: Matches, precision: str) -> Matches:
    """Matches as they come back from a store of that precision; rounding them again changes nothing."""
    if precision == FULL:
        return matches
    return replace(
        matches,
        points0=decode_points(encode_points(matches.points0, matches.size0, precision), matches.size0),
        points1=decode_points(encode_points(matches.points1, matches.size1, precision), matches.size1),
        scores=matches.scores.astype(score_type(precision)).astype(np.float64),
    )
