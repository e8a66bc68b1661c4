"""Two images, and what is known of them while they are matched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from gcm.features.batching import Request, Work
from gcm.features.pyramid import Pyramid
from gcm.features.seeds import SeedMatcher
from gcm.geometry import Matrix, homography_scale, warp_smoothly
from gcm.images.files import RGBImage
from gcm.images.sizes import image_size, resize_to
from gcm.method.steps import Clock, RefinementStep
from gcm.method.view import Seen
from gcm.options import GuidedOptions

__all__ = ["Pair"]


@dataclass
class Pair:
    """Two images, and what is known of them so far."""

    image0: RGBImage
    image1: RGBImage
    steps: tuple[RefinementStep, ...]
    options: GuidedOptions
    clock: Clock
    seeds: Sequence[SeedMatcher] = ()
    """What finds sparse matches where the maps do not convince."""
    h_1_to_0: Matrix | None = None
    """Of the main plane of the view that is followed; None until, or when, there is none."""
    trace: list[str] = field(default_factory=list)
    _pyramids: dict[int, tuple[RGBImage, Pyramid]] = field(default_factory=dict)
    """Of images not warped, by their identity; the images stand beside, so that no other gets theirs."""
    _enlarged: dict[float, tuple[RGBImage, RGBImage]] = field(default_factory=dict)
    _warped: dict[tuple[int, int], Seen] = field(default_factory=dict)
    """What was seen last of a warped image of each size: a plane is often looked at twice."""

    @property
    def size0(self) -> tuple[int, int]:
        """Width and height of image 0."""
        return image_size(self.image0)

    @property
    def size1(self) -> tuple[int, int]:
        """Width and height of image 1."""
        return image_size(self.image1)

    @property
    def stride(self) -> int:
        """Of the dense match."""
        return self.steps[1].stride

    def coarse_cell(self, side: int) -> float:
        """Pixels of image 0 that a coarse cell covers where both are looked at `side` pixels wide."""
        return self.steps[0].stride * max(1.0, max(self.size0) / side)

    @property
    def few(self) -> int:
        """Matches too few to build on."""
        return self.options.planes.fewest_coarse

    @property
    def plane_zoom(self) -> float:
        """By which both images are shrunk for the view of what may be one plane."""
        planes = self.options.planes
        return min(1.0, max(planes.zoom, planes.smallest_side / min(max(self.size0), max(self.size1))))

    def shows_more(self, images: tuple[RGBImage, RGBImage], h_1_to_0: Matrix) -> bool:
        """Whether the second image shows the scene in more detail, so that the first is to be warped."""
        second, first = image_size(images[1]), image_size(images[0])
        return homography_scale(h_1_to_0, second, first) < self.options.planes.finer_scale

    def matches_per_cell(self, zoom: float) -> int:
        """Most matches of a coarse cell of images shrunk by `zoom`: no fewer an area than of whole ones.

        It has no more than four, one for each child.
        """
        return min(4, math.ceil(self.options.matches_per_cell / zoom**2 - 1e-6))

    def pyramid(self, image: RGBImage) -> Work[Pyramid]:
        """The pyramid of an image that is not warped, asked for once a pair."""
        if id(image) not in self._pyramids:
            with self.clock("features 0" if image is self.image0 else "features 1"):
                pyramid: Pyramid = yield Request(image)
            self._pyramids[id(image)] = image, pyramid
        return self._pyramids[id(image)][1]

    def see(self, images: tuple[RGBImage, RGBImage], h_1_to_0: Matrix | None) -> Work[Seen]:
        """Two images of the pair, in either order, the second warped by a homography if there is one."""
        first, second = images
        pyramid0 = yield from self.pyramid(first)
        if h_1_to_0 is None:
            return Seen(images, second, (pyramid0, (yield from self.pyramid(second))), None)
        # One of each size, and of none while the next is computed: of large images it takes much memory.
        seen = self._warped.pop(image_size(second), None)
        if seen is None or not seen.shows(images, h_1_to_0):
            seen = None
            with self.clock("features 1"):
                warped = warp_smoothly(second, h_1_to_0, *image_size(first))
                pyramid1: Pyramid = yield Request(warped, original=second)
            seen = Seen(images, warped, (pyramid0, pyramid1), h_1_to_0)
        self._warped[image_size(second)] = seen
        return seen

    def forget_shrunk(self) -> None:
        """Free what was seen of a plane in shrunk images: the maps of large ones need the room."""
        for image in self._enlarged.pop(self.plane_zoom, ()):
            self._pyramids.pop(id(image), None)
            self._warped.pop(image_size(image), None)

    def enlarged(self, zoom: float) -> tuple[RGBImage, RGBImage]:
        """Both images, enlarged or, by less than 1, shrunk."""
        if zoom == 1:
            return self.image0, self.image1
        if zoom not in self._enlarged:
            image0, image1 = (_enlarged(image, zoom) for image in (self.image0, self.image1))
            self._enlarged[zoom] = image0, image1
        return self._enlarged[zoom]


def _enlarged(image: RGBImage, zoom: float) -> RGBImage:
    """To a whole number of pixels, which is told to OpenCV: given a factor, it keeps to that."""
    width, height = (max(1, round(side * zoom)) for side in image_size(image))
    if zoom <= 1:
        return resize_to(image, (width, height))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
