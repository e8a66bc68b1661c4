"""How many of the pairs that match are among those that ``gcm pairs --method similar`` lists.

    python -m benchmarks.retrieval --shared ../shared --work runs/retrieval

Photos of five sites are thrown together. A pair is to be found where both photos are of one site and matching
every pair of that (``gcm extract --method exhaustive``; a second run finds the matches in --work) is sure of
it: confidence over 0.5. The bar: with ten pairs a photo, 95 % of them are listed. Says too how many
descriptors alone would list, and what looking and comparing took.

Prints one JSON document; exits with 1 when the bar is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gcm.config import load_config
from gcm.matcher import Matcher
from gcm.scene.collection import read_results
from gcm.scene.pair_lists import IndexPair, similar
from gcm.scene.photos import Photo, list_photos
from gcm.scene.similarity import likest_pairs, photo_cells, pool_cells

SITES = (
    "strecha-dev/castle-P30",
    "strecha-dev/Herz-Jesus-P25",
    "multiview/monstree",
    "multiview/buddha",
    "multiview/sceaux",
)
PAIRS_A_PHOTO = 3, 5, 10, 20
BARRED, BAR = 10, 0.95
SURE = 0.5


def matching(site: Path, results: Path, photos: list[Photo]) -> set[IndexPair]:
    """The pairs of a site that match, by the places of its photos; matched where they are not yet."""
    command = [sys.executable, "-m", "gcm_cli", "extract", "--images", str(site), "--method", "exhaustive"]
    subprocess.run([*command, "--output-dir", str(results)], check=True)
    found = set()
    for _, i, j, matches in read_results(results, photos):
        if matches is not None and (matches.confidence or 0.0) > SURE:
            found.add((min(i, j), max(i, j)))
    return found


def listed(
    cells: list[NDArray[np.float16]], number: int, device: torch.device
) -> tuple[list[IndexPair], int, float]:
    """The list, how many comparisons it took, and how many seconds."""
    totals: list[int] = []
    start = time.perf_counter()
    chosen = likest_pairs(cells, number, device=device, on_compared=lambda _, total: totals.append(total))
    return chosen, totals[-1], time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--work", type=Path, default=Path("runs/retrieval"))
    options = parser.parse_args()
    photos: list[Photo] = []
    true: set[IndexPair] = set()
    for site in SITES:
        folder = options.shared / "data" / site
        its_own = list_photos(folder)
        first = len(photos)
        pairs = matching(folder, options.work / folder.name, its_own)
        true |= {(first + i, first + j) for i, j in pairs}
        photos += its_own
    matcher = Matcher(load_config("default", feature_cache=0))
    start = time.perf_counter()
    cells = photo_cells([photo.path for photo in photos], matcher.features)
    document: dict[str, object] = {
        "photos": len(photos),
        "pairs_that_match": len(true),
        "seconds_a_photo": round((time.perf_counter() - start) / len(photos), 4),
    }
    descriptors = pool_cells(cells)
    kept: dict[int, float] = {}
    for number in PAIRS_A_PHOTO:
        chosen, comparisons, seconds = listed(cells, number, matcher.device)
        kept[number] = len(true & set(chosen)) / len(true)
        document[f"k={number}"] = {
            "pairs": len(chosen),
            "kept": round(kept[number], 4),
            "kept_by_descriptors_alone": round(len(true & set(similar(descriptors, number))) / len(true), 4),
            "comparisons": comparisons,
            "seconds": round(seconds, 1),
        }
    print(json.dumps(document, indent=2))
    raise SystemExit(kept[BARRED] < BAR)


if __name__ == "__main__":
    main()
