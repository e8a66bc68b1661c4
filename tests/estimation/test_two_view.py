"""Planes, turns and scenes are told apart, and short baselines named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from gcm.estimation import TwoViewGeometry, estimate_focal, two_view_geometry
from gcm.metrics.pose import angle_between, rotation_angle
from gcm_cli.app import app

K = np.array([[800.0, 0, 320], [0, 800, 240], [0, 0, 1]])
SIZE = 640, 480
TURN = cv2.Rodrigues(np.array([0.02, 0.2, 0.01]))[0]
MOVE = np.array([1.0, 0.1, 0.2])


def views(depth: str, move: np.ndarray, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Matches of a made scene, an eighth of them wrong."""
    rng = np.random.default_rng(1)
    rays = np.column_stack([rng.uniform(-0.35, 0.35, 800), rng.uniform(-0.25, 0.25, 800), np.ones(800)])
    distance = 5 / (1 - 0.3 * rays[:, 0]) if depth == "plane" else rng.uniform(3, 9, 800)
    world = rays * distance[:, None]
    seen = world @ TURN.T + move
    first, second = (p @ K.T for p in (world, seen))
    points0, points1 = first[:, :2] / first[:, 2:], second[:, :2] / second[:, 2:]
    points1 += rng.normal(0, noise, points1.shape)
    points1[::8] = rng.uniform(0, 480, (100, 2))
    return points0, points1


def geometry(depth: str, move: np.ndarray, **options: Any) -> TwoViewGeometry:
    return two_view_geometry(*views(depth, move), K, K, **options)


@pytest.mark.parametrize("library", ["opencv", "poselib"])
def test_a_scene_with_depth(library: str) -> None:
    if library == "poselib":
        pytest.importorskip("poselib")
    found = geometry("scene", MOVE, library=library)
    assert found.kind == "general"
    assert found.pose is not None
    assert rotation_angle(found.pose.rotation.T @ TURN) < 0.5
    assert angle_between(found.pose.translation, MOVE) < 1.5
    assert found.weaknesses == ()
    assert 680 <= found.inliers.sum() <= 720
    assert found.parallax > 5
    assert found.plane_share < 0.5


def test_a_plane_is_named() -> None:
    found = geometry("plane", MOVE)
    assert found.kind == "plane"
    assert "one plane" in found.weaknesses[0]
    assert found.plane_share > 0.95


@pytest.mark.parametrize("depth", ["scene", "plane"])
def test_a_turn_is_named_and_has_no_translation(depth: str) -> None:
    found = geometry(depth, np.zeros(3))
    assert found.kind == "rotation"
    assert found.pose is not None
    assert rotation_angle(found.pose.rotation.T @ TURN) < 0.05
    assert not found.pose.translation.any()
    assert "no translation" in found.weaknesses[0]


def test_a_short_baseline_is_named() -> None:
    found = two_view_geometry(*views("scene", MOVE * 0.06, noise=0.1), K, K, threshold=0.5)
    assert found.kind == "general"
    assert any("short baseline" in weakness for weakness in found.weaknesses)


def test_without_intrinsics_a_plane_and_a_turn_are_one() -> None:
    for depth, move in (("plane", MOVE), ("scene", np.zeros(3))):
        assert two_view_geometry(*views(depth, move)).kind == "plane or rotation"
    found = two_view_geometry(*views("scene", MOVE))
    assert (found.kind, found.pose) == ("general", None)


def test_nothing_in_common_is_unknown() -> None:
    rng = np.random.default_rng(0)
    found = two_view_geometry(rng.uniform(0, 480, (12, 2)), rng.uniform(0, 480, (12, 2)), K, K)
    assert found.kind == "unknown"
    assert not found.inliers.any()
    empty = np.zeros((0, 2))
    assert two_view_geometry(empty, empty).kind == "unknown"


def test_the_focal_length_is_told_by_the_fundamental_matrix() -> None:
    found = two_view_geometry(*views("scene", np.array([1.0, 0.3, 0.8]), noise=0.05), threshold=0.5)
    assert found.fundamental is not None
    focal = estimate_focal(found.fundamental, SIZE, SIZE)
    assert focal == pytest.approx(800, rel=0.1)
    sideways = np.array([[0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # no turn at all: any focal length does
    assert estimate_focal(sideways, SIZE, SIZE) is None


def gcm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["pose", *map(str, arguments)], env={"COLUMNS": "80", "NO_COLOR": "1"})


def test_the_command_names_a_turn(tmp_path: Path, photo: np.ndarray) -> None:
    k = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])
    turn = cv2.Rodrigues(np.array([0.0, 0.05, 0.02]))[0]
    turned = cv2.warpPerspective(photo, k @ turn @ np.linalg.inv(k), (320, 240))
    for name, image in (("a", photo), ("b", turned)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    arguments = [tmp_path / "a.png", tmp_path / "b.png", "-c", "fast"]
    done = gcm(*arguments, "--intrinsics", "300,300,160,120", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kind"] == "rotation"
    assert found["translation"] == [0, 0, 0]
    assert rotation_angle(np.array(found["rotation"]).T @ turn) < 0.1
    assert "there is no translation" in done.stderr
    done = gcm(*arguments)
    assert "one plane, or the camera turned in its place" in done.stdout
    done = gcm(*arguments, "--intrinsics1", "300")
    assert done.exit_code == 2
    assert "give --intrinsics for A as well" in done.stderr


def test_the_command_fails_where_nothing_is_in_common(tmp_path: Path, photo: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    cv2.imwrite(str(tmp_path / "b.png"), np.random.default_rng(0).integers(0, 255, photo.shape))
    done = gcm(tmp_path / "a.png", tmp_path / "b.png", "-c", "fast", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["kind"] == "unknown"
    assert "too little in common" in done.stderr
