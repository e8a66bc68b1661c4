"""Epipolar lines of a pair, through the function and ``gcm pose --draw``."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from gcm.estimation import RelativePose, TwoViewGeometry
from gcm.geometry import epipolar_distances
from gcm.images.files import load_image
from gcm.matches import Matches
from gcm.viz.epipolar import clip_lines, draw_epipolar_lines, spread_lines
from gcm_cli.app import app

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SIZE0, SIZE1 = (1800, 1200), (1000, 1500)
"""Both are drawn smaller, each by a factor of its own."""
K0 = np.array([[1500.0, 0, 900], [0, 1500, 600], [0, 0, 1]])
K1 = np.array([[1100.0, 0, 500], [0, 1100, 750], [0, 0, 1]])
TRUE = RelativePose(
    cv2.Rodrigues(np.array([0.02, -0.15, 0.05]))[0], np.array([0.96, 0.0, 0.28]), np.ones(0, bool)
)


def gcm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["pose", *map(str, arguments)], env={"COLUMNS": "100", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def exact() -> Matches:
    """Where 400 points in space lie in two photos."""
    rng = np.random.default_rng(0)
    space = rng.uniform([-3, -2, 4], [3, 2, 9], (4000, 3))
    seen0 = space @ K0.T
    seen1 = (space @ TRUE.rotation.T + TRUE.translation) @ K1.T
    points0, points1 = seen0[:, :2] / seen0[:, 2:], seen1[:, :2] / seen1[:, 2:]
    there = np.all([(p >= 0) & (p <= np.array(s) - 1) for p, s in ((points0, SIZE0), (points1, SIZE1))], 0)
    keep = np.flatnonzero(there.all(axis=1))[:400]
    return Matches(points0[keep], points1[keep], rng.uniform(0, 1, len(keep)), SIZE0, SIZE1)


def test_a_pose_has_the_fundamental_matrix_of_its_points(exact: Matches) -> None:
    off = epipolar_distances(TRUE.fundamental(K0, K1), exact.points0, exact.points1)
    assert np.max(off) < 1e-6


def test_lines_run_through_their_points(exact: Matches) -> None:
    """In the drawing itself: around each dot, pixels of its colour lie on both sides along one line."""
    black0, black1 = (np.zeros((h, w, 3), np.uint8) for w, h in (SIZE0, SIZE1))
    f = TRUE.fundamental(K0, K1)
    drawn = draw_epipolar_lines(black0, black1, exact, f, points=5).astype(int)
    colours = {tuple(c) for c in drawn[:900].reshape(-1, 3) if max(c) == 255 and np.ptp(c) > 100}
    found = 0
    for colour in colours:
        mask = (np.abs(drawn[:900] - colour).max(axis=2) == 0).astype(np.uint8)
        # Dots are the only larger areas of one colour.
        dots = cv2.erode(mask, np.ones((5, 5), np.uint8))
        for columns, size in ((slice(0, 900), 900), (slice(912, None), 600)):
            where = np.argwhere(dots[:, columns])[:, ::-1]
            if not len(where):
                continue
            found += 1
            x, y = where.mean(axis=0)
            # Colour of the line alone, smoothed edges included, beyond the dot and its number.
            near = (np.abs(drawn[:900, columns] - colour).max(axis=2) < 60) & (
                np.hypot(*(np.indices(mask[:, columns].shape) - np.array([y, x])[:, None, None])) > 25
            )
            line = np.argwhere(near)[:, ::-1]
            assert np.ptp(line[:, 0]) > size / 2
            slope, offset = np.polyfit(line[:, 0], line[:, 1], 1)
            assert abs(slope * x + offset - y) / np.hypot(1, slope) < 1
    assert found == 10  # five matches, in each of the photos


def test_lines_are_clipped_to_the_photo() -> None:
    lines = np.array([[0, 1, -10.0], [1, 0, -20], [1, -1, 0], [0, 1, 5], [0, 0, 1], [1, 0, -99.5]])
    ends = clip_lines(lines, (100, 50))
    np.testing.assert_allclose(np.sort(ends[0], axis=0), [[-0.5, 10], [99.5, 10]])
    np.testing.assert_allclose(np.sort(ends[1], axis=0), [[20, -0.5], [20, 49.5]])
    np.testing.assert_allclose(np.sort(ends[2], axis=0), [[-0.5, -0.5], [49.5, 49.5]])
    assert np.isnan(ends[3:5]).all()  # above the photo; no line at all
    assert np.isfinite(ends[5]).all()  # its very border


def test_lines_are_spread() -> None:
    """Of many lines close together and a few elsewhere, those few are all among the chosen."""
    height = np.concatenate([np.linspace(10, 12, 200), [60, 110, 160, 210]])
    ends = np.stack([np.column_stack([np.full(204, x), height]) for x in (0.0, 300.0)], axis=1)
    points = np.column_stack([np.full(204, 150.0), height])
    chosen = spread_lines((ends, ends), (points, points), 6)
    assert {200, 201, 202, 203} <= set(chosen.tolist())
    assert len(set(chosen.tolist())) == 6
    missing = np.full_like(ends, np.nan)
    assert len(spread_lines((ends, missing), (points, points), 6)) == 0


def test_residuals_are_those_of_the_geometry_that_explains_most(exact: Matches) -> None:
    inliers = np.ones(len(exact), bool)
    f, h = TRUE.fundamental(K0, K1), np.array([[1.0, 0, 7], [0, 1, -3], [0, 0, 1]])
    moved = exact.points1 + np.array([0, 5.0])
    depth = TwoViewGeometry("general", inliers, f, h, 0.3)
    expected = np.maximum(*epipolar_distances(f, exact.points0, moved))
    np.testing.assert_allclose(depth.residuals(exact.points0, moved), expected)
    assert depth.explained_by == "epipolar lines"
    plane = TwoViewGeometry("plane", inliers, f, h, 1.0)
    away = exact.points0 + np.array([7 + 3.0, -3 + 4.0])
    np.testing.assert_allclose(plane.residuals(exact.points0, away), 5.0)
    assert plane.explained_by == "homography"
    nothing = TwoViewGeometry("unknown", ~inliers, None, None, 0.0)
    assert nothing.residuals(exact.points0, moved) is None
    assert nothing.explained_by is None


@pytest.fixture(scope="module")
def relief(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A photo, and the same from farther right: strips of it stand at four depths."""
    folder = tmp_path_factory.mktemp("relief")
    left = cv2.imread(str(EXAMPLES / "left.jpg"))
    x, y = np.meshgrid(np.arange(512, dtype=np.float32), np.arange(512, dtype=np.float32))
    right = cv2.remap(left, x + 8 + 14 * (y // 128), y, cv2.INTER_LINEAR)
    for name, image in (("a", left), ("b", right)):
        cv2.imwrite(str(folder / f"{name}.png"), image)
    return folder / "a.png", folder / "b.png"


def test_the_command_draws_lines(relief: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "new" / "p.png"
    done = gcm(*relief, "-c", "fast", "--draw", file, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["kind"] == "general"
    assert document["files"] == {"draw": str(file)}
    assert f"draw: {file}" in done.stderr
    drawn: NDArray[np.int64] = load_image(file)[:512].astype(int)
    coloured = np.ptp(drawn, axis=2) > 60
    # The camera moved to the right: lines run from edge to edge, along rows.
    for edges in (coloured[:, :3], coloured[:, 509:512], coloured[:, 524:527], coloured[:, -3:]):
        assert np.count_nonzero(edges.any(axis=1)) >= 8
    assert not coloured[:, 516:520].any()  # between the photos
    # With intrinsics the lines are those of the pose.
    done = gcm(*relief, "-c", "fast", "--draw", tmp_path / "k.jpg", "--intrinsics", "600", "--json")
    assert json.loads(done.stdout)["files"] == {"draw": str(tmp_path / "k.jpg")}
    assert (tmp_path / "k.jpg").is_file()


def test_what_has_no_epipolar_lines_is_told(photo: NDArray[np.uint8], tmp_path: Path) -> None:
    k = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])
    turn = cv2.Rodrigues(np.array([0.0, 0.05, 0.02]))[0]
    turned = cv2.warpPerspective(photo, k @ turn @ np.linalg.inv(k), (320, 240))
    noise = np.random.default_rng(0).integers(0, 255, photo.shape)
    for name, image in (("a", photo), ("b", turned), ("c", noise)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    drawing = tmp_path / "d.png"
    for other, intrinsics, code, told in (
        ("b", [], 0, "a plane, or a camera that only turned, leaves the epipolar lines open"),
        ("b", ["--intrinsics", "300,300,160,120"], 0, "a camera that only turned has no epipolar lines"),
        ("c", [], 1, "no geometry was found"),
    ):
        done = gcm(
            tmp_path / "a.png",
            tmp_path / f"{other}.png",
            "-c",
            "fast",
            *intrinsics,
            "--draw",
            drawing,
            "--json",
        )
        assert done.exit_code == code
        assert f"note: {drawing} is not written: {told}" in " ".join(done.stderr.split())
        assert json.loads(done.stdout)["files"] == {}
        assert not drawing.exists()


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("d.gif", 2, "unknown image suffix '.gif'"),
        ("a.png", 2, "is an input and would be overwritten"),
        ("k.txt.png", 2, "is an input and would be overwritten"),
        ("a.png/d.png", 1, "cannot be written"),
    ],
)
def test_drawings_that_cannot_be_written(relief: tuple[Path, Path], name: str, code: int, told: str) -> None:
    folder = relief[0].parent
    camera = folder / "k.txt.png"
    np.savetxt(camera, K0)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    done = gcm(*relief, "--intrinsics", camera, "--draw", folder / name)
    assert done.exit_code == code
    assert told in " ".join(done.stderr.split())
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
