"""The compact network with fewer channels at strides 2 and 4, where most of its time goes.

Its coarser layers are the compact network's own. Trained by ``gcm distill`` (recipe
``configs/distill/small.yml``).
"""

from __future__ import annotations

from gcm.backbones.base import BackboneInfo
from gcm.backbones.compact import Compact, CompactNetwork, Widths
from gcm.images.normalisation import PerImage

__all__ = ["INFOS", "SMALL", "Small", "SmallNetwork"]

SMALL = Widths((8, 24, 64, 112), (24, 32, 64), 16, 48, finest_head=False)


class SmallNetwork(CompactNetwork):
    """As any compact network, see there."""

    def __init__(self) -> None:
        super().__init__(SMALL)


class Small(Compact):
    """The network as a backbone."""

    network_type = SmallNetwork


INFOS: tuple[BackboneInfo, ...] = (
    BackboneInfo(
        "GCM_SMALL",
        taps=("pixels", "head2", "head4", "head8"),
        strides=(1, 2, 4, 8),
        channels=(SMALL.pixel, *SMALL.descriptors),
        weights="gcm_small",
        description="our own embedded network, with fewer channels at its finer levels",
        citation="this package",
        normalisation=PerImage(grey=True),
    ),
)
