"""The bars of `python -m benchmarks.speed --check`."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.measure import (
    Subject,
    bare_networks,
    hardware,
    interleaved,
    measure_memory,
    medians,
    timed_match,
    versions,
    write_pair,
)
from gcm.errors import GCMError
from gcm.images.files import load_image
from gcm.metrics.matching import transfer_errors

EXACT = "ResNet18_dstlR2D2_95"

Bar = tuple[str, float, float]
"""What is measured, its value, the most it may be."""


def exact_bars(options: argparse.Namespace, folder: Path) -> list[Bar]:
    """Exact mode beside its bare networks, and its memory."""
    subject = Subject(EXACT, str(options.shared.resolve()))
    paths = write_pair(options.shared, "graf", (600, 800), folder)
    images = [load_image(path) for path in paths]
    matcher = subject.build()
    times = medians(
        interleaved(
            {
                "bare": lambda: bare_networks(matcher, images),
                "whole": lambda: timed_match(matcher, images, "cpu")[0],
            },
            options.repeats,
        )
    )
    print(f"  {EXACT} 600 x 800: {times['whole']:.3f} s, bare networks {times['bare']:.3f} s")
    memory = measure_memory(subject, paths, options.threads)
    return [
        ("exact: whole match / bare networks", times["whole"] / times["bare"], 1.10),
        ("exact: peak memory above imports, GiB", memory["above_imports_gib"], 1.0),
    ]


def fast_bars(options: argparse.Namespace, folder: Path) -> list[Bar]:
    """`fast` beside XFeat and exact mode on a small pair."""
    shared = str(options.shared.resolve())
    images = [load_image(path) for path in write_pair(options.shared, "graf", (480, 640), folder)]
    matchers = {name: Subject(name, shared).build() for name in (options.fast, "xfeat", EXACT)}
    times = medians(
        interleaved(
            {name: lambda m=m: timed_match(m, images, "cpu")[0] for name, m in matchers.items()},
            options.repeats,
        )
    )
    print("  480 x 640: " + ", ".join(f"{name} {seconds:.3f} s" for name, seconds in times.items()))
    return [
        ("small: fast / xfeat", times[options.fast] / times["xfeat"], 2.0),
        ("small: 15 fast / exact", 15 * times[options.fast] / times[EXACT], 1.0),
    ]


def accuracy_bar(options: argparse.Namespace, folder: Path) -> list[Bar]:
    """Mean MMA@3 of `fast` and of the default preset on the 20 pairs of oxford-dev."""
    shared = str(options.shared.resolve())
    scores: dict[str, list[float]] = {}
    for name in dict.fromkeys((options.fast, "default")):
        matcher = Subject(name, shared).build()
        for truth in sorted((options.shared / "data/oxford-dev").glob("*/H_1_*")):
            images = [truth.parent / f"{k}.ppm" for k in (1, truth.name.rpartition("_")[2])]
            found = matcher.match(*images)
            errors = transfer_errors(found.points0, found.points1, np.loadtxt(truth))
            scores.setdefault(name, []).append(float(np.mean(errors <= 3)) if len(errors) else 0.0)
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    print("  MMA@3 on oxford-dev: " + ", ".join(f"{name} {mean:.4f}" for name, mean in means.items()))
    return [("accuracy: MMA@3 of default - of fast", means["default"] - means[options.fast], 0.02)]


def large_bars(options: argparse.Namespace, folder: Path) -> list[Bar]:
    """`fast` at full resolution: memory, and time against linear growth."""
    subject = Subject(options.fast, str(options.shared.resolve()), changes={"max_side": None})
    small = [load_image(path) for path in write_pair(options.shared, "graf", (750, 1000), folder)]
    paths = write_pair(options.shared, "graf", (3000, 4000), folder)
    memory = measure_memory(subject, paths, options.threads)
    print(f"  3000 x 4000: {memory['matches']} matches, stages {memory['stages']}")
    # As on a processor without bfloat16, whatever this one has.
    whole = replace(subject, changes={**subject.changes, "precision": "float32"})
    memory_float32 = measure_memory(whole, paths, options.threads)
    large = [load_image(path) for path in paths]
    matcher = subject.build()
    works: dict[str, Callable[[], float]] = {
        "small": lambda: timed_match(matcher, small, "cpu")[0],
        "large": lambda: timed_match(matcher, large, "cpu")[0],
    }
    times = medians(interleaved(works, options.repeats))
    print(f"  {options.fast}: 750 x 1000 {times['small']:.3f} s, 3000 x 4000 {times['large']:.3f} s")
    return [
        ("large: peak memory above imports, GiB", memory["above_imports_gib"], 2.0),
        ("large: the same in float32, GiB", memory_float32["above_imports_gib"], 1.6),
        ("large: time / (16 x time at 750 x 1000)", times["large"] / (16 * times["small"]), 1.3),
    ]


def parity_bar(options: argparse.Namespace, folder: Path) -> list[Bar]:
    """Golden files whose bar exact mode misses."""
    from benchmarks.parity.__main__ import golden_matcher, golden_names, golden_pairs, measure

    missed = 0
    for name in golden_names(options.shared):
        matcher = golden_matcher(options.shared, name)
        for path in golden_pairs(options.shared, name):
            missed += not measure(options.shared, matcher, path)[0].passed
    return [("parity: golden files missed", float(missed), 0.0)]


BARS: dict[str, Callable[[argparse.Namespace, Path], list[Bar]]] = {
    "exact": exact_bars,
    "small": fast_bars,
    "accuracy": accuracy_bar,
    "large": large_bars,
    "parity": parity_bar,
}


def check(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every bar and print each with its number; one that cannot be measured has failed."""
    machine = hardware("cpu")
    print(f"{machine}\n{versions()}", flush=True)
    bars: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, measure in BARS.items():
            if options.bars and not name.startswith(tuple(options.bars)):
                continue
            try:
                measured = measure(options, Path(temporary))
            except GCMError as error:
                print(f"FAILED  {name}: cannot be measured ({error})", flush=True)
                bars.append({"bar": name, "value": None, "limit": None, "passed": False})
                continue
            for title, value, limit in measured:
                passed = value <= limit
                bars.append({"bar": title, "value": value, "limit": limit, "passed": passed})
                print(f"{'ok' if passed else 'FAILED':7} {title}: {value:.3f} (limit {limit:g})", flush=True)
    return {
        "command": shlex.join(["python", *sys.argv]),
        "hardware": machine,
        "versions": versions(),
        "bars": bars,
        "passed": bool(bars) and all(bar["passed"] for bar in bars),
    }
