"""What matchers that detect, describe and match points have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gcm.estimation import estimate_homography
from gcm.estimation.final import FINAL_THRESHOLD
from gcm.features.cache import FeatureCache, image_key
from gcm.geometry import resize_points
from gcm.images.files import ImageLike, LoadedImage, RGBImage, read_image
from gcm.images.sizes import image_size
from gcm.matchers.base import PairMatcher
from gcm.matches import Matches

__all__ = ["LocalFeatures"]

F = TypeVar("F")

_CACHE_BYTES = 64 * 2**20
"""Memory for features of the images seen last: some 20 images of 5000 SIFT keypoints."""


class LocalFeatures(PairMatcher, ABC, Generic[F]):
    """Detects once an image, then matches; remembers the images it has just seen.

    Args:
        cache_bytes: memory for their features.
    """

    name: str

    def __init__(self, cache_bytes: int = _CACHE_BYTES) -> None:
        self.cache: FeatureCache[F] = FeatureCache(cache_bytes)

    @abstractmethod
    def detect(self, image: RGBImage) -> F:
        """Features of an image: a dataclass or mapping of arrays."""

    @abstractmethod
    def pair(self, features0: F, features1: F) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Points in image 0 (N x 2), points in image 1 (N x 2), scores (N, 0 to 1)."""

    def match(self, image0: ImageLike, image1: ImageLike) -> Matches:
        """Match two images; see :class:`gcm.matchers.PairMatcher`."""
        loaded0, loaded1 = read_image(image0), read_image(image1)
        points0, points1, scores = (
            np.asarray(values, dtype=np.float64)
            for values in self.pair(self._features(loaded0.pixels), self._features(loaded1.pixels))
        )
        points0, points1 = _as_given(points0, loaded0), _as_given(points1, loaded1)
        notes = [*loaded0.notes, *loaded1.notes]
        estimate = estimate_homography(points0, points1, threshold=FINAL_THRESHOLD)
        return Matches(
            points0,
            points1,
            np.clip(scores.reshape(-1), 0.0, 1.0),
            loaded0.size,
            loaded1.size,
            h_0_to_1=estimate.matrix,
            inliers=estimate.inliers if estimate.matrix is not None else None,
            info={"algorithm": self.name} | ({"notes": notes} if notes else {}),
        )

    def _features(self, image: RGBImage) -> F:
        key = image_key(image)
        features = self.cache.get(key)
        if features is None:
            features = self.detect(image)
            self.cache.put(key, features, _nbytes(features))
        return features


def _as_given(points: NDArray[np.float64], image: LoadedImage) -> NDArray[np.float64]:
    """From the pixels that were read to the image as given; they differ of a JPEG read at reduced size."""
    points, size = points.reshape(-1, 2), image_size(image.pixels)
    return points if size == image.size else resize_points(points, size, image.size)


def _nbytes(features: Any) -> int:
    """Memory that the arrays and tensors of an image's features take."""
    values = features.values() if isinstance(features, Mapping) else vars(features).values()
    return sum(int(getattr(value, "nbytes", 0)) for value in values)
