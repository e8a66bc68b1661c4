"""Sparse matches to start from, where dense ones of the coarsest maps do not convince.

A seed matcher looks at two images at once and returns a few hundred matches, each for itself; what is dense
and exact is made from them afterwards. Ours is the attention network; any matcher of the entry-point group
``gcm.matchers`` can take its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast, runtime_checkable

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from gcm.backbones.attention import KeypointNetwork
from gcm.backbones.registry import create_attention
from gcm.errors import ConfigError, did_you_mean
from gcm.features.cache import FeatureCache, image_key
from gcm.features.keypoints import Keypoints, compare_keypoints, detect_keypoints, mutual_pairs
from gcm.geometry import Points, resize_points
from gcm.images.files import RGBImage
from gcm.images.network_input import network_input
from gcm.images.normalisation import PerImage
from gcm.images.sizes import image_size
from gcm.storage.yaml_files import split_spec

if TYPE_CHECKING:
    from gcm.backbones.onnx.session import Provider

__all__ = ["OWN", "AttentionSeeds", "Glimpsing", "SeedMatcher", "Seeds", "create_seed_matchers"]

OWN = "attention"
"""How options call our own matcher."""

_GROUP = "gcm.matchers"


class _Look(NamedTuple):
    """How images are looked at."""

    side: int
    """Pixels; what the longer side is brought to."""
    most: int
    """Keypoints of an image."""
    cell: int = 1
    """Pixels for each of them, at least."""


_GLIMPSE = _Look(side=480, most=512, cell=225)
"""The first look; a strip, or an image tilted, needs fewer keypoints and costs less."""

_GLIMPSE_FEWEST = 12
"""Matches of the first look below which there is no other: two thirds of unrelated pairs have fewer."""

_GLIMPSE_BYTES = 2**20
"""Of first looks: a pair is glimpsed before it is matched, and again to be compared with its mirror image."""

_FEWEST = 8
"""Matches at the first size below which images are not looked at larger: unrelated ones seldom have more."""

_CACHE_BYTES = 64 * 2**20


class Seeds(Protocol):
    """Sparse matches of two images."""

    @property
    def points0(self) -> Points:
        """N x 2 (x, y), pixels of image 0."""

    @property
    def points1(self) -> Points:
        """N x 2, pixels of image 1."""

    @property
    def scores(self) -> Any:
        """N, 0 to 1."""


class SeedMatcher(Protocol):
    """Whatever matches two images."""

    def match(self, image0: RGBImage, image1: RGBImage) -> Seeds:
        """Match two H x W x 3 uint8 RGB images."""


@runtime_checkable
class Glimpsing(Protocol):
    """A seed matcher that can also look at little cost."""

    def glimpse(self, image0: RGBImage, image1: RGBImage) -> Seeds:
        """What few keypoints of two small images show."""


def create_seed_matchers(
    names: Sequence[str],
    *,
    sides: Sequence[int],
    keypoints: int,
    device: torch.device,
    providers: Sequence[Provider] | None = None,
) -> tuple[SeedMatcher, ...]:
    """Our own seed matcher, and others by their name in the entry-point group ``gcm.matchers``.

    Args:
        names: :data:`OWN`, or that of a matcher, with options as in ``disk-lightglue:resize=704``.
        sides: pixels; of ours, what the longer side of images is brought to, one after the other.
        keypoints: of ours, the most of an image at the largest of these.
        device: where ours runs.
        providers: what ONNX Runtime computes ours with; None for PyTorch.

    Raises:
        ConfigError: there is no such matcher, or it has no such option.
        DependencyError: a package it needs is missing.
    """
    return tuple(
        AttentionSeeds(sides=sides, keypoints=keypoints, device=device, providers=providers)
        if name == OWN
        else _installed(name)
        for name in names
    )


def _installed(spec: str) -> SeedMatcher:
    name, options = split_spec(spec)
    known = {point.name: point for point in entry_points(group=_GROUP)}
    if name not in known:
        hint = did_you_mean(name, [OWN, *known])
        raise ConfigError(
            f"seeds.matchers: there is no '{name}'{hint}; known: {', '.join([OWN, *sorted(known)])}"
        )
    try:
        matcher = known[name].load()(**{key: yaml.safe_load(value) for key, value in options.items()})
    except (TypeError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"seeds.matchers: {spec}: {error}") from error
    return cast(SeedMatcher, matcher)


class AttentionSeeds:
    """Keypoints matched by our attention network, at several sizes of the images.

    What is blurred or slanted matches small, what is fine matches large; all that is found counts. Keypoints
    of the images just seen are remembered.
    """

    def __init__(
        self,
        *,
        sides: Sequence[int],
        keypoints: int,
        device: torch.device,
        providers: Sequence[Provider] | None = None,
    ) -> None:
        self._device = device
        self._looks = [_Look(side, max(1, keypoints * side // max(sides))) for side in sides]
        network = create_attention()
        self._network: KeypointNetwork
        if providers is None:
            self._network = network.to(device)
        else:
            from gcm.backbones.onnx.runtime import OnnxAttention

            self._network = OnnxAttention(network, providers)
        self._cache: FeatureCache[Keypoints] = FeatureCache(_CACHE_BYTES)
        self._glimpses: FeatureCache[_Found] = FeatureCache(_GLIMPSE_BYTES)

    def match(self, image0: RGBImage, image1: RGBImage) -> Seeds:
        """Match two images."""
        if self._seen_unlike(image0, image1):
            return _Found(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
        found = []
        for look in self._looks:
            found.append(self._matched(image0, image1, look))
            if len(found[0][0]) < _FEWEST:
                break
        return _Found(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _seen_unlike(self, image0: RGBImage, image1: RGBImage) -> bool:
        """Whether a first look, with few keypoints of small images, shows next to nothing in common.

        Where one has not even so few, as a narrow strip, so small it tells nothing.
        """
        if any(len(self._keypoints(image, _GLIMPSE).points) < _GLIMPSE.most for image in (image0, image1)):
            return False
        return len(self.glimpse(image0, image1).points0) < _GLIMPSE_FEWEST

    def glimpse(self, image0: RGBImage, image1: RGBImage) -> Seeds:
        """Match few keypoints of two images brought to a small size; the last pairs are remembered."""
        key = image_key(image0) + image_key(image1)
        found = self._glimpses.get(key)
        if found is None:
            found = _Found(*self._matched(image0, image1, _GLIMPSE))
            nbytes = found.points0.nbytes + found.points1.nbytes + found.scores.nbytes
            self._glimpses.put(key, found, nbytes)
        return found

    def _matched(
        self, image0: RGBImage, image1: RGBImage, look: _Look
    ) -> tuple[Points, Points, NDArray[np.float64]]:
        found0, found1 = (self._keypoints(image, look) for image in (image0, image1))
        if not len(found0.points) or not len(found1.points):
            empty = np.zeros((0, 2))
            return empty, empty, np.zeros(0)
        log_probability, _, _ = compare_keypoints(self._network, found0, found1)
        chosen, best1 = mutual_pairs(log_probability)
        first, second = found0.points[chosen], found1.points[best1[chosen]]
        return (
            resize_points(first.cpu().numpy(), found0.size, image_size(image0)),
            resize_points(second.cpu().numpy(), found1.size, image_size(image1)),
            log_probability.amax(dim=1)[chosen].exp().double().cpu().numpy(),
        )

    def _keypoints(self, image: RGBImage, look: _Look) -> Keypoints:
        key = image_key(image) + bytes(str(look), "ascii")
        found = self._cache.get(key)
        if found is None:
            width, height = image_size(image)
            factor = look.side / max(width, height)
            size = max(1, round(width * factor)), max(1, round(height * factor))
            kind = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
            resized = np.asarray(cv2.resize(image, size, interpolation=kind), np.uint8)
            x = network_input(resized, 1, self._device, normalisation=PerImage(grey=True))
            most = min(look.most, max(1, size[0] * size[1] // look.cell))
            (found,) = detect_keypoints(self._network, x, most)
            self._cache.put(key, found, found.nbytes)
        return found


class _Found:
    def __init__(self, points0: Points, points1: Points, scores: Any) -> None:
        self.points0, self.points1, self.scores = points0, points1, scores
