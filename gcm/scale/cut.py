"""Cutting a list of pairs into parts that share as few images as can be.

Every part computes the features of its images once, so that an image costs as often as there are parts it is
in. Parts are grown pair by pair (neighbourhood expansion: Zhang et al., Graph Edge Partitioning via
Neighborhood Heuristic, KDD 2017, section 4): of the images at the edge of a part the one comes next that
brings the fewest images that are not in it yet, and all pairs between images of the part are the part's. Of
several places to begin at, and of the sizes that a part may have, the one is taken that leaves the fewest
images with pairs both in the part and outside of it.

A list that follows places or time is cut well; in one drawn by chance every part meets nearly every image.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gcm.benchmark.pairs import Pair
from gcm.errors import UsageError

__all__ = ["Cut", "computed_features", "cut_pairs", "image_numbers"]

_MOST_STARTS = 6
"""Places to begin a part at that are tried."""
_WORK = 600_000
"""Pairs that may be looked at for a start each; of a longer list fewer starts are tried."""
_SCATTERED = 0.8
"""Share of a part's images left open above which the list has no neighbourhoods, and no start helps."""
_UNEQUAL = 0.1
"""How much larger or smaller than the mean a part may be (share of it), so that it can end where few images
are left open."""
_FEW = 200
"""Parts of fewer pairs than this are equal, to within one."""


@dataclass(frozen=True)
class Cut:
    """A list of pairs in parts of nearly equal numbers."""

    parts: tuple[tuple[int, ...], ...]
    """Of each part the places of its pairs in the list, in the order in which an image's pairs lie close."""
    images: int
    """Different images in the list."""
    part_images: tuple[int, ...]
    """Different images in each part."""

    @property
    def factor(self) -> float:
        """How many times as many image features the parts compute as one machine that keeps all of them."""
        return sum(self.part_images) / self.images if self.images else 1.0


def cut_pairs(pairs: Sequence[Pair], count: int) -> Cut:
    """Cut a list; the same list gives the same parts on every machine, wherever its photos lie.

    Args:
        pairs: the list, in its order.
        count: number of parts; those that find no pairs left are empty.

    Raises:
        UsageError: fewer than one part.
    """
    if count < 1:
        raise UsageError(f"{count} parts: a list is cut into 1 or more")
    ends = image_numbers(pairs)
    images = 1 + max((max(end) for end in ends), default=-1)
    growth = _Growth(ends, images)
    parts: list[tuple[int, ...]] = []
    for number in range(count):
        least, most = _sizes(len(pairs), sum(map(len, parts)), count, number)
        parts.append(tuple(growth.part(least, most)))
    touched = tuple(len({image for k in part for image in ends[k]}) for part in parts)
    return Cut(tuple(parts), images, touched)


def _sizes(pairs: int, taken: int, count: int, number: int) -> tuple[int, int]:
    """How many pairs the next part may have, so that the rest fits into the others."""
    mean = pairs / count
    if mean < _FEW:
        size = pairs * (number + 1) // count - pairs * number // count
        return size, size
    low, high = math.ceil(mean * (1 - _UNEQUAL)), math.floor(mean * (1 + _UNEQUAL))
    left, others = pairs - taken, count - number - 1
    return max(low, left - others * high), min(high, left - others * low)


def image_numbers(pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    """Of each pair its two images, numbered as they first come in the list."""
    numbers: dict[object, int] = {}
    return [
        (numbers.setdefault(pair.image0, len(numbers)), numbers.setdefault(pair.image1, len(numbers)))
        for pair in pairs
    ]


def computed_features(ends: Iterable[tuple[int, int]], kept: int) -> int:
    """How often the features of an image are computed where those of the `kept` images used last are kept."""
    memory: OrderedDict[int, None] = OrderedDict()
    computed = 0
    for pair in ends:
        for image in pair:
            computed += image not in memory
            memory[image] = None
            memory.move_to_end(image)
            if len(memory) > max(kept, 2):
                memory.popitem(last=False)
    return computed


class _Growth:
    """The pairs that no part has yet, and how a part grows among them."""

    def __init__(self, ends: Sequence[tuple[int, int]], images: int) -> None:
        self.ends = ends
        self.neighbours: list[list[tuple[int, int]]] = [[] for _ in range(images)]
        for k, (a, b) in enumerate(ends):
            self.neighbours[a].append((b, k))
            if a != b:
                self.neighbours[b].append((a, k))
        self.taken = bytearray(len(ends))
        self.left = [len(pairs) for pairs in self.neighbours]
        """Of each image, its pairs that no part has yet."""
        self.begun: list[int] = []
        """Images that parts have, with pairs left."""
        self.first = 0
        """All images before it have no pairs left."""
        self.starts = max(1, min(_MOST_STARTS, _WORK // max(1, len(ends))))

    def part(self, least: int, most: int) -> list[int]:
        """Take the next part, of a number of pairs between those."""
        if not most:
            return []
        best: list[int] = []
        fewest = math.inf
        for start in self._starts():
            part = _Part(self, most)
            part.grow(start)
            opened = self._left_open(part.pairs)
            # Of equal ones the longest.
            size = min(range(len(opened), least - 1, -1), key=lambda size: opened[size - 1])
            if opened[size - 1] < fewest:
                best, fewest = part.pairs[:size], opened[size - 1]
            if opened[-1] > _SCATTERED * len(part.images):
                break
        touched = {image for k in best for image in self.ends[k]}
        for k in best:
            self.taken[k] = 1
            for image in {*self.ends[k]}:
                self.left[image] -= 1
        self.begun = sorted(image for image in {*self.begun, *touched} if self.left[image])
        return best

    def _starts(self) -> list[int]:
        """Images to begin at: those that earlier parts have all but finished, and some between."""
        if not self.begun:
            return [self.next_image(set())]
        order = sorted(self.begun, key=lambda image: (self.left[image] / len(self.neighbours[image]), image))
        return order[:: max(1, len(order) // self.starts)][: self.starts]

    def next_image(self, passed: set[int]) -> int:
        """The first image with pairs left that is none of those."""
        while not self.left[self.first]:
            self.first += 1
        rest = range(self.first, len(self.left))
        return next(image for image in rest if self.left[image] and image not in passed)

    def _left_open(self, pairs: Sequence[int]) -> list[int]:
        """After each of the pairs, how many images would have pairs both among those so far and left."""
        counts: dict[int, int] = {}
        opened, after = 0, []
        for k in pairs:
            for image in {*self.ends[k]}:
                count = counts[image] = counts.get(image, 0) + 1
                opened += (count == 1) - (count == self.left[image])
            after.append(opened)
        return after


class _Part:
    """A part that grows, without yet taking its pairs from anybody."""

    def __init__(self, growth: _Growth, room: int) -> None:
        self.growth = growth
        self.room = room
        self.pairs: list[int] = []
        self.images: set[int] = set()
        self._chosen: set[int] = set()
        self._done: set[int] = set()
        """Images all of whose neighbours are in the part."""
        self._outside: dict[int, int] = {}
        """Of each image, its pairs with images that are not in the part."""
        self._queue: list[tuple[int, int]] = []

    def grow(self, start: int) -> None:
        """Fill the part, from an image on."""
        begun = iter(self.growth.begun)
        self._add(start)
        while self.room:
            image = self._next()
            if image is None:  # all that hangs together is in: go on beside an earlier part, or anywhere
                left, images = self.growth.left, self.images
                beside = (other for other in begun if left[other] and other not in images)
                chosen = next(beside, None)
                self._add(self.growth.next_image(images) if chosen is None else chosen)
                continue
            self._done.add(image)
            for neighbour, k in self.growth.neighbours[image]:
                if not self.room:
                    return
                if not (self.growth.taken[k] or k in self._chosen or neighbour in self.images):
                    self._add(neighbour)

    def _next(self) -> int | None:
        while self._queue:
            outside, image = heapq.heappop(self._queue)
            if image not in self._done and self._outside[image] == outside:
                return image
        return None

    def _add(self, image: int) -> None:
        """Take an image in, with its pairs with all images of the part."""
        self.images.add(image)
        outside = 0
        for other, k in self.growth.neighbours[image]:
            if self.growth.taken[k] or k in self._chosen:
                continue
            if other not in self.images:
                outside += 1
            elif self.room:
                self._chosen.add(k)
                self.pairs.append(k)
                self.room -= 1
                if other not in self._done and other != image:
                    self._outside[other] -= 1
                    heapq.heappush(self._queue, (self._outside[other], other))
        self._outside[image] = outside
        heapq.heappush(self._queue, (outside, image))
