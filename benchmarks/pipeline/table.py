"""The table of our presets and other matchers on `oxford-dev` (20 real pairs, protocol `fixed`).

    python -m benchmarks.pipeline.table --shared ../shared --work runs/table
    python -m benchmarks.pipeline.table --shared ../shared --work runs/table --only sift orb xfeat

Runs the whole pipeline for each (organise, extract, convert, evaluate) in the folder --work, and prints the
table as markdown, with what could not be run and why. Stopped and started again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from benchmarks.local_weights import local_weights
from gcm.benchmark.convert import convert
from gcm.benchmark.evaluate import evaluate
from gcm.benchmark.extract import Extraction, extract
from gcm.benchmark.hpatches import Link, organise_hpatches
from gcm.benchmark.pairs import Pair, read_pairs
from gcm.config import list_presets, load_config
from gcm.errors import GCMError
from gcm.matchers import MatcherSpec, matcher_spec
from gcm.metrics.protocols import Protocol, Summary, summarise

OTHERS = ("sift", "orb", "akaze", "kaze", "xfeat", "aliked-lightglue", "disk-lightglue")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    summary: Summary
    seconds: float


def spec_of(name: str, shared: Path) -> MatcherSpec:
    """An algorithm by name, or one of our presets with the weights at hand."""
    if name in OTHERS:
        return matcher_spec(name)
    config = load_config(name)
    return matcher_spec("gcm", {"config": load_config(config, **local_weights(config, shared))})


def run(name: str, pairs: list[Pair], work: Path, shared: Path) -> Extraction:
    """Extract and convert one."""
    folder = work / "Results/hpatches" / name
    report = extract(pairs, spec_of(name, shared), folder)
    if report.failed:
        first, reason = next(iter(report.failed.items()))
        raise GCMError(f"{len(report.failed)} pairs failed, {first}: {reason}")
    convert(folder)
    return report


def table(rows: list[Row], *, times: bool) -> str:
    """Markdown."""
    heads = ["matcher", "MMA@1", "MMA@3", "MMA@5", "HA@1", "HA@3", "HA@5", "AUC@5", "matches"]
    heads += ["s / pair"] if times else []
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    for row in rows:
        part = row.summary
        numbers = [*part.matching[[0, 2, 4]], *part.homography[[0, 2, 4]], part.auc[1]]
        cells = [f"`{row.name}`", *(f"{value:.3f}" for value in numbers)]
        cells.append(f"{part.matching[11]:.0f}")
        cells += [f"{row.seconds:.2f}"] if times else []
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds data and weights")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/table"), help="folder for everything in between"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--times", action="store_true", help="also seconds a pair; on an idle machine only")
    arguments = parser.parse_args()
    data = arguments.work / "Datasets/hpatches"
    organise_hpatches(arguments.shared / "data/oxford-dev", data, link=Link.SYMBOLIC)
    pairs = read_pairs(data / "image_pairs.txt")
    done: dict[str, Extraction] = {}
    problems = []
    for name in arguments.only or [*list_presets(), *OTHERS]:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            done[name] = run(name, pairs, arguments.work, arguments.shared)
        except GCMError as error:
            problems.append(f"- `{name}`: {error}")
    if not done:
        print("\n".join(problems), file=sys.stderr)
        return 1
    evaluation = evaluate(
        list(done), result_directory=arguments.work / "Results", dataset_name="hpatches", dataset_dir=data
    )
    rows = [
        Row(name, summarise(scores, Protocol.FIXED)[-1], done[name].mean_seconds)
        for name, scores in evaluation.scores.items()
    ]
    print(table(rows, times=arguments.times))
    print(
        f"\n{len(pairs)} pairs, protocol fixed; {datetime.date.today()}, {platform.machine()}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, OpenCV {cv2.__version__}"
    )
    if problems:
        print("\nNot run:\n\n" + "\n".join(problems))
    return 0


if __name__ == "__main__":
    sys.exit(main())
