"""What a match costs beside its networks: ``python -m benchmarks.speed.overhead --shared ../shared``.

Times whole exact-mode matches of a 600 x 800 pair and the bare forward passes they contain (backbone of A,
B and the warped B, patch descriptor of A and the warped B), interleaved, in one run. Prints the medians
and their ratio; exits with 1 when the ratio exceeds the limit.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from pathlib import Path

import cv2
import torch

from gcm.images.files import RGBImage, load_image
from gcm.images.network_input import network_input
from gcm.images.sizes import resize_to
from gcm.matcher import Matcher

LIMIT = 1.25


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds data and weights")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--config", default="ResNet18_dstlR2D2_95")
    arguments = parser.parse_args()
    weights = arguments.shared / "weights"
    matcher = Matcher(
        arguments.config,
        device="cpu",
        weights_path=str(weights / "resnet18_imagenet1k_v1_bnfolded_to_layer3.pth"),
        fine_weights_path=str(weights / "dstl_r2d2.pt"),
    )
    folder = arguments.shared / "data/oxford-dev/v_graf"
    images = [resize_to(load_image(folder / f"{k}.ppm"), (800, 600)) for k in (1, 2)]
    whole, bare = [], []
    for warm_up in (_whole, _bare):
        warm_up(matcher, images)
    for _ in range(arguments.repeats):
        bare.append(_bare(matcher, images))
        whole.append(_whole(matcher, images))
    ratio = statistics.median(whole) / statistics.median(bare)
    print(f"{arguments.config} on 600 x 800, {torch.get_num_threads()} threads, {platform.processor()}")
    print(f"torch {torch.__version__}, opencv {cv2.__version__}, Python {platform.python_version()}")
    print(f"whole match       {statistics.median(whole):.3f} s  {[round(t, 2) for t in whole]}")
    print(f"bare networks     {statistics.median(bare):.3f} s  {[round(t, 2) for t in bare]}")
    print(f"ratio             {ratio:.3f}  (limit {LIMIT})")
    return 0 if ratio <= LIMIT else 1


def _whole(matcher: Matcher, images: list[RGBImage]) -> float:
    matcher.features.cache.clear()
    started = time.perf_counter()
    matcher.match(*images)
    return time.perf_counter() - started


def _bare(matcher: Matcher, images: list[RGBImage]) -> float:
    """The forward passes of one match: three of the backbone, two of the patch descriptor."""
    multiple = matcher.info.pad_multiple
    inputs = [network_input(image, multiple) for image in images]
    inputs = [x.contiguous(memory_format=torch.channels_last) for x in inputs]
    fine = matcher.features.fine
    assert fine is not None
    started = time.perf_counter()
    with torch.inference_mode():
        for x in (inputs[0], inputs[1], inputs[1]):
            matcher.features.backbone(x)
        for x in inputs:
            fine(x)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
