"""Pairs a second on a GPU, its memory, and whether matches are those of the CPU.

    python -m benchmarks.speed.gpu --shared ../shared
    python -m benchmarks.speed.gpu --shared ../shared --only pairs --subjects default fast --sizes 480x640

`pairs`: ten pairs, planes and scenes with depth, brought to each size; how many are matched a second one
after the other and several at once (`Matcher.match_many`), nothing remembered, medians of some rounds, and
the most memory PyTorch took on the GPU. XFeat and ALIKED with LightGlue in the same run. `parity`: the same
pairs at 480 x 640 on the processor and on the GPU; a match is found again where one of the other has both
points within 0.05 px. `networks`: milliseconds an image for the maps of a preset's network, as PyTorch runs
it, in reduced precision, compiled, and replayed as a CUDA graph.

With `--device cpu` the same script runs without a GPU, to see that it works.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.parity.__main__ import compare
from benchmarks.runtime.__main__ import NEAR, PAIRS
from benchmarks.speed.__main__ import parse_size
from benchmarks.speed.measure import GIB, Subject, best_of, forget, hardware, synchronise, versions
from gcm.backbones.registry import create_backbone
from gcm.config import load_config
from gcm.errors import GCMError
from gcm.features.extractor import PRECISIONS
from gcm.images.files import RGBImage, load_image
from gcm.images.network_input import network_input
from gcm.images.sizes import resize_to
from gcm.matcher import Matcher

SUBJECTS = ("default", "fast", "fast:precision=bfloat16", "xfeat", "aliked-lightglue")
SIZES = ("480x640", "1200x1600")
AT_ONCE = (8, 32)

Pair = tuple[RGBImage, RGBImage]


def load_pairs(shared: Path, size: tuple[int, int]) -> list[Pair]:
    """The ten pairs, height and width as given."""
    pairs = []
    for names in PAIRS:
        first, second = (resize_to(load_image(shared / "data" / name), (size[1], size[0])) for name in names)
        pairs.append((first, second))
    return pairs


def build(label: str, shared: Path, device: str) -> Any:
    """The matcher of ``NAME`` or ``NAME:key=value``."""
    name, _, change = label.partition(":")
    key, _, value = change.partition("=")
    return Subject(name, str(shared.resolve()), device, {key: value} if change else {}).build()


def measure_pairs(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Pairs a second, a row for each subject, size and number at once."""
    rows = []
    for size in options.sizes:
        pairs = load_pairs(options.shared, size)
        for label in options.subjects:
            try:
                matcher = build(label, options.shared, options.device)
            except GCMError as error:
                print(f"left out: {label}: {error}", file=sys.stderr)
                continue
            ways: dict[str, Callable[[], int]] = {"one by one": lambda m=matcher, p=pairs: one_by_one(m, p)}
            if isinstance(matcher, Matcher):
                for number in options.at_once:
                    ways[f"{number} at once"] = lambda m=matcher, p=pairs, n=number: at_once(m, p, n)
            for way, work in ways.items():
                rows.append(timed_rounds(label, size, way, work, options))
            del matcher, ways, work
    return rows


def timed_rounds(
    label: str, size: tuple[int, int], way: str, work: Callable[[], int], options: argparse.Namespace
) -> dict[str, Any]:
    """One row: some rounds after one that warms up."""
    gpu = options.device.startswith("cuda")
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    seconds, pairs = [], 0
    for _ in range(options.repeats + 1):
        synchronise(options.device)
        started = time.perf_counter()
        pairs = work()
        synchronise(options.device)
        seconds.append((time.perf_counter() - started) / pairs)
    middle = statistics.median(seconds[1:])
    peak = torch.cuda.max_memory_allocated() / GIB if gpu else None
    told = "" if peak is None else f"{peak:6.2f} GiB"
    rate = f"{1 / middle:8.2f} pairs/s {1e3 * middle:8.1f} ms"
    print(f"{label:28} {size[0]:4} x {size[1]:4} {way:12} {rate} {told}", flush=True)
    return {"subject": label, "size": size, "way": way, "pairs_per_s": 1 / middle, "gpu_gib": peak}


def one_by_one(matcher: Any, pairs: Sequence[Pair]) -> int:
    """Match each with nothing remembered; how many."""
    for pair in pairs:
        forget(matcher)
        matcher.match(*pair)
    return len(pairs)


def at_once(matcher: Matcher, pairs: Sequence[Pair], number: int) -> int:
    """Match that many side by side; how many."""
    forget(matcher)
    some = [pairs[k % len(pairs)] for k in range(max(number, len(pairs)) // number * number)]
    for start in range(0, len(some), number):
        for result in matcher.match_many(some[start : start + number]):
            if isinstance(result, Exception):
                raise result
    return len(some)


def check_parity(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Of the matches of the CPU, which the GPU finds again, pair by pair."""
    rows = []
    pairs = load_pairs(options.shared, (480, 640))
    for preset in ("default", "fast"):
        reference = Matcher(preset, device="cpu", precision="float32")
        expected = [reference.match(*pair) for pair in pairs]
        for precision in ("float32", "auto"):
            other = Matcher(preset, device=options.device, precision=precision)
            found = []
            for ours, pair in zip(expected, pairs, strict=True):
                theirs = other.match(*pair)
                one, two = ((m.points0, m.points1) for m in (ours, theirs))
                found.append(compare(one, two, tolerance=NEAR).found)
            print(f"parity {preset} {precision} ({other.precision}): ", " ".join(f"{f:.4f}" for f in found))
            rows.append({"preset": preset, "precision": precision, "found": found})
    return rows


def measure_networks(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Milliseconds an image of each way to run a preset's network."""
    rows = []
    for preset in ("default", "fast"):
        backbone = create_backbone(load_config(preset).model).eval().to(options.device)
        backbone = backbone.to(memory_format=torch.channels_last)
        for size in options.sizes:
            image = resize_to(load_image(options.shared / "data" / PAIRS[0][0]), (size[1], size[0]))
            x = network_input(
                image, backbone.info.pad_multiple, options.device, normalisation=backbone.info.normalisation
            )
            for number in (1, 8):
                batch = x.repeat(number, 1, 1, 1).contiguous(memory_format=torch.channels_last)
                for precision, dtype in PRECISIONS.items():
                    times = ways_to_run(backbone, batch, dtype, options)
                    told = ", ".join(f"{way} {1e3 * s / number:.2f}" for way, s in times.items())
                    print(
                        f"network {preset} {size[0]} x {size[1]} x {number} {precision}: {told} ms",
                        flush=True,
                    )
                    rows.append(
                        {"preset": preset, "size": size, "batch": number, "precision": precision, **times}
                    )
    return rows


def ways_to_run(
    backbone: Any, x: torch.Tensor, dtype: torch.dtype, options: argparse.Namespace
) -> dict[str, float]:
    """Seconds of a pass over a batch: as it is, replayed, compiled."""

    def run(network: Any = backbone) -> Any:
        with torch.inference_mode():
            if dtype == torch.float32:
                return network(x)
            with torch.autocast(x.device.type, dtype=dtype):
                return network(x)

    times = {"as it is": best_of(run, options.device)}
    if x.is_cuda:
        graph = torch.cuda.CUDAGraph()
        run()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            run()
        times["replayed"] = best_of(graph.replay, options.device)
    if options.compile:
        compiled = torch.compile(backbone)
        run(compiled)
        times["compiled"] = best_of(lambda: run(compiled), options.device)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds data and weights")
    parser.add_argument("--only", nargs="+", choices=["pairs", "parity", "networks"])
    parser.add_argument("--subjects", nargs="+", default=list(SUBJECTS), metavar="NAME[:KEY=VALUE]")
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=[parse_size(s) for s in SIZES])
    parser.add_argument("--at-once", nargs="+", type=int, default=list(AT_ONCE), metavar="N")
    parser.add_argument("--repeats", type=int, default=3, help="rounds after one that warms up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="networks by torch.compile as well")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    print(hardware(options.device), versions(), sep="\n", flush=True)
    parts: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
        "networks": measure_networks,
        "pairs": measure_pairs,
        "parity": check_parity,
    }
    report = {name: part(options) for name, part in parts.items() if name in (options.only or parts)}
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
