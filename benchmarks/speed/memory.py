"""Peak memory of a match of two large photos: ``python -m benchmarks.speed.memory --shared ../shared``.

Enlarges a pair of photos to 4000 x 3000, matches them in a fresh process with the default preset, and
prints peak resident memory, what `gcm` says it did, and how far the matches are from the truth in original
pixels. Exits with 1 when the peak exceeds the limit.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from gcm.geometry import apply_homography, resize_matrix

LIMIT = 4.0
SIZE = (4000, 3000)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/")
    parser.add_argument("--config", default="default")
    arguments = parser.parse_args()
    folder = arguments.shared / "data/oxford-dev/v_graf"
    with tempfile.TemporaryDirectory() as temporary:
        paths, sizes = [], []
        for k in (1, 2):
            image = cv2.imread(str(folder / f"{k}.ppm"))
            sizes.append((image.shape[1], image.shape[0]))
            path = Path(temporary) / f"{k}.png"
            cv2.imwrite(str(path), cv2.resize(image, SIZE, interpolation=cv2.INTER_CUBIC))
            paths.append(str(path))
        command = [sys.executable, "-m", "gcm_cli", "match", *paths, "--config", arguments.config, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found = json.loads(done.stdout)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    truth = resize_matrix(sizes[1], SIZE) @ np.loadtxt(folder / "H_1_2") @ resize_matrix(SIZE, sizes[0])
    points0, points1 = np.array(found["keypoints0"]), np.array(found["keypoints1"])
    error = np.linalg.norm(apply_homography(truth, points0) - points1, axis=1)
    print(f"peak resident {peak:.2f} GiB (limit {LIMIT}), {sum(found['seconds'].values()):.1f} s")
    print(f"{len(error)} matches, median error {np.median(error):.2f} px of {SIZE[0]} x {SIZE[1]}")
    print("\n".join(found["notes"]))
    return 0 if peak <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
