"""Matches of made-up pairs, and a process that goes on saving them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from gcm.matches import Matches

SIZE0, SIZE1 = (4000, 3000), (640, 480)


def made(seed: int, most: int = 60) -> Matches:
    """Random matches, the same for the same seed; now and then none, no homography or no confidence."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, most)) if seed % 5 else 0
    points = [rng.uniform(-0.5, np.array(size) - 0.5, (count, 2)) for size in (SIZE0, SIZE1)]
    return Matches(
        points[0],
        points[1],
        rng.uniform(0, 1, count),
        SIZE0,
        SIZE1,
        rng.normal(size=(3, 3)) if seed % 3 else None,
        rng.uniform(size=count) < 0.5 if seed % 3 else None,
        confidence=float(rng.uniform()) if seed % 4 else None,
    )


def pair_name(seed: int) -> str:
    return f"v_boat_{seed}_v_böat_{seed + 1}"


def equal(a: Matches, b: Matches) -> bool:
    """In all that a file holds."""
    first, second = a.to_arrays(), b.to_arrays()
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


def main() -> None:
    """Save so many pairs into a folder, in parts of eight, saying of each when it is there.

    With a fourth argument, each pair after the first waits for a line of standard input.
    """
    from gcm.benchmark.stores import packed, store_for_writing

    folder, kind, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    packed.PACKED_PAIRS = 8
    with store_for_writing(folder, kind) as store:
        store.begin([pair_name(seed) for seed in range(count)])
        for seed in range(count):
            if not store.has(pair_name(seed)):
                store.save(pair_name(seed), made(seed))
                print(seed, flush=True)
                if len(sys.argv) > 4:
                    sys.stdin.readline()
        store.settle()


if __name__ == "__main__":
    main()
