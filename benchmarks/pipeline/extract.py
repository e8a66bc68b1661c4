"""Throughput of `extract` against lone matches.

A list of 20 pairs that share their first images (4 sequences of 5) is extracted, with as many processes as
`gcm extract` takes by itself or `--workers`, which share the cores a lone match has to itself. A lone `match`
of the same preset runs on each of the 20 pairs with its features forgotten in between. Start-up is left out
of both.
The bar: the list takes at most 0.75 of the lone matches.

    python -m benchmarks.pipeline.extract --shared ../shared --config default --repeat 3

Run it on an idle machine. Prints one JSON document; exits with 1 when the bar is missed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import torch

from gcm.benchmark.extract import extract
from gcm.benchmark.hpatches import Link, organise_hpatches
from gcm.benchmark.pairs import Pair, read_pairs
from gcm.benchmark.workers import default_workers
from gcm.config import MatcherConfig, load_config
from gcm.matcher import Matcher
from gcm.matchers import MatcherSpec, matcher_spec
from gcm_cli.options import parse_settings

BAR = 0.75


def list_seconds(pairs: list[Pair], spec: MatcherSpec, folder: Path, workers: int | None) -> float:
    """Wall time from the first pair's start to the last pair's file, with the algorithm made before."""
    started: list[float] = []
    extract(pairs, spec, folder, workers=workers, on_begin=lambda _: started.append(time.perf_counter()))
    return time.perf_counter() - started[0]


def lone_seconds(pairs: list[Pair], config: MatcherConfig) -> list[float]:
    """Wall time of each pair's match when nothing is remembered from the one before."""
    matcher = Matcher(config)
    seconds = []
    for pair in pairs:
        matcher.features.cache.clear()
        start = time.perf_counter()
        matcher.match(pair.image0, pair.image1)
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds data/oxford-dev")
    parser.add_argument("--config", default="default")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    config = load_config(arguments.config, **parse_settings(arguments.settings))
    spec = matcher_spec("gcm", {"config": config})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        organise_hpatches(arguments.shared / "data/oxford-dev", folder / "data", link=Link.SYMBOLIC)
        pairs = read_pairs(folder / "data/image_pairs.txt")[: arguments.pairs]
        lone_seconds(pairs[:1], config)  # warm up
        lists, lones = [], []
        for turn in range(arguments.repeat):  # in turns, so that a slow spell hits both
            lists.append(list_seconds(pairs, spec, folder / f"out{turn}", arguments.workers))
            lones.append(sum(lone_seconds(pairs, config)))
    ratio = statistics.median(lists) / statistics.median(lones)
    print(
        json.dumps(
            {
                "config": arguments.config,
                "settings": arguments.settings,
                "pairs": len(pairs),
                "workers": arguments.workers or default_workers(len(pairs)),
                "list_seconds": [round(s, 3) for s in lists],
                "lone_seconds": [round(s, 3) for s in lones],
                "ratio_of_medians": round(ratio, 3),
                "bar": BAR,
                "holds": ratio <= BAR,
                "machine": platform.processor() or platform.machine(),
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "opencv": cv2.__version__,
            },
            indent=1,
        )
    )
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
