"""An image's feature maps."""

from __future__ import annotations

from dataclasses import dataclass, field

from gcm.refinement.maps import FeatureMap

__all__ = ["Pyramid"]


@dataclass
class Pyramid:
    """An image's maps, fine to coarse; the patch descriptor's map, if any, comes last."""

    maps: list[FeatureMap]
    _prepared: dict[int, FeatureMap] = field(default_factory=dict, repr=False)

    @property
    def nbytes(self) -> int:
        """Memory the maps take at most, what they may come to keep included."""
        return sum(m.nbytes for m in self.maps)

    def prepared(self, index: int) -> FeatureMap:
        """A map most of whose descriptors are to be gathered, and more than once; prepared once for all."""
        index %= len(self.maps)
        if index not in self._prepared:
            self._prepared[index] = self.maps[index].prepared()
        return self._prepared[index]

    def forget_prepared(self) -> None:
        """Free what :meth:`prepared` keeps; asked again, it makes it again."""
        self._prepared.clear()
