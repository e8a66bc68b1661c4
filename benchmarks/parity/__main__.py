"""Agreement with the published implementation: its matches on four pairs, and ours in exact mode.

    python -m benchmarks.parity --shared ../shared [--config ResNet18_dstlR2D2_95] [--pair graf] [--json]

`--shared` is the folder with ``golden/matches/<config>/*.npz``, ``data/oxford-dev`` and ``weights``. A match
of theirs is found when one of ours has both points within 0.01 px of it; a match of ours is extra when
none of theirs lies so near. The bar for each pair: at least 99.5 % found, at most 0.5 % extra. Exits with 1
when a pair misses it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcm.geometry import apply_homography, image_corners
from gcm.matcher import Matcher
from gcm.matches import Matches

TOLERANCE = 0.01
"""Pixels."""
FOUND_BAR = 0.995
EXTRA_BAR = 0.005

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How a set of matches compares with a golden one."""

    golden: int
    ours: int
    found: float
    """Share of the golden matches that ours contain."""
    extra: float
    """Matches of ours that are not golden, as a share of the golden ones."""

    @property
    def passed(self) -> bool:
        return self.found >= FOUND_BAR and self.extra <= EXTRA_BAR


def contained(
    a: tuple[Array, Array], b: tuple[Array, Array], tolerance: float = TOLERANCE
) -> NDArray[np.bool_]:
    """Which matches of `a` have one in `b` with both points within `tolerance`; each is (N x 2, N x 2)."""
    (a0, a1), (b0, b1) = a, b
    order = np.argsort(b0[:, 0], kind="stable")
    x = b0[order, 0]
    low = np.searchsorted(x, a0[:, 0] - tolerance, "left")
    count = np.searchsorted(x, a0[:, 0] + tolerance, "right") - low
    # All pairs whose x in image 0 agrees, laid out flat: few enough to check the rest outright.
    rows = np.repeat(np.arange(len(a0)), count)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    cols = order[np.repeat(low, count) + within]
    near = np.linalg.norm(a0[rows] - b0[cols], axis=1) <= tolerance
    near &= np.linalg.norm(a1[rows] - b1[cols], axis=1) <= tolerance
    result = np.zeros(len(a0), dtype=bool)
    result[rows[near]] = True
    return result


def compare(
    golden: tuple[Array, Array], ours: tuple[Array, Array], tolerance: float = TOLERANCE
) -> Agreement:
    """Compare two sets of matches, each (points0, points1)."""
    n = len(golden[0])
    found = int(contained(golden, ours, tolerance).sum())
    extra = int((~contained(ours, golden, tolerance)).sum())
    return Agreement(n, len(ours[0]), found / n if n else 1.0, extra / n if n else float(extra > 0))


def golden_names(shared: Path) -> list[str]:
    """The configurations that golden files exist for."""
    return sorted(folder.name for folder in (shared / "golden" / "matches").iterdir() if folder.is_dir())


def golden_matcher(shared: Path, name: str, **changes: Any) -> Matcher:
    """A matcher set up as the golden files of that name were made."""
    weights = shared / "weights"
    preset = name.removesuffix("_onestage")
    keys: dict[str, Any] = {"device": "cpu"}
    if name != preset:
        keys["enable_two_stage"] = False
    if preset.startswith("Avg_"):
        keys["weights_path"] = weights / "dstl_r2d2.pt"
    else:
        teacher = preset.endswith("_R2D2_95") or preset.endswith("_R2D2_6")
        keys["fine_weights_path"] = weights / ("r2d2_WASF_N16.pt" if teacher else "dstl_r2d2.pt")
        if preset.startswith("VGG16_"):
            keys["model"] = "COARSEVGG16"
            keys["weights_path"] = weights / "vgg16_imagenet_features_fp16.pth"
            preset = preset.replace("VGG16_", "VGG_")
        else:
            keys["weights_path"] = weights / "resnet18_imagenet1k_v1_bnfolded_to_layer3.pth"
    texts = {key: str(value) if isinstance(value, Path) else value for key, value in keys.items()}
    return Matcher(preset, **{**texts, **changes})


def golden_pairs(shared: Path, name: str) -> list[Path]:
    """The golden files of a configuration."""
    return sorted((shared / "golden" / "matches" / name).glob("*_matches.npz"))


def images_of(shared: Path, golden: Path) -> tuple[Path, Path]:
    """``i_bikes_1_i_bikes_5_matches.npz`` -> the two images."""
    words = golden.name.removesuffix("_matches.npz").split("_")
    half = len(words) // 2
    first, second = words[:half], words[half:]
    folder = shared / "data" / "oxford-dev"
    return folder / "_".join(first[:-1]) / f"{first[-1]}.ppm", folder / "_".join(
        second[:-1]
    ) / f"{second[-1]}.ppm"


def load_golden(path: Path) -> dict[str, Array]:
    """The arrays of a golden file."""
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def homography_difference(golden_1_to_0: Array, h_0_to_1: Array | None, size1: tuple[int, int]) -> float:
    """Largest distance, in pixels of image 0, between where the two take the corners of image 1."""
    if h_0_to_1 is None:
        return float("nan")
    corners = image_corners(*size1)
    ours = apply_homography(np.linalg.inv(h_0_to_1), corners)
    return float(np.linalg.norm(ours - apply_homography(golden_1_to_0, corners), axis=1).max())


def measure(shared: Path, matcher: Matcher, golden_file: Path) -> tuple[Agreement, float]:
    """Match the pair of a golden file; agreement, and the final homographies' largest corner distance."""
    golden = load_golden(golden_file)
    result: Matches = matcher.match(*images_of(shared, golden_file))
    agreement = compare((golden["keypoints0"], golden["keypoints1"]), (result.points0, result.points1))
    return agreement, homography_difference(golden["H"], result.homography, result.size1)


def main() -> int:
    """Print the table; 1 when a pair misses the bar."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[3] / "shared")
    parser.add_argument("--config", help="only this configuration, e.g. ResNet18_dstlR2D2_95")
    parser.add_argument("--pair", default="", help="only pairs whose name contains this")
    parser.add_argument("--json", action="store_true", help="print one JSON document in place of the table")
    options = parser.parse_args()
    rows = []
    if not options.json:
        heads = ("golden", "ours", "found", "extra", "H, px")
        print(f"{'configuration':27} {'pair':24} " + " ".join(f"{head:>8}" for head in heads))
    for name in [options.config] if options.config else golden_names(options.shared):
        files = [path for path in golden_pairs(options.shared, name) if options.pair in path.name]
        matcher = golden_matcher(options.shared, name) if files else None
        for path in files:
            assert matcher is not None
            agreement, corner = measure(options.shared, matcher, path)
            pair = path.name.removesuffix("_matches.npz")
            rows.append(
                {
                    "config": name,
                    "pair": pair,
                    **asdict(agreement),
                    "h_px": corner,
                    "passed": agreement.passed,
                }
            )
            if not options.json:
                print(
                    f"{name:27} {pair:24} {agreement.golden:8} {agreement.ours:8} {agreement.found:8.3%} "
                    f"{agreement.extra:8.3%} {corner:8.4f}{'' if agreement.passed else '  MISSED'}",
                    flush=True,
                )
    if options.json:
        print(json.dumps(rows))
    if not rows:
        print(
            f"no golden files for {options.config or 'any'} below {options.shared}",
            file=sys.stderr,
        )
        return 1
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
