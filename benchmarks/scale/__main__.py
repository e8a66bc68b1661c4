"""Cuts of long lists, and the cost model beside a run.

    python -m benchmarks.scale cut
    python -m benchmarks.scale run --shared ../shared --work runs/scale --set max_keypoints=2000

`cut` cuts lists of 100 000 pairs of 5000 photos into 64 shards and says how long it took and how many image
features the shards compute, over the photos: a sequence; the likest of photos of places (those are made
descriptors, paired by gcm.scene.pair_lists.similar); photos on streets, and all over a city, with those
nearest; and pairs drawn by chance, which cannot be cut. The photos' order says nothing of where they are.

`run` matches some 2000 pairs of the photo series in the shared folder in shards, as `gcm extract` does, after
it has foretold from 40 of them how long that will take and how large the results will be. The bar: within
25 %. It then foretells 10 000 photos and 1 000 000 pairs. Run it on an idle machine.

Prints one JSON document; exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcm.benchmark.pairs import Pair, name_pairs
from gcm.config import load_config
from gcm.matchers import matcher_spec
from gcm.scale.cost import count_features, measure, predict
from gcm.scale.cut import computed_features, cut_pairs, image_numbers
from gcm.scale.engines import extract_sharded
from gcm.scale.local import LocalEngine
from gcm.scene.pair_lists import nearest, sequential, similar
from gcm_cli.options import parse_settings

PHOTOS, PAIRS, SHARDS = 5000, 100_000, 64
SECONDS, FACTOR, OFF = 5.0, 1.5, 0.25
"""Bars: of a cut, and of the model (share of what was measured)."""
BARRED = "sequence, window 20", "50 places, likest 20", "100 places, likest 20", "60 streets, nearest"
"""Lists that are to keep to the bar."""
KEPT = 64
"""Images whose features a worker keeps, in the counts of what is computed."""
SERIES = ["strecha-dev", "multiview", "sacre-coeur", "oxford-dev", "rgbd-hololens-dvmvs"]
"""Folders of the shared data in which every pair of a folder's photos is matched."""
STRANGERS = "sacre-coeur", "multiview/sceaux"
"""Two series that show different things, each photo of one matched with each of the other."""

IndexPairs = list[tuple[int, int]]


def places(count: int) -> NDArray[np.float32]:
    """Descriptors of photos of so many places, some seen by many photos and some by few."""
    rng = np.random.default_rng(0)
    weights = rng.lognormal(0, 1, count)
    place = rng.choice(count, PHOTOS, p=weights / weights.sum())
    centres = rng.normal(size=(count, 64))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    directions = rng.normal(size=(count, 2, 64)) / 8
    stand = rng.uniform(-1, 1, (PHOTOS, 2))
    descriptors = centres[place] + 0.7 * np.einsum("nk,nkd->nd", stand, directions[place])
    descriptors += 0.2 * rng.normal(size=(PHOTOS, 64)) / 8
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return descriptors.astype(np.float32)


def near(points: NDArray[np.float64]) -> IndexPairs:
    """Each photo with those nearest to it."""
    return nearest([(float(x), float(y), 0.0) for x, y in points], 36)


def streets(count: int) -> NDArray[np.float64]:
    """Places of photos along so many streets."""
    rng = np.random.default_rng(0)
    middle, angle = rng.uniform(0, 1, (count, 2)), rng.uniform(0, np.pi, count)
    street, along = rng.integers(0, count, PHOTOS), rng.uniform(-0.3, 0.3, PHOTOS)
    directions = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.asarray(
        middle[street] + directions[street] * along[:, None] + rng.normal(0, 0.002, (PHOTOS, 2))
    )


def by_chance() -> IndexPairs:
    rng = np.random.default_rng(0)
    chosen: set[tuple[int, int]] = set()
    while len(chosen) < PAIRS:
        i, j = sorted(rng.integers(0, PHOTOS, 2).tolist())
        if i != j:
            chosen.add((i, j))
    return sorted(chosen)


def cuts() -> dict[str, Any]:
    """Of each kind of list, what its cut costs."""
    uniform = np.random.default_rng(0).uniform(0, 1, (PHOTOS, 2))
    lists = {
        "sequence, window 20": sequential(PHOTOS, 20),
        "50 places, likest 20": similar(places(50), 20),
        "100 places, likest 20": similar(places(100), 20),
        "60 streets, nearest": near(streets(60)),
        "all over a city, nearest": near(uniform),
        "by chance": by_chance(),
    }
    return {name: _cut(indices) for name, indices in lists.items()}


def _cut(indices: IndexPairs) -> dict[str, Any]:
    order = np.random.default_rng(1).permutation(PHOTOS).tolist()
    mixed = sorted((min(order[i], order[j]), max(order[i], order[j])) for i, j in indices)
    images = [Path("photos", f"{k:05}.jpg") for k in range(PHOTOS)]
    pairs = [Pair(images[i], images[j], None, f"{i}_{j}") for i, j in mixed]
    began = time.perf_counter()
    cut = cut_pairs(pairs, SHARDS)
    seconds = time.perf_counter() - began
    ends = image_numbers(pairs)
    return {
        "pairs": len(pairs),
        "seconds": round(seconds, 2),
        "factor": round(cut.factor, 3),
        f"computed over photos, {KEPT} kept": round(count_features(pairs, cut, KEPT) / cut.images, 2),
        f"one machine in the list's order, {KEPT} kept": round(computed_features(ends, KEPT) / cut.images, 2),
        "in time": seconds <= SECONDS,
    }


def series(shared: Path) -> list[Pair]:
    """Pairs of the photo series, and some of photos that have nothing in common."""
    chosen: list[tuple[Path, Path]] = []
    for name in SERIES:
        files = [path for path in (shared / "data" / name).rglob("*") if _is_photo(path)]
        for folder in sorted({path.parent for path in files}):
            chosen += combinations(sorted(path for path in files if path.parent == folder), 2)
    strangers = [sorted(filter(_is_photo, (shared / "data" / name).iterdir())) for name in STRANGERS]
    chosen += product(*strangers)
    return name_pairs([Pair(image0, image1) for image0, image1 in chosen])


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".png", ".ppm") and path.parent.name != "depth"


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was foretold and what came."""
    settings = parse_settings(arguments.settings)
    if arguments.config is None:
        spec = matcher_spec(arguments.algorithm, settings)
    else:
        spec = matcher_spec("gcm", {"config": load_config(arguments.config, **settings)})
    pairs = series(arguments.shared)[: arguments.pairs]
    began = time.perf_counter()
    measured = measure(spec, pairs, sample=arguments.sample)
    sampling = time.perf_counter() - began
    cut = cut_pairs(pairs, arguments.shards)
    features = count_features(pairs, cut, measured.kept_images)
    told = predict(measured, features=features, pairs=len(pairs), workers=1)
    began = time.perf_counter()
    report = extract_sharded(pairs, spec, arguments.work, LocalEngine(1), shards=arguments.shards)
    seconds = time.perf_counter() - began
    size = sum(path.stat().st_size for path in arguments.work.rglob("*_matches.npz"))
    large = predict(measured, features=int(1.5 * 10_000), pairs=1_000_000, workers=64)
    return {
        "algorithm": arguments.config or arguments.algorithm,
        "settings": arguments.settings,
        "pairs": len(pairs),
        "images": cut.images,
        "shards": len(cut.parts),
        "factor": round(cut.factor, 3),
        "coefficients": {key: round(value, 5) if value else value for key, value in vars(measured).items()},
        "sampling_seconds": round(sampling, 1),
        "foretold_seconds": round(told.seconds, 1),
        "measured_seconds": round(seconds, 1),
        "measured_in_pairs": round(report.total_seconds, 1),
        "off": round(told.seconds / seconds - 1, 3),
        "foretold_bytes": round(told.result_bytes),
        "measured_bytes": size,
        "bytes_off": round(told.result_bytes / size - 1, 3),
        "failed": report.failed,
        "holds": abs(told.seconds / seconds - 1) <= OFF and abs(told.result_bytes / size - 1) <= OFF,
        "10 000 photos, 1 000 000 pairs": {
            "features": large.features,
            "worker_hours": round(large.work_seconds / 3600, 1),
            "hours on 64 workers": round(large.seconds / 3600, 2),
            "GB": round(large.result_bytes / 1e9, 1),
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["cut", "run"])
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds data/")
    parser.add_argument("--work", type=Path, default=Path("runs/scale"), help="a new folder for the matches")
    parser.add_argument("--algorithm", default="sift")
    parser.add_argument("--config", help="a preset of gcm, in place of another algorithm")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--pairs", type=int, help="at the most so many")
    parser.add_argument("--sample", type=int, default=40)
    parser.add_argument("--shards", type=int, default=8)
    arguments = parser.parse_args()
    document = {"machine": platform.processor() or platform.machine()}
    if arguments.what == "cut":
        document |= cuts()
        holds = all(entry["in time"] for entry in document.values() if isinstance(entry, dict))
        holds &= all(document[kind]["factor"] <= FACTOR for kind in document if kind in BARRED)
    else:
        document |= run(arguments)
        holds = document["holds"]
    print(json.dumps(document, indent=1))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
