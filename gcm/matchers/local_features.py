"""What algorithms that detect, describe and match points have in common."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gcm.estimation import estimate_homography
from gcm.images.files import ImageLike, RGBImage, load_image
from gcm.matches import Matches

__all__ = ["LocalFeatures"]

F = TypeVar("F")

_REMEMBERED = 4
"""Images whose features are kept."""


class LocalFeatures(ABC, Generic[F]):
    """Detects once an image, then matches; remembers the images it has just seen."""

    name: str

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, F] = OrderedDict()

    @abstractmethod
    def detect(self, image: RGBImage) -> F:
        """Features of an image."""

    @abstractmethod
    def pair(self, features0: F, features1: F) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Points in image 0 (N x 2), points in image 1 (N x 2), scores (N, 0 to 1)."""

    def match(self, image0: ImageLike, image1: ImageLike) -> Matches:
        """Match two images; see :class:`gcm.matchers.Algorithm`."""
        given0, given1 = load_image(image0), load_image(image1)
        points0, points1, scores = (
            np.asarray(values, dtype=np.float64)
            for values in self.pair(self._features(given0), self._features(given1))
        )
        found = estimate_homography(points0, points1, threshold=3.0)
        return Matches(
            points0.reshape(-1, 2),
            points1.reshape(-1, 2),
            np.clip(scores.reshape(-1), 0.0, 1.0),
            (given0.shape[1], given0.shape[0]),
            (given1.shape[1], given1.shape[0]),
            found.matrix,
            found.inliers if found.matrix is not None else None,
            info={"algorithm": self.name},
        )

    def _features(self, image: RGBImage) -> F:
        key = hashlib.blake2b(image.tobytes(), digest_size=16).digest() + repr(image.shape).encode()
        if key not in self._seen:
            self._seen[key] = self.detect(image)
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        self._seen.move_to_end(key)
        return self._seen[key]
