"""SIFT, ORB, AKAZE and KAZE by OpenCV, matched by mutual nearest neighbours with a symmetric ratio test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.errors import DependencyError
from gcm.images.files import RGBImage
from gcm.matchers.local_features import LocalFeatures

__all__ = ["Classical", "akaze", "kaze", "mutual_ratio_matches", "orb", "sift"]

RATIO = 0.8
KEYPOINTS = 5000
_SMALLEST = 16
"""Pixels a side below which nothing can be described (and ORB's pyramid fails)."""


@dataclass(frozen=True)
class _Described:
    points: NDArray[np.float64]
    descriptors: NDArray[Any]


class Classical(LocalFeatures[_Described]):
    """A detector and descriptor of OpenCV.

    Args:
        name: what it is called.
        detector: OpenCV's object with `detectAndCompute`.
        norm: OpenCV's norm of its descriptors.
        ratio: a match is kept when its distance is at most this share of the second best's, both ways; 1
            keeps every mutual pair.
        max_keypoints: the strongest responses kept in each image; 0 keeps all.
    """

    def __init__(self, name: str, detector: Any, norm: int, ratio: float, max_keypoints: int) -> None:
        super().__init__()
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio must lie in (0, 1] (not {ratio})")
        if max_keypoints < 0:
            raise ValueError(f"max_keypoints must be 0 (all) or more (not {max_keypoints})")
        self.name = name
        self.ratio = float(ratio)
        self.max_keypoints = int(max_keypoints)
        self._detector = detector
        self._norm = norm

    def detect(self, image: RGBImage) -> _Described:
        """Keypoints and descriptors of the grey image."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if min(grey.shape) < _SMALLEST:
            return _Described(np.zeros((0, 2)), np.zeros((0, 1), np.uint8))
        keypoints, descriptors = self._detector.detectAndCompute(grey, None)
        if descriptors is None or not len(keypoints):
            return _Described(np.zeros((0, 2)), np.zeros((0, 1), np.uint8))
        points = np.array([keypoint.pt for keypoint in keypoints], dtype=np.float64)
        if self.max_keypoints and len(points) > self.max_keypoints:
            responses = np.array([keypoint.response for keypoint in keypoints])
            keep = np.sort(np.argsort(-responses, kind="stable")[: self.max_keypoints])
            points, descriptors = points[keep], np.ascontiguousarray(descriptors[keep])
        return _Described(points, descriptors)

    def pair(
        self, features0: _Described, features1: _Described
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Mutual nearest neighbours that pass the ratio; score 1 - ratio / threshold."""
        index0, index1, ratios = mutual_ratio_matches(
            features0.descriptors, features1.descriptors, self._norm, self.ratio
        )
        return features0.points[index0], features1.points[index1], 1.0 - ratios / self.ratio


def mutual_ratio_matches(
    descriptors0: NDArray[Any], descriptors1: NDArray[Any], norm: int, ratio: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Mutual nearest neighbours whose distance ratios to the second best pass, both ways.

    Source: Lowe, Distinctive image features from scale-invariant keypoints, IJCV 2004, section 7.1.

    Returns:
        Rows of `descriptors0`, rows of `descriptors1`, and the larger of the two ratios of each match.
    """
    if len(descriptors0) < 2 or len(descriptors1) < 2:  # no second best, no ratio
        none = np.zeros(0, dtype=np.intp)
        return none, none, np.zeros(0)
    nearest01, ratios01 = _two_nearest(descriptors0, descriptors1, norm)
    nearest10, ratios10 = _two_nearest(descriptors1, descriptors0, norm)
    rows = np.arange(len(descriptors0))
    worst = np.maximum(ratios01, ratios10[nearest01])
    keep = (nearest10[nearest01] == rows) & (worst <= ratio)
    return rows[keep], nearest01[keep], worst[keep]


def _two_nearest(
    queries: NDArray[Any], others: NDArray[Any], norm: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Nearest of `others` for each query, and its distance over the second nearest's."""
    kind = cv2.CV_32S if norm == cv2.NORM_HAMMING else cv2.CV_32F
    distances, nearest = cv2.batchDistance(queries, others, kind, normType=norm, K=2)
    first, second = distances[:, 0].astype(np.float64), distances[:, 1].astype(np.float64)
    ratios = np.divide(first, second, out=np.ones_like(first), where=second > 0)  # two equal ones: undecided
    return nearest[:, 0].astype(np.intp), ratios


def sift(ratio: float = RATIO, max_keypoints: int = KEYPOINTS) -> Classical:
    """SIFT (Lowe 2004)."""
    return Classical("sift", _creator("SIFT")(max_keypoints), cv2.NORM_L2, ratio, max_keypoints)


def orb(ratio: float = RATIO, max_keypoints: int = KEYPOINTS) -> Classical:
    """ORB (Rublee et al. 2011)."""
    if max_keypoints < 1:
        raise ValueError("max_keypoints must be at least 1 for ORB, which spreads them over its scales")
    return Classical("orb", _creator("ORB")(max_keypoints), cv2.NORM_HAMMING, ratio, max_keypoints)


def akaze(ratio: float = RATIO, max_keypoints: int = KEYPOINTS) -> Classical:
    """AKAZE (Alcantarilla et al. 2013)."""
    return Classical("akaze", _creator("AKAZE")(), cv2.NORM_HAMMING, ratio, max_keypoints)


def kaze(ratio: float = RATIO, max_keypoints: int = KEYPOINTS) -> Classical:
    """KAZE (Alcantarilla et al. 2012)."""
    return Classical("kaze", _creator("KAZE")(), cv2.NORM_L2, ratio, max_keypoints)


def _creator(name: str) -> Callable[..., Any]:
    """OpenCV's function that makes a detector; version 5 moved AKAZE and KAZE to the contributed modules."""
    for module in (cv2, getattr(cv2, "xfeatures2d", None)):
        create = getattr(module, f"{name}_create", None)
        if create is not None:
            return create  # type: ignore[no-any-return]
    raise DependencyError(
        f"{name.lower()}: this OpenCV ({cv2.__version__}) has no {name}; since version 5 it is part of "
        "opencv-contrib-python, install that in place of opencv-python (or use OpenCV 4)"
    )
