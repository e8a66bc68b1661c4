"""What the speed benchmark measures with: the machine, pairs, matchers, memory in fresh processes."""

from __future__ import annotations

import datetime
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision

GIB = 2**30
PAIRS = {"graf": ("v_graf", 1, 2), "leuven": ("i_leuven", 1, 3)}
"""Real photos of ``shared/data/oxford-dev``: folder and the two numbers."""
PEERS: dict[str, dict[str, Any]] = {
    "sift": {},
    "xfeat": {"max_keypoints": 4096},
    "aliked-lightglue": {},
}


def peak_bytes() -> int:
    """Highest resident memory this process has had so far."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            # Unlike ru_maxrss, it does not begin with what the process was forked from.
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib if sys.platform == "darwin" else kib * 1024


# -- the machine -------------------------------------------------------------------------------------


def synchronise(device: str) -> None:
    """Wait for what a GPU was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def best_of(work: Callable[[], Any], device: str, repeats: int = 7) -> float:
    """Seconds of the fastest of some runs: what the machine can do, not what it was kept from doing."""
    times = []
    for _ in range(repeats):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - started)
    return min(times)


def matrix_rate(device: str, dtype: torch.dtype = torch.float32) -> float:
    """Multiply-adds a second of a large square matrix product."""
    n = 8192 if device.startswith("cuda") else 1536
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    with torch.inference_mode():
        return n**3 / best_of(lambda: a @ b, device)


def bandwidth(device: str) -> float:
    """Bytes a second that a copy of 256 MiB reads and writes."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / best_of(lambda: target.copy_(source), device)


def hardware(device: str) -> dict[str, Any]:
    """The machine and what it was measured to do."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else _processor()
    return {
        "device": device,
        "name": name,
        "threads": torch.get_num_threads(),
        "gmac_per_s": round(matrix_rate(device) / 1e9, 1),
        "gmac_per_s_bf16": round(matrix_rate(device, torch.bfloat16) / 1e9, 1),
        "gb_per_s": round(bandwidth(device) / 1e9, 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    """Of what the numbers depend on; the date with them."""
    import cv2

    return {
        "date": str(datetime.date.today()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "opencv": cv2.__version__,
    }


# -- matchers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """Something to be timed: a preset of ours or a peer; plain values, so that it can go to a process."""

    name: str
    shared: str
    device: str = "cpu"
    changes: dict[str, Any] = field(default_factory=dict)
    """Configuration keys to change."""

    def build(self) -> Any:
        """Make the matcher.

        Raises:
            GCMError: no such preset, weights or package.
        """
        if self.name in PEERS:
            from gcm.matchers import matcher_spec

            options = dict(PEERS[self.name])
            if self.name == "aliked-lightglue":
                options["device"] = self.device
            return matcher_spec(self.name, options).create()
        from benchmarks.local_weights import local_weights
        from gcm.config import load_config
        from gcm.matcher import Matcher

        config = load_config(self.name, **self.changes)
        paths = local_weights(config, Path(self.shared))
        return Matcher(config, name=self.name, device=self.device, **paths)


def forget(matcher: Any) -> None:
    """Drop the features a matcher remembers, so that a match pays for both images."""
    holder = matcher.features if hasattr(matcher, "features") else matcher
    holder.cache.clear()


def timed_match(matcher: Any, images: Sequence[Any], device: str) -> tuple[float, Any]:
    """Seconds of one match that remembers nothing, and its result."""
    forget(matcher)
    synchronise(device)
    started = time.perf_counter()
    found = matcher.match(*images)
    synchronise(device)
    return time.perf_counter() - started, found


def bare_networks(matcher: Any, images: Sequence[Any]) -> float:
    """Seconds of the forward passes of a two-stage match: three of the backbone, two of the patch network."""
    from gcm.images.network_input import network_input

    extractor = matcher.features
    inputs = [network_input(image, matcher.info.pad_multiple, matcher.device) for image in images]
    inputs = [x.contiguous(memory_format=torch.channels_last) for x in inputs]
    synchronise(str(matcher.device))
    started = time.perf_counter()
    with torch.inference_mode():
        for x in (inputs[0], inputs[1], inputs[1]):
            extractor.backbone(x)
        if extractor.fine is not None:
            for x in inputs:
                extractor.fine(x)
    synchronise(str(matcher.device))
    return time.perf_counter() - started


def multiply_adds(matcher: Any, images: Sequence[Any], device: str) -> int:
    """What one match multiplies and adds, counted while it runs."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        timed_match(matcher, images, device)
    return int(counter.get_total_flops() // 2)


def interleaved(
    works: dict[str, Callable[[], float]], repeats: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Run each in turn, so that a slow minute of the machine hits all; a first time does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(-warm_up, repeats):
        for name, work in works.items():
            seconds = work()
            if turn >= 0:
                times[name].append(seconds)
    return times


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """Of each list."""
    return {name: statistics.median(values) for name, values in times.items()}


# -- pairs -------------------------------------------------------------------------------------------


def write_pair(shared: Path, pair: str, size: tuple[int, int], folder: Path) -> list[str]:
    """The photos of a pair at a size (height, width), as PNG files."""
    from gcm.images.files import load_image, write_image
    from gcm.images.sizes import resize_to

    sequence, *numbers = PAIRS[pair]
    paths = []
    for number in numbers:
        path = folder / f"{pair}_{number}_{size[0]}x{size[1]}.png"
        if not path.is_file():
            image = load_image(shared / "data/oxford-dev" / sequence / f"{number}.ppm")
            write_image(path, resize_to(image, (size[1], size[0])))
        paths.append(str(path))
    return paths


# -- memory, in processes of their own ---------------------------------------------------------------


def measure_memory(subject: Subject, paths: Sequence[str], threads: int) -> dict[str, Any]:
    """One match in a fresh process: its peak resident memory, that of the imports, stages, matches."""
    task = json.dumps({**vars(subject), "paths": list(paths), "threads": threads})
    command = [sys.executable, "-m", "benchmarks.speed.measure", task]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _memory_process() -> None:
    task = json.loads(sys.argv[1])
    imports = peak_bytes()
    paths, threads = task.pop("paths"), task.pop("threads")
    torch.set_num_threads(threads)
    subject = Subject(**task)
    matches = subject.build().match(*paths)
    result = {
        "imports_gib": imports / GIB,
        "above_imports_gib": (peak_bytes() - imports) / GIB,
        "matches": len(matches.points0),
        "stages": (matches.info or {}).get("seconds", {}),
    }
    if subject.device.startswith("cuda"):
        result["gpu_gib"] = torch.cuda.max_memory_allocated() / GIB
    print(json.dumps(result))


if __name__ == "__main__":
    _memory_process()
