"""Maps of images kept in a folder: what they cost, and what they save.

For each preset and longer side a photo is brought to that size, and its pyramid is computed, written, and
read back from the folder: from the memory of the system, and from the disk once the system was made to forget
the file. Then a pair is matched with nothing remembered, without the folder and with one that knows both.

    python -m benchmarks.pipeline.features --shared ../shared --presets fast default --sides 640 1280

Run it on an idle machine. Prints one JSON document. There is no bar.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch

from gcm.features.batching import Request
from gcm.features.folder import FeatureFolder
from gcm.images.files import RGBImage, read_image
from gcm.matcher import Matcher

ROOM = 2**34


def milliseconds(
    work: Callable[[], object], repeat: int, before: Callable[[], object] | None = None
) -> float:
    """The median of several turns."""
    turns = []
    for _ in range(repeat):
        if before is not None:
            before()
        start = time.perf_counter()
        work()
        turns.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(turns), 1)


def forget(file: Path) -> None:
    """Have the system read a file from its disk the next time."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resized(photo: RGBImage, side: int) -> RGBImage:
    """A photo whose longer side is `side`."""
    height, width = photo.shape[:2]
    scale = side / max(height, width)
    size = round(width * scale), round(height * scale)
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def measure_image(matcher: Matcher, photo: RGBImage, repeat: int) -> dict[str, Any]:
    """Of one photo: to compute its maps, to write and to read them."""
    extractor = matcher.features
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = FeatureFolder(name, ROOM)
        request = Request(photo)
        entry = extractor._compute([request])[0]
        assert entry.pyramid is not None
        tensors = extractor.backbone.stored(entry.pyramid.maps)
        assert tensors is not None
        key = extractor._file_key(request)
        folder.put(key, tensors)
        (file,) = folder.path.rglob("*.maps")
        return {
            "megabytes": round(file.stat().st_size / 1e6, 1),
            "compute_ms": milliseconds(lambda: extractor._compute([request]), repeat),
            "name_ms": milliseconds(lambda: extractor._file_key(Request(photo)), repeat),
            "write_ms": milliseconds(lambda: folder.put(key, tensors), repeat, file.unlink),
            "read_ms": milliseconds(lambda: folder.get(key), repeat),
            "read_from_disk_ms": milliseconds(lambda: folder.get(key), repeat, lambda: forget(file)),
        }


def measure_pair(preset: str, photos: list[RGBImage], repeat: int) -> dict[str, float]:
    """Of one pair: to match it without and with a folder that knows both photos."""
    with tempfile.TemporaryDirectory() as name:
        plain, kept = Matcher(preset, device="cpu"), Matcher(preset, device="cpu", features=name)
        for matcher in (plain, kept):
            matcher.match(*photos)
        turns = range(repeat)
        times = [
            (
                milliseconds(lambda: plain.match(*photos), 1, plain.features.cache.clear),
                milliseconds(lambda: kept.match(*photos), 1, kept.features.cache.clear),
            )
            for _ in turns  # in turns, so that a slow spell hits both
        ]
        without, with_folder = (round(statistics.median(column), 1) for column in zip(*times, strict=True))
        return {"pair_ms_without": without, "pair_ms_with": with_folder}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds data/oxford-dev")
    parser.add_argument("--presets", nargs="+", default=["fast", "default"])
    parser.add_argument("--sides", nargs="+", type=int, default=[640, 1280])
    parser.add_argument("--repeat", type=int, default=9)
    arguments = parser.parse_args()
    paths = [arguments.shared / f"data/oxford-dev/v_graf/{k}.ppm" for k in (1, 2)]
    photos = [read_image(path).pixels for path in paths]
    rows = []
    for preset in arguments.presets:
        matcher = Matcher(preset, device="cpu")
        for side in arguments.sides:
            small = [resized(photo, side) for photo in photos]
            row = {"preset": preset, "side": side, "precision": matcher.precision}
            row |= measure_image(matcher, small[0], arguments.repeat)
            rows.append(row | measure_pair(preset, small, arguments.repeat))
    print(
        json.dumps(
            {
                "rows": rows,
                "machine": platform.processor() or platform.machine(),
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            },
            indent=1,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
