"""Time and peak memory of one 480 x 640 match with each backbone.

    python -m benchmarks.backbones                    # all of them, writes benchmarks/backbones/results.md
    python -m benchmarks.backbones RESNET18 R2D2_STU  # these only, prints the table

Each backbone runs in a process of its own. Its weights are the published ones where they lie on this machine
(``gcm fetch-weights --all``, or a folder given with --weights); otherwise seeded random ones with batch norms
adjusted to the photo, in a checkpoint made here for this purpose only. Time and memory of a network do not
depend on its weights; the number of matches that are refined does, a little, so the table says which ran.
Linux only, for the way memory is read.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcm.matcher import Matcher

HEIGHT, WIDTH = 480, 640
FOLDER = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="backbones; all when none is named")
    parser.add_argument("--repeats", type=int, default=5, help="matches timed, after one not timed")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of PyTorch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--weights", type=Path, help="folder with published weights under any name")
    parser.add_argument(
        "--photo", type=Path, help="photo to match with its shifted self; a synthetic one otherwise"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options)))
        return
    from gcm.backbones.registry import list_backbones

    known = [info.name for info in list_backbones()]
    rows = [run_apart(name) for name in options.names or known]
    text = report(sorted(rows, key=lambda row: -row["peak_mb"]), options)
    print(text)
    if not options.names:
        (FOLDER / "results.md").write_text(text, encoding="utf-8")


def run_apart(name: str) -> dict[str, Any]:
    """Measure in a fresh process, whose peak memory is this backbone's alone."""
    command = [sys.executable, "-m", "benchmarks.backbones", *sys.argv[1:], "--one", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout)
    print(f"{name}: {row['seconds']:.2f} s, {row['peak_mb']:.0f} MB", file=sys.stderr)
    return row


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    from gcm.backbones.registry import backbone_info
    from gcm.config import MatcherConfig
    from gcm.matcher import Matcher

    torch.set_num_threads(options.threads)
    image0, image1 = pair(options.photo)
    with tempfile.TemporaryDirectory() as folder:
        path, kind = weights_of(name, options.weights, Path(folder), image0)
        config = MatcherConfig(
            model=name,
            ratio_th=(1.0,) * len(backbone_info(name).step_strides),
            weights_path=str(path),
            compat=False,
            device=options.device,
        )
        before = resident_mb("VmRSS")
        runs = [one_match(Matcher(config), image0, image1) for _ in range(options.repeats + 1)][1:]
    seconds = [run[0] for run in runs]
    peak = max(run[1] for run in runs)
    return {
        "name": name,
        "seconds": statistics.median(seconds),
        "spread": (min(seconds), max(seconds)),
        "peak_mb": peak if options.device.startswith("cuda") else peak - before,
        "matches": runs[0][2],
        "weights": kind,
    }


def one_match(matcher: Matcher, image0: Any, image1: Any) -> tuple[float, float, int]:
    """Seconds, peak memory in MB (of the GPU, or of the process) and number of matches of one match."""
    import torch

    cuda = matcher.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far was that of loading the weights
    started = time.perf_counter()
    matches = matcher.match(image0, image1)  # its answer lies on the CPU, so the GPU has finished
    seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() / 1e6 if cuda else resident_mb("VmHWM")
    return seconds, peak, len(matches)


def resident_mb(key: str) -> float:
    """The process's memory now (VmRSS) or at its peak (VmHWM), in MB; Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"no {key} in /proc/self/status")


def pair(path: Path | None) -> tuple[Any, Any]:
    """Two overlapping 480 x 640 images, 48 and 32 pixels apart."""
    import cv2
    import numpy as np

    from gcm.images.files import load_image

    height, width = HEIGHT + 48, WIDTH + 32
    if path is not None:
        image = cv2.resize(load_image(path), (width, height), interpolation=cv2.INTER_AREA)
    else:
        rng = np.random.default_rng(7)
        smooth = np.zeros((height, width, 3), np.float32)
        for scale in (4, 8, 16, 40):
            noise = rng.uniform(0, 1, (height // scale + 2, width // scale + 2, 3)).astype(np.float32)
            smooth += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        image = np.asarray(255 * (smooth - smooth.min()) / np.ptp(smooth), np.uint8)
    return image[:HEIGHT, :WIDTH].copy(), image[48:, 32:].copy()


def weights_of(name: str, given: Path | None, folder: Path, photo: Any) -> tuple[Path, str]:
    """The published weights where they lie on this machine, else a seeded checkpoint."""
    from gcm.backbones.registry import backbone_info, build_backbone
    from gcm.errors import WeightsError
    from gcm.weights.store import find_weights

    entry = backbone_info(name).weights_entry
    path = find_weights(entry) if entry else None
    if path is not None:
        return path, "published"
    if given and entry and (given / entry.filename).is_file():
        return given / entry.filename, "published"
    # Torchvision's networks need not have their file's own name: the layers up to the last tap suffice.
    torchvision = entry is not None and entry.sha256_prefix is not None
    for path in sorted(given.glob("*.pth")) if given and torchvision else ():
        try:
            build_backbone(name).load_file(path)
        except WeightsError:
            continue
        return path, "published"
    return seeded(name, folder / "seeded.pth", photo), "seeded"


def seeded(name: str, path: Path, photo: Any) -> Path:
    """Write a checkpoint of random weights, good for measuring and for nothing else."""
    import torch
    from torch import nn

    from gcm.backbones.registry import build_backbone
    from gcm.images.network_input import network_input

    torch.manual_seed(0)
    backbone = build_backbone(name).to_empty(device="cpu")
    for module in backbone.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        if hasattr(module, "define_relative_position_index"):  # Swin's tables
            module.define_relative_position_index()
            module.define_relative_position_bias_table()
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            module.train()
    crop = photo[:256, :256]
    with torch.no_grad():
        backbone(torch.cat([network_input(crop, 16), network_input(crop[::-1].copy(), 16)]))
    torch.save({key.removeprefix("network."): value for key, value in backbone.state_dict().items()}, path)
    return path


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """The table as markdown, with what it was measured on."""
    import torch
    import torchvision

    from gcm.backbones.registry import backbone_info

    def cells(row: dict[str, Any]) -> tuple[str, ...]:
        info = backbone_info(row["name"])
        low, high = row["spread"]
        return (
            row["name"],
            " ".join(map(str, info.strides)),
            f"{row['peak_mb']:.0f}",
            f"{row['seconds']:.2f}",
            f"{low:.2f} to {high:.2f}",
            str(row["matches"]),
            row["weights"],
        )

    header = ("backbone", "strides", "peak MB", "seconds", "fastest to slowest", "matches", "weights")
    table = [header, ("---", "---", "--:", "--:", "--:", "--:", "---"), *map(cells, rows)]
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else processor()
    return "\n".join(
        [
            "# Backbones: memory and time of one match",
            "",
            "Written by `python -m benchmarks.backbones`, which says how it measures. Largest first.",
            "",
            f"- One match of two {HEIGHT} x {WIDTH} images, both stages, no fine model, nothing remembered;",
            f"  median of {options.repeats} after one not counted.",
            "- Peak: memory above that of the process before the matcher is built, network weights included"
            + (" (GPU memory of PyTorch alone)." if options.device.startswith("cuda") else "."),
            "- Weights: `published`, or `seeded` random ones where the published ones were not at hand; the",
            "  matches of the latter mean nothing.",
            f"- {where}, {options.threads} threads; Python {platform.python_version()}, "
            f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}; {date.today()}.",
            "",
            *(f"| {' | '.join(row)} |" for row in table),
            "",
        ]
    )


def processor() -> str:
    """Name of the processor, as Linux knows it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
