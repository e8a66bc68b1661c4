"""The same networks by PyTorch and by ONNX Runtime: are maps and matches equal, and what do they cost.

    python -m benchmarks.runtime --shared ../shared
    python -m benchmarks.runtime --shared ../shared --only maps matches

`maps`: the exported files of `default` and `fast`, their size over that of the weights in the same precision,
and how far each map is from PyTorch's in float32 on real photos, as a part of its largest value. `matches`:
ten pairs, float32 in both; a match is found again when one of the other runtime has both points within
0.05 px. `times`: a pair at 480 x 640 and at 3000 x 4000 (of which `default` takes 1280 pixels, as always),
medians of interleaved repeats with no features remembered, and the peak memory of a fresh process above its
imports. Exits with 1 when maps in float32 differ by more than 1e-4, a file is larger than 1.1 times the
weights, or fewer than 99.5 % of a pair's matches are found again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.parity.__main__ import compare
from benchmarks.speed.__main__ import parse_size
from benchmarks.speed.measure import (
    Subject,
    hardware,
    interleaved,
    measure_memory,
    medians,
    timed_match,
    versions,
    write_pair,
)
from gcm.backbones.onnx.export import backbone_maps, export_onnx
from gcm.backbones.onnx.session import Session
from gcm.backbones.registry import create_backbone
from gcm.config import load_config
from gcm.images.files import load_image
from gcm.images.network_input import network_input
from gcm.matcher import Matcher

PRESETS = ("default", "fast")
RUNTIMES = ("torch", "onnxruntime")
NEAR = 0.05
FOUND_BAR, SIZE_BAR, MAP_BAR = 0.995, 1.1, 1e-4
PAIRS = (
    *((f"oxford-dev/{s}/1.ppm", f"oxford-dev/{s}/{k}.ppm") for s, k in (("v_graf", 2), ("v_graf", 3))),
    *((f"oxford-dev/{s}/1.ppm", f"oxford-dev/{s}/{k}.ppm") for s, k in (("v_boat", 3), ("i_bikes", 4))),
    *((f"oxford-dev/{s}/1.ppm", f"oxford-dev/{s}/{k}.ppm") for s, k in (("i_leuven", 4),)),
    *(
        (f"fmat-dev/{n}A.jpg", f"fmat-dev/{n}B.jpg")
        for n in ("Brussels", "Kyoto", "Leuven2", "box", "booksh")
    ),
)
"""Of ``shared/data``: planes, blur, light, and scenes with depth."""
SIZES = ("480x640", "3000x4000")


def check_maps(shared: Path) -> bool:
    """Size and maps of the exported networks."""
    photos = [load_image(shared / "data" / name) for pair in PAIRS[::3] for name in pair]
    passed = True
    for preset in PRESETS:
        backbone = create_backbone(load_config(preset).model)
        bytes_a_weight = {"float32": 4, "float16": 2}
        weights = sum(p.numel() for p in backbone.parameters())
        for precision, size in bytes_a_weight.items():
            model = export_onnx(backbone_maps(backbone), precision=precision)
            session = Session(model, ["CPUExecutionProvider"])
            worst = 0.0
            for photo in photos:
                x = network_input(
                    photo, backbone.info.pad_multiple, normalisation=backbone.info.normalisation
                )
                with torch.inference_mode():
                    for ours, theirs in zip(backbone(x), session(x), strict=True):
                        worst = max(worst, float((ours - theirs).abs().max() / ours.abs().max()))
            ratio = len(model) / (size * weights)
            passed &= ratio <= SIZE_BAR and (precision != "float32" or worst <= MAP_BAR)
            print(
                f"{preset:8} {backbone.info.name} {precision}: {len(model) / 1e6:.2f} MB, {ratio:.3f} of the "
                f"weights; maps of {len(photos)} photos differ by {worst:.1e} at most",
                flush=True,
            )
    return passed


def check_matches(shared: Path) -> bool:
    """The matches of ten pairs with either runtime."""
    passed = True
    for preset in PRESETS:
        first, second = (Matcher(preset, precision="float32", runtime=r, device="cpu") for r in RUNTIMES)
        for pair in PAIRS:
            paths = [shared / "data" / name for name in pair]
            ours, theirs = first.match(*paths), second.match(*paths)
            agreement = compare(
                (ours.points0, ours.points1), (theirs.points0, theirs.points1), tolerance=NEAR
            )
            passed &= agreement.found >= FOUND_BAR
            print(
                f"{preset:8} {pair[0]:24} {agreement.golden:6} matches, {agreement.found:8.3%} found again, "
                f"{agreement.extra:.3%} extra{'' if agreement.found >= FOUND_BAR else '  MISSED'}",
                flush=True,
            )
    return passed


def measure_times(shared: Path, presets: list[str], sizes: list[str], repeats: int, threads: int) -> None:
    """Whole matches with either runtime, and PyTorch in the preset's own precision beside them."""
    with tempfile.TemporaryDirectory() as temporary:
        for size in map(parse_size, sizes):
            paths = write_pair(shared, "graf", size, Path(temporary))
            images = [load_image(path) for path in paths]
            for preset in presets:
                subjects = _subjects(preset, shared)
                matchers = {name: subject.build() for name, subject in subjects.items()}
                last: dict[str, Any] = {}

                def once(
                    name: str, matchers: Any = matchers, last: Any = last, images: Any = images
                ) -> float:
                    seconds, last[name] = timed_match(matchers[name], images, "cpu")
                    return seconds

                works = {name: lambda name=name, once=once: once(name) for name in matchers}
                middle = medians(interleaved(works, repeats))
                for name, subject in subjects.items():
                    peak = measure_memory(subject, paths, threads)["above_imports_gib"]
                    stages = last[name].info["seconds"].items()
                    print(
                        f"{preset:8} {size[0]} x {size[1]}  {name:20} {middle[name]:7.3f} s {peak:6.2f} GiB  "
                        f"{len(last[name])} matches  " + ", ".join(f"{k} {v:.2f}" for k, v in stages),
                        flush=True,
                    )


def _subjects(preset: str, shared: Path) -> dict[str, Subject]:
    plain = {f"{runtime}, float32": {"precision": "float32", "runtime": runtime} for runtime in RUNTIMES}
    changes: dict[str, dict[str, Any]] = {**plain, "torch, auto": {"precision": "auto"}}
    return {name: Subject(preset, str(shared.resolve()), "cpu", change) for name, change in changes.items()}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds data/")
    parser.add_argument("--only", nargs="+", choices=["maps", "matches", "times"], default=None)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), help="of the times")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="HxW", help="of the times")
    parser.add_argument("--repeats", type=int, default=3, help="after one that warms up")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    import onnxruntime

    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    print(hardware("cpu"), versions() | {"onnxruntime": onnxruntime.__version__}, sep="\n")
    chosen = options.only or ["maps", "matches", "times"]
    passed = True
    if "maps" in chosen:
        passed &= check_maps(options.shared)
    if "matches" in chosen:
        passed &= check_matches(options.shared)
    if "times" in chosen:
        measure_times(options.shared, options.presets, options.sizes, options.repeats, options.threads)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
