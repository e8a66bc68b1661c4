"""A whole scene matched from end to end in one frame, whatever its shape.

A *frame* is a turn, scale and shift of image 1, and no more than that: under it the coarsest maps of the two
images are matched at full size without a guess of where, so that what lies off the main plane is found as
well as what lies on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from gcm.features.batching import Work
from gcm.geometry import (
    Matrix,
    Points,
    apply_homography,
    inverse,
    resize_matrix,
    resize_points,
    rounded_homography,
)
from gcm.images.sizes import image_size
from gcm.method.evidence import Agreement, agreement
from gcm.method.pair import Pair
from gcm.method.sightings import Sighting
from gcm.method.view import Seen, refine_view
from gcm.method.working_matches import WorkingMatches
from gcm.refinement.dense import CellMatches, mutual_match

__all__ = ["Framed", "frame_of", "look_at_all", "refine_all"]


@dataclass(frozen=True)
class Framed:
    """The coarse matches of a frame at full size."""

    seen: Seen
    """Both images and their pyramids, the second in the first one's frame; enlarged, perhaps."""
    swapped: bool
    """Whether it is image 0 that was warped, into the frame of image 1, which shows more detail."""
    zoom: float
    """By which both images were enlarged."""
    cells: CellMatches
    agreement: Agreement

    @property
    def significance(self) -> float:
        """See :func:`gcm.method.evidence.significance`."""
        return self.agreement.significance

    @property
    def h_1_to_0(self) -> Matrix:
        """The frame, between the images as enlarged."""
        h = self.seen.h_1_to_0
        return np.eye(3) if h is None else inverse(h) if self.swapped else h

    @property
    def sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Width and height of image 0 and of image 1, as enlarged."""
        first, second = (image_size(image) for image in self.seen.images)
        return (second, first) if self.swapped else (first, second)

    def points(self, pair: Pair) -> tuple[Points, Points]:
        """All mutual coarse matches, N x 2 each, in pixels of image 0 and image 1 as the pair has them."""
        first, second = self.cells.points()
        if self.seen.h_1_to_0 is not None:
            second = apply_homography(inverse(self.seen.h_1_to_0), second)
        points0, points1 = (second, first) if self.swapped else (first, second)
        size0, size1 = self.sizes
        return resize_points(points0, size0, pair.size0), resize_points(points1, size1, pair.size1)


def frame_of(pair: Pair, sighting: Sighting) -> Matrix | None:
    """Turn, scale and shift of image 1 that a sighting calls for; None where features bear it unturned."""
    options, side = pair.options, max(*pair.size0, *pair.size1)
    frame = options.frame
    points0, points1 = sighting.together
    if len(points0) < 3:
        return None
    matrix, _ = cv2.estimateAffinePartial2D(
        points1, points0, method=cv2.RANSAC, ransacReprojThreshold=options.evidence.parallax * side
    )
    if matrix is None:
        return None
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    turn = abs(float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))))
    if turn <= frame.borne_turn and abs(np.log(scale)) <= np.log(frame.borne_scale):
        return None
    return rounded_homography(np.vstack([matrix, [0.0, 0.0, 1.0]]), pair.size1)


def look_at_all(pair: Pair, h_1_to_0: Matrix | None, zoom: float = 1.0) -> Work[Framed]:
    """Match the coarsest maps of a frame from end to end.

    Args:
        pair: the images.
        h_1_to_0: the frame, between the images as given; None leaves them as they are.
        zoom: by which both are enlarged first, so that little has enough cells to be seen.
    """
    first, second = pair.enlarged(zoom)
    h = h_1_to_0
    if h is not None:
        h = resize_matrix(pair.size0, image_size(first)) @ h @ resize_matrix(image_size(second), pair.size1)
    swapped = h is not None and pair.shows_more((first, second), h)
    if h is not None and swapped:
        first, second, h = second, first, inverse(h)
    seen = yield from pair.see((first, second), h)
    with pair.clock("match"):
        map0, map1 = (pyramid.prepared(pair.steps[1].map_index) for pyramid in seen.pyramids)
        cells = mutual_match(map0, map1, slack=pair.options.frame.slack)
        side = max(*map0.shape[1:], *map1.shape[1:]) * map0.stride
        frame = pair.options.frame
        found = agreement(cells, frame.neighbours, pair.options.evidence, side, frame.chance)
    return Framed(seen, swapped, zoom, cells, found)


def refine_all(pair: Pair, framed: Framed) -> WorkingMatches:
    """The matches of a frame, refined and verified, in the images as given."""
    found = framed.agreement
    chosen = found.together if found.tight else found.supported
    cells = framed.cells.take(torch.from_numpy(chosen).to(framed.cells.cells0.device))
    margin = pair.options.guide.margins[1]
    view = refine_view(cells, framed.seen, pair.steps, pair.options, pair.clock, margin=margin, whole=True)
    if framed.swapped:
        view = view.swapped()
    if framed.zoom == 1:
        return view
    size0, size1 = framed.sizes
    return view.enlarged(resize_matrix(size0, pair.size0), resize_matrix(size1, pair.size1))
