"""What a matcher is to everything that uses one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gcm.images.files import ImageLike
from gcm.matches import Matches

__all__ = ["OneAfterTheOther", "PairMatcher", "match_each"]


class PairMatcher(Protocol):
    """Anything that matches two images."""

    name: str
    """For tables and messages."""

    def match(self, image0: ImageLike, image1: ImageLike) -> Matches:
        """Match two images; points in pixels of the upright images as given, pixel centres at integers.

        It should remember the features of the images it has just seen: consecutive pairs share some.
        """
        ...

    def match_many(self, pairs: Sequence[tuple[ImageLike, ImageLike]]) -> list[Matches | Exception]:
        """Match several pairs; for each its matches, or the error that prevented them.

        A class that derives from this one and has nothing better matches one after the other.
        """
        return match_each(self, pairs)


def match_each(
    matcher: PairMatcher, pairs: Sequence[tuple[ImageLike, ImageLike]]
) -> list[Matches | Exception]:
    """Match pairs one after the other; one that fails does not stop the rest."""
    results: list[Matches | Exception] = []
    for image0, image1 in pairs:
        try:
            results.append(matcher.match(image0, image1))
        except Exception as error:  # whatever is wrong with one pair
            results.append(error)
    return results


class OneAfterTheOther(PairMatcher):
    """Gives `match_many` to a matcher of another package that has only `name` and `match`."""

    def __init__(self, matcher: Any) -> None:
        self.matcher = matcher
        self.name = str(matcher.name)

    def match(self, image0: ImageLike, image1: ImageLike) -> Matches:
        """The matcher's."""
        matches: Matches = self.matcher.match(image0, image1)
        return matches
