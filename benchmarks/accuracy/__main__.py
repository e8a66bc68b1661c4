"""Presets and other matchers side by side: planes, depth, poses, hard pairs, and pairs without a match.

    python -m benchmarks.accuracy --shared ../shared --work runs/accuracy
    python -m benchmarks.accuracy --algorithms default sift:ratio=0.6 --sets homogr stereo
    python -m benchmarks.accuracy --check --markdown benchmarks/accuracy/results.md

An algorithm is a preset or a peer by name, with `:key=value,key=value` to change its configuration or
options; `ablations` stands for the lines of ABLATIONS. Sets with a known truth:

- oxford-dev: 20 pairs of planes with known homographies; matching accuracy (share of matches within 1, 3, 5
  px), homography accuracy (true corners, MAGSAC, protocol `fixed`), and the worst pair;
- homogr: 13 pairs of planes; mean distance, in image B, of hand-marked validation points of A, moved by the
  homography that MAGSAC finds from the matches, from those of B;
- stereo: 4 rectified pairs; distance of the matches from where the disparity says, where it is known;
- indoor: 8 pairs of photos of rooms, at 640 x 480; hololens: 71 pairs of video frames, 3 and 6 apart;
  strecha-dev: 66 pairs of photos of a castle and a church, 1 to 6 apart, that turn less than 65 degrees. Area
  under the curve of the larger error of rotation and direction of translation; essential matrix by OpenCV's
  RANSAC, 0.5 px; a pose not found counts 180 degrees. Mean over five orders of the matches, on which RANSAC
  depends, and the deviation (+-) of one order;
- coverage (stereo, and hololens by its depth images): of the cells of 8 x 8 px that both images show, the
  share that holds a match within 3 px of the truth; share right: that of matches within 3 px;
- fmat-dev: 22 pairs with depth; share of hand-marked points whose larger distance to their epipolar lines is
  within t, mean over t = 1 .. 10 (mAA); solved: 80 % at 5 px. Fundamental matrix by MAGSAC, 1 px, and beside
  it by PoseLib, 3 px;
- wxbs-dev: 17 pairs that differ in light, season, sensor and view; scored as fmat-dev;
- evd-dev: 7 planes at an extreme slant; mean distance, over a grid of 40 x 40 points of image 0 that image 1
  shows, from where they are, with the homography that MAGSAC finds;
- synthetic: 5 photos (longer side 640), each with itself turned by 0, 45, .. 315 degrees and scaled by 0.5,
  1, 2, on a black canvas that holds the whole turned photo; share of matches within 3 px of image 1.

Sets where the verdict counts. Right: 80 % of the matches, and at least 8, within 3 px; wrong: at least 8
matches and not 80 %; else none:

- overlap: 7 and 9 pairs of crops of a photo that share 12 % and 20 % of their area; parts: 96 x 96 px of a
  photo of 512 px, strips: 512 x 24 px of one, 8 of each in both orders;
- unrelated (1000 pairs; unrelated-100: the first of them), mirrored (50), skies (21): no match is true. Pairs
  with more than 8 matches, and of those the ones with a confidence over 0.5;
- ambiguous: 13 facades of equal windows with one sign; wrong ones, by whether the confidence is under 0.5;
- order: 40 pairs of the sets above, in both orders: whether both have 8 matches or neither, and the share of
  the smaller set's matches that the other order has within 1 px in both images;
- confidence: all pairs with truth and all without a match; share with a confidence of at least 0.5, and the
  reliability diagram: by tenth of the confidence, the share of true pairs.

Predictions are kept in --work by algorithm, settings, source, weights and images, for all sets alike:
stopped and started again it goes on where it was, and what changed is computed anew. Ablations leave out the
sets of a thousand pairs (unrelated, confidence) unless --sets names them. With --check it also times easy
pairs (on an idle machine only) and exits with 1 unless every bar holds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.accuracy.bars import CHECKED, FAST, Bar, bars, measure_cost
from benchmarks.accuracy.lines import Line, MissingKeyError, make_line, predict, versions
from benchmarks.accuracy.measures.verdicts import reliability
from benchmarks.accuracy.scores import SUMMARIES, Numbers, score
from benchmarks.accuracy.sets import ANGLES, DEFAULT_SETS, LONG_SETS, SCALES, SETS, Case, EitherOrder
from gcm.errors import GCMError
from gcm.storage.atomic import whole_file

ABLATIONS = {
    "default:hypotheses=upright": "no other rotation or scale is tried",
    "default:second_round=false": "one round",
    "default:geometry=none": "no warp",
    "default:geometry=homography": "one plane at most",
    "default:subpixel=false": "whole cells of the finest map",
    "default:smooth=false": "positions as measured, whatever the neighbours say",
    "default:verify=false": "matches are not verified (nor smoothed)",
    "default:finest_stride=1": "refined to single pixels",
    "default:min_confidence=0": "whatever was found is returned",
    "default:alignment.alike=[2,2]": "no position from the images' intensities",
    "default:frame.slack=0": "of a whole scene mutual coarse matches only",
    "default:planes.distortion=9": "a scene's main plane has no view of its own",
    "default:planes.zoom=1": "what may be one plane is looked at in full size",
    "default:planes.astray=1000": "what a plane leaves to relief is dropped, however little it is tilted",
    "default:lines.fewest=1000000": "of whole scenes no match is asked for its epipolar line",
    "default:lines.share=1": "of whole scenes, and of planes, no match is dropped that lies off by itself",
    "default:views.zoom=1": "small images are not enlarged",
    "default:rivals.most=0": "repeated structure is not looked for",
    "default:model=GCM_COMPACT": "the coarse map of the compact network alone",
    "default:seeds.matchers=[]": "no attention network where the maps do not convince",
    "default:seeds.sides=[1024]": "it looks at one size",
    "default:seeds.agreeing=1": "dense matches stand beside its own only near those",
}
"""The default preset with one thing changed, and what that means; skipped where the key does not exist."""

PEERS = ("sift", "sift:ratio=0.6", "xfeat", "aliked-lightglue")

COUNTS = ("pairs", "matches", "solved", "right,", "wrong", "more than", "of those sure", "same verdict")
"""Numbers whose names begin with one of these are counted."""

PIXELS_OR_DEGREES = {"median error", "mean error of those"}


def chosen_lines(names: Sequence[str], shared: Path) -> tuple[list[Line], list[str]]:
    """The lines to run, and why others cannot be."""
    labels: list[str] = []
    for name in names:
        labels += ABLATIONS if name == "ablations" else [name]
    lines, notes = [], []
    for label in dict.fromkeys(labels):
        try:
            lines.append(make_line(label, shared))
        except MissingKeyError as error:
            notes.append(f"`{label}`: skipped, {error}")
        except GCMError as error:
            notes.append(f"`{label}`: {error}")
    return lines, notes


def run_set(line: Line, name: str, cases: Sequence[Case], work: Path) -> dict[str, Any]:
    """Match and score the pairs of a set."""
    scores, seconds, fresh = [], [], 0
    start = time.perf_counter()
    for number, case in enumerate(cases, start=1):
        prediction = predict(line, case, work)
        fresh += prediction.fresh
        seconds.append(prediction.seconds)
        swapped = None
        if isinstance(case.truth, EitherOrder):
            other = predict(line, replace(case, image0=case.image1, image1=case.image0), work)
            fresh += other.fresh
            swapped = other.points1, other.points0
        scores.append(score(case, prediction.points0, prediction.points1, prediction.confidence, swapped))
        if sys.stderr.isatty():
            print(f"\r{line.label} {name} {number}/{len(cases)} ", end="", file=sys.stderr, flush=True)
    summary = SUMMARIES[name](scores)
    lead = ", ".join(f"{key} {text(key, value)}" for key, value in list(summary.items())[:3])
    took = time.perf_counter() - start
    print(f"{line.label} {name}: {lead} ({fresh} pairs matched, {took:.0f} s)", file=sys.stderr, flush=True)
    result = {"summary": summary, "pairs": scores, "seconds": sum(seconds) / len(seconds)}
    if name == "confidence":
        values = np.array([entry["confidence"] for entry in scores])
        result["reliability"] = reliability(values, np.array([entry["same"] for entry in scores]))
    return result


def text(key: str, value: float) -> str:
    """A number as the tables show it."""
    if math.isnan(value):
        return "-"
    if is_count(key):
        return f"{value:.0f}"
    return f"{value:.2f}" if key in PIXELS_OR_DEGREES else f"{value:.3f}"


def is_count(key: str) -> bool:
    """Whether a number is one of pairs or matches."""
    return not key.startswith("sure of") and (key.startswith(COUNTS) or key.endswith(("pairs", "matches")))


def set_table(name: str, found: Mapping[str, Numbers]) -> str:
    """Markdown: a line an algorithm; of the synthetic set its cells below."""
    cells = {f"{degrees} x {scale:g}" for degrees in ANGLES for scale in SCALES}
    heads = list(dict.fromkeys(key for numbers in found.values() for key in numbers if key not in cells))
    rows = [[f"`{label}`", *(text(h, numbers[h]) for h in heads)] for label, numbers in found.items()]
    parts = [f"### {name}", markdown(["", *heads], rows)]
    if name == "synthetic":
        for scale in SCALES:
            rows = [
                [f"`{label}`", *(text("", numbers[f"{degrees} x {scale:g}"]) for degrees in ANGLES)]
                for label, numbers in found.items()
            ]
            parts.append(markdown([f"scale {scale:g}, turned by", *map(str, ANGLES)], rows))
    return "\n\n".join(parts)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns align to the right, but for the first."""
    lines = [heads, ["---", *("--:" for _ in heads[1:])], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def reliability_table(rows: Sequence[Mapping[str, float]]) -> str:
    """Markdown: of each tenth of the confidence, its mean, the share of true pairs, and how many pairs."""
    return markdown(
        ["confidence from", "predicted", "observed", "pairs"],
        [
            [
                f"{row['from']:.1f}",
                text("", row["predicted"]),
                text("", row["observed"]),
                text("pairs", row["count"]),
            ]
            for row in rows
        ],
    )


def command(arguments: argparse.Namespace) -> str:
    """The command that gives the document, wherever the folders are."""
    parts = ["python -m benchmarks.accuracy --shared ../shared"]
    parts += (
        [f"--algorithms {' '.join(arguments.algorithms)}"] if arguments.algorithms != DEFAULT_LINES else []
    )
    parts += [f"--sets {' '.join(arguments.sets)}"] if arguments.sets != DEFAULT_SETS else []
    parts += [f"--threads {arguments.threads}"] if arguments.threads else []
    parts += ["--check"] if arguments.check else ["--cost"] if arguments.cost else []
    return " ".join([*parts, "--markdown benchmarks/accuracy/results.md"])


def document(report: Mapping[str, Any], checked: Sequence[Bar]) -> str:
    """Everything, as markdown."""
    told = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    parts = [
        "# Accuracy, side by side",
        f"{report['date']}; {report['machine']}, {report['threads']} threads; {told}. Made by\n\n"
        f"    {report['command']}\n\nwhose head says what each set and number is.",
    ]
    parts += [set_table(name, found) for name, found in report["tables"].items()]
    for label, rows in report.get("reliability", {}).items():
        parts += [f"Reliability of the confidence of `{label}`:", reliability_table(rows)]
    used = [label for label in ABLATIONS if any(label in found for found in report["tables"].values())]
    if used:
        parts.append("Ablations:\n\n" + "\n".join(f"- `{label}`: {ABLATIONS[label]}" for label in used))
    if cost := report["cost"]:
        rows = [
            [pair, f"{b['as it is']:.2f}", f"{b['without']:.2f}", f"{b['ratio']:.2f}"]
            for pair, b in cost["pairs"].items()
        ]
        rows.append(["all", "", "", f"{cost['ratio']:.2f}"])
        heads = ["seconds, median", f"`{CHECKED}`", f"`{cost['compared with']}`", "ratio"]
        parts += ["### Cost of easy upright pairs", markdown(heads, rows)]
        if cost["keys that do not exist"]:
            parts.append(f"Keys that do not exist: {', '.join(cost['keys that do not exist'])}.")
    if checked:
        parts += ["### Bars", "\n".join(f"- {bar}" for bar in checked)]
    if report["notes"]:
        parts.append("Not run:\n\n" + "\n".join(f"- {note}" for note in report["notes"]))
    return "\n\n".join(parts) + "\n"


DEFAULT_LINES = [CHECKED, FAST, "ablations", *PEERS]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds data and weights")
    parser.add_argument("--work", type=Path, default=Path("runs/accuracy"), help="where predictions are kept")
    parser.add_argument("--algorithms", nargs="+", default=DEFAULT_LINES, metavar="NAME[:KEY=VALUE,..]")
    parser.add_argument("--sets", nargs="+", default=DEFAULT_SETS, choices=list(SETS), metavar="SET")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers, of every pair")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless the bars hold")
    parser.add_argument("--cost", action="store_true", help="time easy pairs; --check does so too")
    parser.add_argument("--repeats", type=int, default=5, help="of each timing")
    parser.add_argument("--threads", type=int, help="torch's and OpenCV's; all cores unless given")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
        cv2.setNumThreads(arguments.threads)
    lines, notes = chosen_lines(arguments.algorithms, arguments.shared)
    for note in notes:
        print(note, file=sys.stderr)
    if not lines and not arguments.cost:
        return 1
    tables: dict[str, dict[str, Numbers]] = {name: {} for name in arguments.sets}
    details: dict[str, dict[str, Any]] = {name: {} for name in arguments.sets}
    cases = {name: SETS[name](arguments.shared / "data") for name in arguments.sets}
    for line in lines:
        for name in arguments.sets:
            if name in LONG_SETS and line.label in ABLATIONS and arguments.sets == DEFAULT_SETS:
                continue
            try:
                found = run_set(line, name, cases[name], arguments.work)
            except GCMError as error:
                notes.append(f"`{line.label}` on {name}: {error}")
                print(notes[-1], file=sys.stderr)
                continue
            tables[name][line.label] = found["summary"]
            details[name][line.label] = found
    cost = measure_cost(arguments.shared, arguments.repeats) if arguments.check or arguments.cost else None
    checked = bars(tables, cost) if arguments.check else []
    report = {
        "date": str(datetime.date.today()),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "command": command(arguments),
        "tables": {name: found for name, found in tables.items() if found},
        # Of matchers that have a confidence.
        "reliability": {
            label: entry["reliability"]
            for label, entry in details.get("confidence", {}).items()
            if any(row["count"] for row in entry["reliability"])
        },
        "cost": cost,
        "notes": notes,
    }
    written = document(report, checked)
    print(written)
    if arguments.markdown:
        with whole_file(arguments.markdown) as temporary:
            temporary.write_text(written, encoding="utf-8")
    if arguments.json:
        everything = {**report, "details": details, "bars": [str(bar) for bar in checked]}
        with whole_file(arguments.json) as temporary:
            # Infinity (none found) is no JSON; it becomes null.
            temporary.write_text(json.dumps(_finite(everything), indent=1) + "\n", encoding="utf-8")
    return 1 if arguments.check and not all(bar.holds for bar in checked) else 0


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
