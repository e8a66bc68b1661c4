"""Sets that little matches: how they are read, and what counts as found."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.accuracy.measures.planes import visible
from benchmarks.accuracy.scores import SUMMARIES, score
from benchmarks.accuracy.sets import SETS
from benchmarks.accuracy.sets.cases import EpipolarPoints, TiltedPlane
from gcm.geometry import apply_homography

SHIFT = np.array([[1.0, 0.0, 50.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def picture(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)


def test_wxbs_reads_points_of_the_first_image_then_of_the_second(tmp_path: Path) -> None:
    folder = tmp_path / "wxbs-dev" / "WGABS_x"
    picture(folder / "01.png", (8, 6))
    picture(folder / "02.jpg", (9, 7))
    (folder / "corrs.txt").write_text("1 2 3 4\n5 6 7 8\n")
    (case,) = SETS["wxbs-dev"](tmp_path)
    assert (case.name, case.image0.load().shape, case.image1.load().shape) == (
        "WGABS_x",
        (6, 8, 3),
        (7, 9, 3),
    )
    assert isinstance(case.truth, EpipolarPoints)
    assert case.truth.points0.tolist() == [[1, 2], [5, 6]]
    assert case.truth.points1.tolist() == [[3, 4], [7, 8]]


def test_evd_reads_a_homography_and_both_sizes(tmp_path: Path) -> None:
    folder = tmp_path / "evd-dev" / "adam"
    picture(folder / "1.png", (80, 60))
    picture(folder / "2.png", (90, 70))
    np.savetxt(folder / "H_1_2", 2 * SHIFT)
    (case,) = SETS["evd-dev"](tmp_path)
    assert isinstance(case.truth, TiltedPlane)
    assert (case.truth.size0, case.truth.size1) == ((80, 60), (90, 70))
    grid = np.random.default_rng(0).uniform(5, 35, (30, 2))
    measured = score(case, grid, grid + np.array([50, 0]))
    assert measured["error"] < 1e-3
    assert SUMMARIES["evd-dev"]([measured])["pairs under 10 px"] == 1


def test_only_what_image_1_shows_of_a_slanted_plane_counts() -> None:
    """A homography that is right where both look and far off elsewhere is right."""
    truth = TiltedPlane(SHIFT, (100, 100), (100, 100))
    points0 = np.random.default_rng(0).uniform((0, 0), (49, 99), (200, 2))  # the rest leaves image 1
    points1 = apply_homography(SHIFT, points0)
    assert visible(truth, points0, points1)["error"] < 1e-3
    assert visible(truth, points0, points1 + np.array([12, 0]))["error"] > 11.9
    assert visible(truth, points0[:3], points1[:3])["error"] == math.inf
