"""Match with a network of your own: ``python examples/custom_backbone.py``.

This one learns nothing: it says how strong edges of eight directions are around a cell, as SIFT does.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

import gcm
from gcm.backbones.base import Backbone, BackboneInfo
from gcm.images import PerImage

HERE = Path(__file__).resolve().parent
# Pixels a cell, fine to coarse; no default weights: the configuration names a file.
MAPS = {"taps": ("half", "quarter", "eighth"), "strides": (2, 4, 8), "channels": (128, 128, 128)}
INFO = BackboneInfo("EDGES", **MAPS, weights=None, normalisation=PerImage(grey=True))


class Edges(Backbone):
    def __init__(self, info: BackboneInfo) -> None:
        super().__init__()
        self.info = info
        angles = torch.arange(8) * torch.pi / 4
        self.register_buffer("directions", torch.stack([angles.cos(), angles.sin()], dim=1))

    def forward(self, x: Tensor) -> list[Tensor]:
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
        dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        edges = F.relu(torch.einsum("ok,bkhw->bohw", self.directions, torch.cat([dx, dy], dim=1)))
        cells = [F.avg_pool2d(edges, stride) for stride in self.info.strides]
        around = [F.unfold(F.pad(c, (1, 2, 1, 2)), 4).reshape(len(x), -1, *c.shape[2:]) for c in cells]
        return [a.sqrt() for a in around]  # strong edges shall not outweigh all others


BACKBONES = ((INFO,), Edges)  # what the entry point names


def main() -> None:
    # What `pip install` does for a package that names this entry point:
    about = Path("site/edges-1.0.dist-info")
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: edges\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[gcm.backbones]\nedges = custom_backbone:BACKBONES\n")
    sys.path[:0] = ["site", str(HERE)]

    save_file(Edges(INFO).state_dict(), "edges.safetensors")
    # A ratio a level, the coarsest stride twice; the method of the paper takes any network.
    config = gcm.MatcherConfig(model="EDGES", ratio_th=[0.95] * 4, weights_path="edges.safetensors")
    print(gcm.match(HERE / "left.jpg", HERE / "right.jpg", config))


if __name__ == "__main__":
    main()
