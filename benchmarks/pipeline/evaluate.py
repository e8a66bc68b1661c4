"""Time of `evaluate` against the bare MAGSAC calls it must make, spread over two processes.

540 pairs of 5 000 matches each are made from one real pair's homography and noise; 30 % are outliers. The
bar: evaluation from files takes at most 1.3 times as long as the MAGSAC calls alone on arrays already in
memory, spread over two processes.

    python -m benchmarks.pipeline.evaluate

Run it on an idle machine. Prints one JSON document; exits with 1 when the bar is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gcm.benchmark.evaluate import evaluate
from gcm.benchmark.layout import SUBSETS
from gcm.estimation import estimate_homography
from gcm.geometry import apply_homography
from gcm.metrics.matching import THRESHOLDS, count_within, transfer_errors

BAR = 1.3
WIDTH, HEIGHT = 800, 640

Arrays = tuple[NDArray[np.float64], NDArray[np.float64]]


def make(folder: Path, pairs: int, matches: int) -> list[Arrays]:
    """Predictions and ground truth of synthetic sequences; returns the points."""
    rng = np.random.default_rng(0)
    truth = np.array([[0.88, 0.31, -39.0], [-0.18, 0.94, 153.0], [1.96e-4, -1.6e-5, 1.0]])
    data, lines, made = folder / "data", [], []
    for number in range(pairs):
        kind = "iv"[number % 2]
        sequence, k = f"{kind}_s{number // 10:03d}", 2 + (number // 2) % 5
        place = data / SUBSETS[kind] / sequence
        place.mkdir(parents=True, exist_ok=True)
        if not (place / f"{sequence}_1.ppm").exists():
            Image.new("RGB", (WIDTH, HEIGHT)).save(place / f"{sequence}_1.ppm")
        h = truth + rng.normal(scale=[[0.02, 0.02, 5], [0.02, 0.02, 5], [1e-6, 1e-6, 0]])
        np.savetxt(place / f"{sequence}_H_1_{k}", h)
        start = f"{SUBSETS[kind]}/{sequence}/{sequence}"
        lines.append(f"{start}_1.ppm {start}_{k}.ppm {start}_H_1_{k}\n")
        points0 = rng.uniform((0, 0), (WIDTH, HEIGHT), (matches, 2))
        points1 = apply_homography(h, points0) + rng.normal(scale=0.7, size=(matches, 2))
        outliers = rng.random(matches) < 0.3
        points1[outliers] = rng.uniform((0, 0), (WIDTH, HEIGHT), (int(outliers.sum()), 2))
        target = folder / "Results/hpatches/synthetic/outputs" / SUBSETS[kind] / sequence
        target.mkdir(parents=True, exist_ok=True)
        index = np.repeat(np.arange(matches)[:, None], 2, axis=1)
        np.savez(
            target / f"{sequence}_1_{sequence}_{k}_matches.npz",
            pointsA=points0,
            pointsB=points1,
            matches=index,
        )
        made.append((points0, points1))
    (data / "image_pairs.txt").write_text("".join(sorted(lines)))
    return made


_HELD: list[Arrays] = []


def _hold(made: list[Arrays]) -> None:
    _HELD[:] = made
    cv2.setNumThreads(1)


def _bare(number: int) -> int:
    points0, points1 = _HELD[number]
    estimate = estimate_homography(
        points0, points1, threshold=3.0, method=cv2.USAC_MAGSAC, iterations=5000, confidence=0.9999
    )
    return int(estimate.inliers.sum())


def bare_seconds(made: list[Arrays]) -> float:
    """MAGSAC alone, arrays already in both processes, their start left out."""
    # Not forked: OpenCV and the threads of an evaluation before do not survive that.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=_hold, initargs=(made,)) as pool:
        list(pool.map(_bare, range(min(4, len(made)))))  # both are up and warm
        start = time.perf_counter()
        list(pool.map(_bare, range(len(made)), chunksize=4))
        return time.perf_counter() - start


def evaluate_seconds(folder: Path) -> float:
    """All of `evaluate`: reading, measuring, writing; nothing kept from before."""
    (folder / "Results/hpatches/synthetic_pairs.json").unlink(missing_ok=True)
    start = time.perf_counter()
    evaluate(
        ["synthetic"],
        result_directory=folder / "Results",
        dataset_name="hpatches",
        dataset_dir=folder / "data",
        workers=2,
    )
    return time.perf_counter() - start


def accuracy_seconds(made: list[Arrays]) -> float:
    """The matching accuracy alone."""
    start = time.perf_counter()
    for points0, points1 in made:
        count_within(transfer_errors(points0, points1, np.eye(3)), THRESHOLDS)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=540)
    parser.add_argument("--matches", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        made = make(Path(name), arguments.pairs, arguments.matches)
        bare, whole = [], []
        for _ in range(arguments.repeat):  # in turns, so that a slow spell hits both
            bare.append(bare_seconds(made))
            whole.append(evaluate_seconds(Path(name)))
        accuracy = accuracy_seconds(made)
    ratio = statistics.median(whole) / statistics.median(bare)
    print(
        json.dumps(
            {
                "pairs": arguments.pairs,
                "matches": arguments.matches,
                "bare_magsac_seconds": [round(s, 3) for s in bare],
                "evaluate_seconds": [round(s, 3) for s in whole],
                "of_which_matching_accuracy": round(accuracy, 3),
                "ratio_of_medians": round(ratio, 3),
                "bar": BAR,
                "holds": ratio <= BAR,
                "machine": platform.processor() or platform.machine(),
                "opencv": cv2.__version__,
            },
            indent=1,
        )
    )
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
