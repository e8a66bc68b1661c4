"""Poses of the lists that everybody uses, through the commands."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scene.made_scene import SIZE, K, MadeScene, make_scene
from typer.testing import CliRunner, Result

from gcm.benchmark.poses import PoseScores, is_pose_list, read_any_pairs, read_pose_pairs
from gcm.errors import DatasetError
from gcm.images.files import load_image
from gcm.matches import Matches
from gcm_cli.app import app


def gcm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "80", "NO_COLOR": "1"})


def pose_between(scene: MadeScene, i: int, j: int) -> np.ndarray:
    """4 x 4, camera i to camera j."""
    poses = []
    for camera in (scene.cameras[i], scene.cameras[j]):
        poses.append(np.vstack([np.linalg.solve(K, camera), [0, 0, 0, 1]]))
    return poses[1] @ np.linalg.inv(poses[0])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> MadeScene:
    """Photos without spaces in their names, a list, and results as ``gcm extract`` writes them."""
    scene = make_scene(tmp_path_factory.mktemp("poses"), photos=3)
    lines = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        numbers = [*K.ravel(), *K.ravel(), *pose_between(scene, i, j).ravel()]
        lines.append(f"photo{i}.png photo{j}.png 0 0 " + " ".join(map(str, numbers)))
    for path in list(scene.images.iterdir()):
        path.rename(path.with_name(path.name.replace(" ", "")))
    (scene.images.parent / "list.txt").write_text("\n".join(lines) + "\n")
    made = scene.images.parent / "Results/set/made/original_outputs"
    made.mkdir(parents=True)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        (file,) = [
            f for f in (scene.results / "original_outputs").iterdir() if {str(i), str(j)} <= set(f.name)
        ]
        matches = Matches.load(file)
        forward = file.name.startswith(f"photo {i}")
        ends = (matches.points0, matches.points1) if forward else (matches.points1, matches.points0)
        Matches(*ends, matches.scores, SIZE, SIZE).save(made / f"photo{i}_photo{j}_matches.npz")
    return scene


@pytest.mark.parametrize("estimator", ["opencv", "poselib"])
def test_poses_are_scored(scene: MadeScene, estimator: str) -> None:
    if estimator == "poselib":
        pytest.importorskip("poselib")
    folder = scene.images.parent
    arguments = ["--pairs", folder / "list.txt", "--root", scene.images, "--estimator", estimator]
    arguments += ["--result-directory", folder / "Results", "--dataset-name", "set"]
    done = gcm("evaluate", "--task", "pose", "made", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    (found,) = json.loads(done.stdout)["algorithms"]
    assert found["pairs"] == 3
    assert found["failed"] == 0
    assert found["auc_5"] > (0.9 if estimator == "poselib" else 0.6)
    low, high = found["auc_5_interval"]
    assert low <= found["auc_5"] <= high
    assert estimator in found["estimator"]
    curves = folder / f"{estimator}.png"
    done = gcm("evaluate", "--task", "pose", "made", *arguments, "--plot", curves)
    assert f"curves: {curves}" in " ".join(done.stderr.split())
    assert load_image(curves).shape == (675, 1350, 3)
    table = done.stdout
    assert "Poses of 3 pairs" in table
    assert "as given" in table


def test_a_list_with_poses_is_matched(scene: MadeScene, tmp_path: Path) -> None:
    arguments = ["--pairs", scene.images.parent / "list.txt", "--root", scene.images, "-c", "fast"]
    done = gcm("extract", *arguments, "--output-dir", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 3
    done = gcm(
        "evaluate", "--task", "pose", tmp_path / "out", *arguments[:4], "--json"
    )  # noise has no matches: a failed pair counts
    assert json.loads(done.stdout)["algorithms"][0]["failed"] == 3


def test_a_scene_file_is_the_same_as_lines(scene: MadeScene, tmp_path: Path) -> None:
    poses = np.array([np.vstack([np.linalg.solve(K, camera), [0, 0, 0, 1]]) for camera in scene.cameras])
    infos = np.empty(2, dtype=object)
    infos[0], infos[1] = ((0, 1), 0.5, None), ((1, 2), 0.3, None)
    paths = np.array([f"photo{k}.png" for k in range(3)], dtype=object)
    intrinsics = np.array([K] * 3)
    np.savez(tmp_path / "scene.npz", image_paths=paths, intrinsics=intrinsics, poses=poses, pair_infos=infos)
    found = read_pose_pairs(tmp_path / "scene.npz", scene.images)
    wanted = read_pose_pairs(scene.images.parent / "list.txt", scene.images)
    assert [entry.pair.name for entry in found] == ["photo0_photo1", "photo1_photo2"]
    for entry, other in zip(found, (wanted[0], wanted[2]), strict=True):
        np.testing.assert_allclose(entry.pose_0_to_1, other.pose_0_to_1, atol=1e-9)
        np.testing.assert_allclose(entry.intrinsics0, other.intrinsics0)
    assert is_pose_list(tmp_path / "scene.npz")
    assert len(read_any_pairs(tmp_path / "scene.npz", scene.images)) == 2


def test_thresholds_are_pixels_of_the_photos_as_matched(scene: MadeScene, tmp_path: Path) -> None:
    """Half the size halves what half a pixel is of the photo; noise of a pixel is then borne better."""
    from gcm.benchmark.poses import evaluate_poses

    folder = scene.images.parent / "Results/set/made"
    pairs = read_pose_pairs(scene.images.parent / "list.txt", scene.images)
    whole = evaluate_poses(pairs, folder)
    (folder / "config.yml").write_text("algorithm: gcm\nconfiguration: {config: {resize: 32}}\n")
    try:
        small = evaluate_poses(pairs, folder)
    finally:
        (folder / "config.yml").unlink()
    assert (whole.size, small.size) == ("as given", "32")
    assert whole.errors != small.errors


def test_failed_pairs_lower_the_area() -> None:
    scores = PoseScores("x", "opencv", "as given", {"a": 0.0, "b": 180.0})
    np.testing.assert_allclose(scores.auc, 0.5)
    assert scores.failed == 1


@pytest.mark.parametrize(("name", "told"), [("p.gif", "unknown image suffix"), ("list.txt.png", "an input")])
def test_curves_that_cannot_be_written(scene: MadeScene, name: str, told: str, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt.png"
    listed.write_bytes((scene.images.parent / "list.txt").read_bytes())
    done = gcm("evaluate", "--task", "pose", "made", "--pairs", listed, "--plot", tmp_path / name)
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a.png b.png 0 0 1 2 3\n", "7 fields"),
        ("a.png b.png 0 0 " + "x " * 34 + "\n", "line 1: no pair with a pose"),
        ("\n# nothing\n", "lists no pairs"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DatasetError, match=told):
        read_pose_pairs(tmp_path / "list.txt")


def test_what_cannot_be_scored(scene: MadeScene, tmp_path: Path) -> None:
    done = gcm("evaluate", "--task", "pose", tmp_path)
    assert done.exit_code == 2
    assert "needs the list that was matched" in done.stderr
    arguments = ["--pairs", scene.images.parent / "list.txt", "--root", scene.images]
    done = gcm("evaluate", "--task", "pose", tmp_path, *arguments)
    assert done.exit_code == 1
    assert "3 of 3 pairs have not been matched" in done.stderr
    (tmp_path / "scene.npz").write_bytes(b"no archive")
    done = gcm("evaluate", "--task", "pose", tmp_path, "--pairs", tmp_path / "scene.npz")
    assert "not a scene file" in done.stderr
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((4, 4), np.uint8))
