"""The cameras of the photos of a collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gcm.errors import UsageError
from gcm.scene.intrinsics import Intrinsics, read_intrinsics
from gcm.scene.photos import Photo

__all__ = ["UNKNOWN", "Cameras"]


@dataclass(frozen=True)
class Cameras:
    """How the cameras of all photos see."""

    intrinsics: tuple[Intrinsics, ...] | None = None
    """Those of each photo. None: by EXIF, or guessed, and refined when a model is made."""
    one: bool = False
    """All photos are of one camera; otherwise those of equal intrinsics are, or those that EXIF says are."""

    @classmethod
    def read(cls, text: str | None, photos: Sequence[Photo], *, one: bool = False) -> Cameras:
        """From what :func:`gcm.scene.read_intrinsics` reads; None where nothing is known.

        Raises:
            UsageError, InputError: see there; also intrinsics of several cameras where one is asked for.
        """
        if text is None:
            return cls(None, one)
        intrinsics = tuple(read_intrinsics(text, photos))
        if one and len(set(intrinsics)) > 1:
            raise UsageError(
                f"intrinsics '{text}': are of {len(set(intrinsics))} cameras, but one camera was asked for; "
                "leave out the one or the other"
            )
        return cls(intrinsics, one)

    @property
    def known(self) -> bool:
        """Whether they are right as they are, and not to be refined."""
        return self.intrinsics is not None and all(each.known for each in self.intrinsics)

    def shared(self, count: int) -> list[list[int]]:
        """Of so many photos, by number, those that share a camera, as far as that is known."""
        if self.intrinsics is None or not self.known:
            return [list(range(count))] if self.one else [[k] for k in range(count)]
        groups: dict[Intrinsics, list[int]] = {}
        for k, each in zip(range(count), self.intrinsics, strict=True):
            groups.setdefault(each, []).append(k)
        return list(groups.values())


UNKNOWN = Cameras()
"""Cameras of which nothing is known but what EXIF says."""
