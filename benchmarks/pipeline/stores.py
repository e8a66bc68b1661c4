"""Stores of matches: bytes, and the time to read one pair among many.

Made-up pairs, from half to one and a half times `--matches` matches each, are saved into a store of each kind
and precision, and read back one by one in random order by a store opened anew.
The bars: one pair is read in under 2 ms (median), no file stays open, and a packed store takes at most 1.05
times the bytes of the arrays it keeps, in the precision it keeps them.

    python -m benchmarks.pipeline.stores --pairs 2000 --matches 1000

Run it on an idle machine. Prints one JSON document; exits with 1 when a bar is missed.
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
from typing import Any

import h5py
import numpy as np
import pyarrow

from gcm.benchmark.stores import PRECISIONS, open_store, store_for_writing
from gcm.benchmark.stores.precision import rounded, score_type
from gcm.matches import Matches

MOST_MILLISECONDS = 2.0
MOST_BYTES = 1.05
SIZE = (4000, 3000)


def made(rng: np.random.Generator, matches: int) -> Matches:
    """Random matches of two large photos."""
    points = [rng.uniform(-0.5, np.array(SIZE) - 0.5, (matches, 2)) for _ in range(2)]
    return Matches(
        points[0],
        points[1],
        rng.uniform(0, 1, matches),
        SIZE,
        SIZE,
        rng.normal(size=(3, 3)),
        rng.uniform(size=matches) < 0.5,
        confidence=float(rng.uniform()),
    )


def kept_bytes(matches: Matches, precision: str) -> int:
    """Of the arrays that a store must keep: all but the rows 0, 1, 2, ... of which point matches which."""
    position = np.dtype(precision).itemsize
    arrays = {name: array.nbytes for name, array in matches.to_arrays().items() if name != "matches"}
    arrays |= {name: 2 * position * len(matches) for name in ("keypoints0", "keypoints1")}
    arrays["scores"] = np.dtype(score_type(precision)).itemsize * len(matches)
    return sum(arrays.values())


def measure(folder: Path, pairs: dict[str, Matches], kind: str, precision: str) -> dict[str, Any]:
    """One store."""
    start = time.perf_counter()
    with store_for_writing(folder, kind, precision) as store:
        store.begin([])
        for name, matches in pairs.items():
            store.save(name, matches)
        saved = time.perf_counter()
        store.settle()
    settled = time.perf_counter()
    files = list((folder / "original_outputs").iterdir())
    size = sum(file.stat().st_size for file in files)
    order = np.random.default_rng(1).permutation(list(pairs)).tolist()
    began = time.perf_counter()
    reader = open_store(folder)
    assert len(reader.names()) == len(pairs)
    opened = time.perf_counter()
    reader.load(order[0])
    handles = len(list(Path("/proc/self/fd").iterdir()))
    seconds = []
    for name in order:
        before = time.perf_counter()
        matches = reader.load(name)
        seconds.append(time.perf_counter() - before)
        assert np.array_equal(matches.points0, rounded(pairs[name], precision).points0)
    left_open = len(list(Path("/proc/self/fd").iterdir())) - handles
    ratio = size / sum(kept_bytes(matches, precision) for matches in pairs.values())
    median = 1e3 * statistics.median(seconds)
    packed = kind != "npz"
    return {
        "store": kind,
        "precision": precision,
        "files": len(files),
        "megabytes": round(size / 1e6, 1),
        "over_arrays_kept": round(ratio, 4),
        "save_ms_a_pair": round(1e3 * (saved - start) / len(pairs), 2),
        "settle_seconds": round(settled - saved, 2),
        "open_ms": round(1e3 * (opened - began), 1),
        "read_ms_median": round(median, 2),
        "read_ms_99_percent": round(1e3 * float(np.quantile(seconds, 0.99)), 2),
        "left_open": left_open,
        "holds": median < MOST_MILLISECONDS and left_open == 0 and (not packed or ratio <= MOST_BYTES),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--matches", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where to make the stores; the system's temporary one")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    low, high = arguments.matches // 2, arguments.matches + arguments.matches // 2
    pairs = {
        f"photo_{k:05d}_photo_{k + 1:05d}": made(rng, int(rng.integers(low, high + 1)))
        for k in range(arguments.pairs)
    }
    kinds = [("npz", "float64"), *((kind, p) for kind in ("h5", "parquet") for p in PRECISIONS)]
    rows = []
    for kind, precision in kinds:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            rows.append(measure(Path(name), pairs, kind, precision))
    print(
        json.dumps(
            {
                "pairs": len(pairs),
                "matches": arguments.matches,
                "bars": {"read_ms_median": MOST_MILLISECONDS, "over_arrays_kept": MOST_BYTES, "left_open": 0},
                "stores": rows,
                "holds": all(row["holds"] for row in rows),
                "machine": platform.processor() or platform.machine(),
                "h5py": h5py.__version__,
                "pyarrow": pyarrow.__version__,
            },
            indent=1,
        )
    )
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
