"""A backbone to copy: numbered steps, with ShuffleNetV2 as a working example (docs/add-a-backbone.md)."""  # noqa: N999

from __future__ import annotations

from torch import Tensor

from gcm.backbones.base import Backbone, BackboneInfo
from gcm.backbones.tapped import torchvision_network
from gcm.weights.catalogue import WeightEntry

# 1. Say where the default weights lie and under which licence. Weights of torchvision and those several
#    backbones share have their entry in gcm/weights/catalogue.py; then `weights` below is that entry's name.
#    Leave `sha256` out only when nobody publishes it.
WEIGHTS = WeightEntry(
    "shufflenet_v2_x1_0",
    "shufflenetv2_x1-5666bf0f80.pth",
    urls=("https://download.pytorch.org/models/shufflenetv2_x1-5666bf0f80.pth",),
    sha256_prefix="5666bf0f80",
    licence="BSD-3-Clause (torchvision); trained on ImageNet",
    citation="torchvision, https://github.com/pytorch/vision",
    homepage="https://pytorch.org/vision/stable/models.html",
)

# 2. Say what the maps are, fine to coarse. `strides` and `channels` belong to `taps` one by one; the matcher
#    derives its levels, the length of `ratio_th` and the padding from them. The input is normalised as
#    ImageNet's networks want it, unless `normalisation` says otherwise (see gcm.images.normalisation).
#    One entry a variant.
INFOS = (
    BackboneInfo(
        "SHUFFLENETV2",
        taps=("conv1", "maxpool", "stage2", "stage3"),
        strides=(2, 4, 8, 16),
        channels=(24, 24, 116, 232),
        weights=WEIGHTS,
        description="torchvision shufflenet_v2_x1_0 up to stage3",
        citation="Ma et al., ShuffleNet V2, ECCV 2018 (arXiv 1807.11164)",
    ),
)


# 3. Build the network up to the last tap, under the names its checkpoint uses, and return the maps. Nothing
#    may change a map afterwards: mind in-place activations and additions. (A network that only runs its
#    children one after another, like this one, is TappedBackbone(info, network) and needs no class.)
class ShuffleNet(Backbone):
    """ShuffleNetV2 up to stage3."""

    def __init__(self, info: BackboneInfo) -> None:
        super().__init__()
        self.info = info
        network = torchvision_network("shufflenet_v2_x1_0")
        for name in ("conv1", "maxpool", "stage2", "stage3"):
            self.add_module(name, network.get_submodule(name))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for module in self.children():
            x = module(x)
            maps.append(x)
        return maps


# 4. Register it: inside gcm, add (your_file.INFOS, your_file.ShuffleNet) to _FAMILIES in registry.py; from a
#    package of your own, name this pair as an entry point of the group "gcm.backbones".
BACKBONES = (INFOS, ShuffleNet)
