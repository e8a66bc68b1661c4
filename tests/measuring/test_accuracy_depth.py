"""The accuracy benchmark on scenes with depth: epipolar lines, poses of cameras, coverage."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.accuracy.__main__ import set_table
from benchmarks.accuracy.measures import depth as depth_measures
from benchmarks.accuracy.measures.coverage import (
    coverage,
    expected_points,
    visible_depth,
    visible_disparity,
)
from benchmarks.accuracy.measures.depth import epipolar, epipolar_errors
from benchmarks.accuracy.scores import score
from benchmarks.accuracy.sets import SETS, Cameras, Case, Disparity, EpipolarPoints, Picture
from benchmarks.accuracy.sets.depth import fmat, strecha
from benchmarks.accuracy.summaries import summarise_fmat, summarise_hololens, summarise_stereo
from gcm.images.files import load_image, write_image

K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])


def pose(degrees: float, translation: tuple[float, float, float]) -> np.ndarray:
    """4 x 4: a turn about the vertical, then a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = cv2.Rodrigues(np.array([0, np.deg2rad(degrees), 0]))[0]
    matrix[:3, 3] = translation
    return matrix


def two_views(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a room in two cameras, pixels."""
    rng = np.random.default_rng(seed)
    world = rng.uniform((-2, -1.5, 4), (2, 1.5, 9), (count, 3))
    moved = world @ pose(5, (1, 0.1, 0.2))[:3, :3].T + pose(5, (1, 0.1, 0.2))[:3, 3]
    seen = [points @ K.T for points in (world, moved)]
    return seen[0][:, :2] / seen[0][:, 2:], seen[1][:, :2] / seen[1][:, 2:]


def test_epipolar_score_of_true_and_of_random_matches() -> None:
    truth = EpipolarPoints(*two_views(20, seed=1))
    perfect = epipolar(truth, *two_views(200, seed=2))
    assert (perfect["mAA"], perfect["solved"]) == (1, 1)
    rng = np.random.default_rng(3)
    chance = epipolar(truth, rng.uniform(0, 600, (200, 2)), rng.uniform(0, 600, (200, 2)))
    assert chance["mAA"] < 0.5
    assert chance["solved"] == 0
    few = epipolar(truth, *two_views(7, seed=4))
    assert (few["mAA"], few["solved"]) == (0, 0)
    swapped = EpipolarPoints(truth.points1, truth.points0)
    assert epipolar(swapped, *two_views(200, seed=2))["mAA"] < 1


def test_epipolar_error_is_the_larger_distance_of_the_two() -> None:
    # Sideways motion: lines are the rows; scaled in image 1, where a row is twice as high.
    matrix = np.array([[0, 0, 0], [0, 0, 1.0], [0, -2, 0]])
    truth = EpipolarPoints(np.array([[5.0, 10], [5, 10]]), np.array([[70.0, 20], [70, 26]]))
    assert epipolar_errors(matrix, truth) == pytest.approx([0, 6])  # 3 px in image 0, 6 px in image 1
    assert epipolar_errors(matrix.T, EpipolarPoints(truth.points1, truth.points0)) == pytest.approx([0, 6])
    assert np.isinf(epipolar_errors(None, truth)).all()


def test_epipolar_score_counts_points_within_1_to_10_px(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.array([[0, 0, 0], [0, 0, -1.0], [0, 1, 0]])
    monkeypatch.setattr(depth_measures, "magsac_fundamental", lambda *_: rows)
    monkeypatch.setattr(depth_measures, "poselib", None)
    points0 = np.zeros((5, 2))
    points1 = points0 + np.array([[0, 0.5], [0, 1.5], [0, 4.9], [0, 5.0], [0, 40]])
    measured = epipolar(EpipolarPoints(points0, points1), points0, points1)
    shares = [0.2, 0.4, 0.4, 0.4, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]
    assert measured["mAA"] == pytest.approx(np.mean(shares))
    assert measured["solved"] == 1  # 80 % at 5 px
    assert math.isnan(measured["mAA poselib"])  # not installed: no number, and no failure
    summary = summarise_fmat([{**measured, "matches": 5, "group": ""}])
    assert summary["solved"] == 1
    assert math.isnan(summary["mAA poselib"])


def test_fmat_reads_points_of_a_then_of_b(tmp_path: Path) -> None:
    folder = tmp_path / "fmat-dev"
    folder.mkdir()
    (folder / "box_points.txt").write_text("1 2 3 4\n5 6 7 8\n")
    (case,) = fmat(tmp_path)
    assert isinstance(case.truth, EpipolarPoints)
    assert (case.truth.points0.tolist(), case.truth.points1.tolist()) == ([[1, 2], [5, 6]], [[3, 4], [7, 8]])
    assert isinstance(case.image0, Picture)
    assert case.image0.path.name == "boxA.jpg"


def test_strecha_pairs_and_their_poses(tmp_path: Path) -> None:
    for scene in ("castle-P30", "Herz-Jesus-P25"):
        folder = tmp_path / "strecha-dev" / scene
        folder.mkdir(parents=True)
        cameras = [
            {
                "image": f"{k:04d}.jpg",
                "K": K.tolist(),
                "world_to_camera": pose(20.0 * k, (0.1 * k, 0, 1)).tolist(),
            }
            for k in range(7)
        ]
        (folder / "cameras.json").write_text(json.dumps(cameras))
    cases = strecha(tmp_path)
    # First photos 0 and 4; beyond 60 degrees (3 apart) nothing; the last photo is 6.
    assert [case.name for case in cases[:5]] == [
        f"castle-P30-{a:04d}-{b:04d}" for a, b in ((0, 1), (0, 2), (0, 3), (4, 5), (4, 6))
    ]
    assert len(cases) == 10
    truth = cases[1].truth
    assert isinstance(truth, Cameras)
    world = np.array([0.3, -0.2, 5, 1])
    first, second = pose(0, (0, 0, 1)) @ world, pose(40, (0.2, 0, 1)) @ world
    assert truth.pose_0_to_1 @ first == pytest.approx(second)


def test_coverage_of_a_step_in_disparity() -> None:
    values = np.full((64, 128), 4.0)
    values[:, 64:96] = 20.0  # a nearer surface hides 16 px of what lies left of it
    visible = visible_disparity(values)
    assert not visible[:, :4].any()  # outside image 1
    assert visible[:, 4:47].all()
    assert not visible[:, 49:63].any()
    assert visible[:, 64:].all()
    y, x = np.mgrid[3:64:8, 6:128:8]  # a place of each cell that is visible where the cell is
    points0 = np.column_stack([x.ravel(), y.ravel()]).astype(float)
    truth = Disparity(values)
    right = expected_points(truth, points0)
    assert coverage(truth, points0, right) == {"coverage": 1, "right": 1}
    half = right.copy()
    half[::2, 1] += 3.1
    measured = coverage(truth, points0, half)
    assert measured["coverage"] == pytest.approx(0.5, abs=0.05)
    assert measured["right"] == pytest.approx(0.5, abs=0.05)
    assert coverage(truth, points0[:0], points0[:0])["coverage"] == 0
    # Two matches in one cell count once, and one between cells belongs to the right one of them.
    pair = np.array([[7.4, 3], [7.3, 4]])
    cells = round(1 / coverage(truth, pair, expected_points(truth, pair))["coverage"])
    moved = np.array([[7.4, 3], [7.6, 4]])
    assert coverage(truth, moved, expected_points(truth, moved))["coverage"] == pytest.approx(2 / cells)


def wall_and_board() -> Cameras:
    """A wall 4 m away, a board 2 m away in the middle of it; the second camera 0.4 m to the right."""
    depth0, depth1 = np.full((2, 480, 640), 4, np.float32)
    # X of the board from -0.4 to 0.4 m.
    depth0[:, 220:421] = 2
    depth1[:, 120:321] = 2
    return Cameras(K, K, pose(0, (-0.4, 0, 0)), depth0, depth1)


def test_coverage_by_depth_images() -> None:
    truth = wall_and_board()
    visible = visible_depth(truth)
    assert not visible[:, :50].any()  # out of image 1: the wall moves by 50 px, the board by 100
    assert visible[:, 51:169].all()
    assert not visible[:, 171:219].any()  # behind the board
    assert visible[:, 221:].all()
    points0 = np.array([[320.0, 240], [500, 100], [200, 100]])
    expected = np.array([[220.0, 240], [450, 100], [150, 100]])
    assert expected_points(truth, points0) == pytest.approx(expected)
    assert coverage(truth, points0, expected)["right"] == 1
    assert coverage(truth, points0, expected + np.array([4, 0]))["right"] == 0
    assert coverage(truth, expected, points0)["right"] == 0  # the other way round
    assert truth.depth0 is not None
    truth.depth0[100, 500] = np.nan
    assert np.isnan(expected_points(truth, points0)[1]).all()
    blind = Cameras(K, K, truth.pose_0_to_1)
    assert math.isnan(coverage(blind, points0, expected)["coverage"])


def test_summaries_tell_coverage() -> None:
    picture = Picture(Path("none.png"))
    truth = wall_and_board()
    points0 = np.column_stack([axis.ravel() for axis in np.meshgrid(np.arange(51.0, 169), np.arange(480.0))])
    points1 = expected_points(truth, points0)
    scores = [
        score(Case("pair", picture, picture, truth, group), points0[::97], points1[::97] + shift)
        for group, shift in (("gap 3", 5), ("gap 6", 0))
    ]
    numbers = summarise_hololens(scores)
    assert numbers["share right, gap 6"] == 1
    assert "1.000 |" in set_table("hololens", {"sift": numbers}).splitlines()[-1][-10:]
    assert 0.1 < numbers["coverage, gap 6"] < 0.4
    values = Disparity(np.full((40, 40), 2.0))
    flat = [score(Case("flat", picture, picture, values), np.full((1, 2), 20.0), np.array([[18.0, 20]]))]
    assert summarise_stereo(flat)["coverage"] == pytest.approx(1 / 25, rel=0.3)


@pytest.mark.slow
def test_truths_of_real_pairs(shared: Path) -> None:
    data = shared / "data"
    assert (len(SETS["fmat-dev"](data)), len(SETS["strecha-dev"](data))) == (22, 66)
    for case in SETS["fmat-dev"](data):
        assert isinstance(case.truth, EpipolarPoints)
        for picture, points in ((case.image0, case.truth.points0), (case.image1, case.truth.points1)):
            height, width = picture.load().shape[:2]
            assert (points > -1).all()
            assert (points < (width, height)).all()


@pytest.mark.slow
def test_depth_images_and_poses_of_the_headset_agree(shared: Path) -> None:
    """What the truth says is at a place of image 1 looks like that place of image 0."""
    case = next(case for case in SETS["hololens"](shared / "data") if case.group == "gap 6")
    assert isinstance(case.truth, Cameras)
    visible = visible_depth(case.truth)
    assert 0.2 < visible.mean() < 0.95
    rows, columns = (index[::8] for index in np.nonzero(visible))
    points0 = np.column_stack([columns, rows]).astype(float)
    expected = expected_points(case.truth, points0).astype(np.float32)
    grey0, grey1 = (cv2.cvtColor(p.load(), cv2.COLOR_RGB2GRAY) for p in (case.image0, case.image1))
    seen = cv2.remap(grey1, expected[None], None, cv2.INTER_LINEAR)[0].astype(float)
    agreement = np.corrcoef(grey0[rows, columns], seen)[0, 1]
    unmoved = np.corrcoef(grey0[rows, columns], grey1[rows, columns])[0, 1]
    assert agreement > 0.85
    assert agreement > unmoved + 0.1


def test_depth_of_the_headset_is_read_in_metres(tmp_path: Path) -> None:
    folder = tmp_path / "rgbd-hololens-dvmvs/sample-data/hololens-dataset/000"
    (folder / "depth").mkdir(parents=True)
    for k in range(3, 7):
        write_image(folder / "images" / f"{k:05d}.png", np.zeros((4, 6, 3), np.uint8))
        cv2.imwrite(str(folder / "depth" / f"{k:05d}.png"), np.full((4, 6), 1000 * k, np.uint16))
    cv2.imwrite(str(folder / "depth" / "00006.png"), np.zeros((4, 6), np.uint16))
    np.savetxt(folder / "K.txt", K)
    np.savetxt(folder / "poses.txt", np.array([pose(0, (k, 0, 0)).ravel() for k in range(9)]))
    (case,) = SETS["hololens"](tmp_path)
    assert isinstance(case.truth, Cameras)
    assert case.truth.depth0 is not None
    assert case.truth.depth1 is not None
    assert (case.truth.depth0 == 3).all()
    assert np.isnan(case.truth.depth1).all()
    assert case.truth.pose_0_to_1[:3, 3] == pytest.approx([-3, 0, 0])  # rows are camera to world
    assert isinstance(case.image0, Picture)
    assert load_image(case.image0.path).shape == (4, 6, 3)
