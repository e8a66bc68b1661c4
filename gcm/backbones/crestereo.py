"""The feature network (``fnet``) of CREStereo, in RAFT's manner: instance norm without weights.

Source: CREStereo (arXiv 2203.11483); RAFT (arXiv 2003.12039).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from gcm.backbones.base import Backbone, BackboneInfo, load_strictly

__all__ = ["INFOS", "CREStereo"]

INFOS: tuple[BackboneInfo, ...] = (
    BackboneInfo(
        "CRE",
        taps=("layer1", "conv2", "conv2 halved"),
        strides=(2, 4, 8),
        channels=(64, 256, 256),
        weights="crestereo_eth3d",
        description="feature network of CREStereo",
        citation="Li et al., CREStereo: Practical Stereo Matching, CVPR 2022 (arXiv 2203.11483)",
    ),
)


class CREStereo(Backbone):
    """The feature network of CREStereo; modules are named as in its checkpoints."""

    def __init__(self, info: BackboneInfo) -> None:
        super().__init__()
        self.info = info
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.norm1 = nn.InstanceNorm2d(64)
        self.layer1 = nn.Sequential(_Block(64, 64, 1), _Block(64, 64, 1))
        self.layer2 = nn.Sequential(_Block(64, 96, 2), _Block(96, 96, 1))
        self.layer3 = nn.Sequential(_Block(96, 128, 1), _Block(128, 128, 1))
        self.conv2 = nn.Conv2d(128, 256, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.layer1(F.relu(self.norm1(self.conv1(x)), inplace=True))
        output = self.conv2(self.layer3(self.layer2(fine)))
        return [fine, output, F.avg_pool2d(output, 2)]

    def load_weights(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Load from a checkpoint of the whole network (``fnet.*``) or of the feature network alone."""
        state = {key.removeprefix("module."): value for key, value in state.items()}
        whole = any(key.startswith("fnet.") for key in state)
        load_strictly(self, state, origin, prefix="fnet." if whole else "")


class _Block(nn.Module):
    """conv-IN-ReLU twice, plus the input through a 1 x 1 convolution and norm; ReLU after the sum."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride=stride, padding=1)
        self.norm1 = nn.InstanceNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.norm2 = nn.InstanceNorm2d(out)
        self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride), nn.InstanceNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = F.relu(self.norm2(self.conv2(y)), inplace=True)
        return F.relu(self.downsample(x) + y, inplace=True)
