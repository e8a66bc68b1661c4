"""Time and memory of a match, by preset and size, with other matchers in the same run.

    python -m benchmarks.speed --shared ../shared
    python -m benchmarks.speed --shared ../shared --only default xfeat --sizes 480x640 --json runs/speed.json
    python -m benchmarks.speed --shared ../shared --check

Times are medians of interleaved repeats with no features remembered; memory is the peak of a fresh process
above what importing torch and torchvision takes. The floor is the multiply-adds of a match over the rate of
a large matrix product measured beforehand. `--check` measures the bars instead, and exits with 1 unless all
hold.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.speed.bars import check
from benchmarks.speed.measure import (
    PAIRS,
    PEERS,
    Subject,
    hardware,
    interleaved,
    matrix_rate,
    measure_memory,
    medians,
    multiply_adds,
    timed_match,
    versions,
    write_pair,
)
from gcm.config import list_presets
from gcm.errors import GCMError
from gcm.images.files import load_image

SIZES = ("480x640", "600x800", "750x1000", "1200x1600", "3000x4000")


def parse_size(text: str) -> tuple[int, int]:
    """``480x640`` -> (height, width)."""
    height, _, width = text.lower().partition("x")
    try:
        return int(height), int(width)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no size; write HEIGHTxWIDTH, as in 480x640") from None


def build_all(subjects: list[Subject]) -> tuple[dict[str, Any], list[str]]:
    """The matchers that can be made, and in a line each why the others cannot."""
    built, problems = {}, []
    for subject in subjects:
        try:
            built[subject.name] = subject.build()
        except GCMError as error:
            problems.append(f"{subject.name}: {error}")
    return built, problems


def measure_size(
    subjects: dict[str, Subject],
    matchers: dict[str, Any],
    paths: list[str],
    options: argparse.Namespace,
    rate: float,
) -> list[dict[str, Any]]:
    """All matchers on one pair: a row each."""
    device = options.device
    images = [load_image(path) for path in paths]
    last: dict[str, Any] = {}

    counts = {name: multiply_adds(matcher, images, device) for name, matcher in matchers.items()}

    def once(name: str) -> float:
        seconds, last[name] = timed_match(matchers[name], images, device)
        return seconds

    works = {name: lambda name=name: once(name) for name in matchers}
    times = interleaved(works, options.repeats, warm_up=False)  # counting was that
    middle = medians(times)
    rows = []
    for name, count in counts.items():
        row = {
            "matcher": name,
            "seconds": middle[name],
            "all_seconds": times[name],
            "floor_seconds": count / rate if count else None,
            "gmac": count / 1e9,
            "matches": len(last[name].points0),
            "stages": (last[name].info or {}).get("seconds", {}),
        }
        if not options.no_memory:
            row |= measure_memory(subjects[name], paths, options.threads)
        rows.append(row)
    return rows


def print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    """One size and pair as a table for people."""
    print(f"\n{title}")
    print(f"{'matcher':22} {'s':>8} {'floor s':>8} {'GMAC':>8} {'peak GiB':>8} {'matches':>8}  stages, s")
    for row in rows:
        floor, peak = row["floor_seconds"], row.get("above_imports_gib")
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in row["stages"].items())
        print(
            f"{row['matcher']:22} {row['seconds']:8.3f} {'' if floor is None else f'{floor:.3f}':>8} "
            f"{row['gmac']:8.1f} {'' if peak is None else f'{peak:.2f}':>8} {row['matches']:8}  {stages}",
            flush=True,
        )


def survey(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every matcher on every size and pair, printing as it goes."""
    names = options.only or [*list_presets(), *PEERS]
    changes = {"max_side": None} if options.full_resolution else {}
    every = {
        name: Subject(
            name, str(options.shared.resolve()), options.device, {} if name in PEERS else dict(changes)
        )
        for name in names
    }
    matchers, problems = build_all(list(every.values()))
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    machine = hardware(options.device)
    print(f"{machine}\n{versions()}")
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for size in options.sizes:
            for pair in options.pairs:
                paths = write_pair(options.shared, pair, size, Path(temporary))
                rate = matrix_rate(options.device)  # again each time: shared machines change their pace
                rows = measure_size(every, matchers, paths, options, rate)
                print_rows(f"{pair} {size[0]} x {size[1]}, {rate / 1e9:.1f} GMAC/s", rows)
                results += [{"pair": pair, "height": size[0], "width": size[1], **row} for row in rows]
    return {
        "command": shlex.join(["python", *sys.argv]),
        "hardware": machine,
        "versions": versions(),
        "left_out": problems,
        "results": results,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds data and weights")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these presets and peers alone")
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=[parse_size(s) for s in SIZES])
    parser.add_argument("--pairs", nargs="+", choices=list(PAIRS), default=["graf"])
    parser.add_argument("--repeats", type=int, default=3, help="after one that warms up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda"
    )
    parser.add_argument("--no-memory", action="store_true", help="times alone")
    parser.add_argument("--full-resolution", action="store_true", help="presets do not shrink large images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything here")
    parser.add_argument("--check", action="store_true", help="measure the bars, on the CPU")
    parser.add_argument("--fast", default="fast", metavar="PRESET", help="the preset the bars call `fast`")
    parser.add_argument("--bars", nargs="+", help="with --check: only bars whose name begins so")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    report = check(options) if options.check else survey(options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if report.get("passed", True) else 1


if __name__ == "__main__":
    sys.exit(main())
