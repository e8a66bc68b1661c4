"""From real photos to poses and a model, by the commands, against true cameras."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from gcm.metrics.pose import angle_between, rotation_angle
from gcm_cli.app import app

PHOTOS = ("0004", "0005", "0006", "0007", "0008")


def gcm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "80", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def site(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    source = shared / "data/strecha-dev/Herz-Jesus-P25"
    for name in PHOTOS:
        shutil.copyfile(source / f"{name}.jpg", folder / f"{name}.jpg")
    return folder


@pytest.fixture(scope="module")
def cameras(shared: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    told = json.loads((shared / "data/strecha-dev/Herz-Jesus-P25/cameras.json").read_text())
    return {
        Path(camera["image"]).stem: (np.array(camera["K"]), np.array(camera["world_to_camera"]))
        for camera in told
    }


def intrinsics(cameras: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    k, _ = cameras["0004"]
    return f"{k[0, 0]},{k[1, 1]},{k[0, 2]},{k[1, 2]}"


@pytest.mark.slow
def test_the_pose_of_two_photos(site: Path, cameras: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    photos = site / "0004.jpg", site / "0007.jpg"
    done = gcm("pose", *photos, "--intrinsics", intrinsics(cameras), "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    truth = cameras["0007"][1] @ np.linalg.inv(cameras["0004"][1])
    assert found["kind"] == "general"
    assert rotation_angle(np.array(found["rotation"]).T @ truth[:3, :3]) < 1
    assert angle_between(found["translation"], truth[:3, 3]) < 2
    told = json.loads(gcm("pose", *photos, "--json").stdout)
    assert told["focal"] == pytest.approx(cameras["0004"][0][0, 0], rel=0.1)


@pytest.mark.slow
def test_a_model_of_five_photos(
    site: Path, cameras: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    arguments = ["reconstruct", site, "-o", tmp_path / "model", "--intrinsics", intrinsics(cameras), "--json"]
    done = gcm(*arguments)
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["registered"] == len(PHOTOS)
    assert summary["reprojection_error"] < 0.6
    assert summary["track_length"] > 3
    model = pycolmap.Reconstruction(str(tmp_path / "model/sparse/0"))
    centres = {Path(image.name).stem: image.projection_center() for image in model.images.values()}
    true = {name: -world[:3, :3].T @ world[:3, 3] for name, (_, world) in cameras.items()}
    scale = np.linalg.norm(true["0008"] - true["0004"]) / np.linalg.norm(centres["0008"] - centres["0004"])
    for name in PHOTOS[1:]:
        found = scale * np.linalg.norm(centres[name] - centres["0004"])
        assert found == pytest.approx(np.linalg.norm(true[name] - true["0004"]), abs=0.03)  # metres
    matched = {path: path.stat().st_mtime_ns for path in (tmp_path / "model/matches").rglob("*.npz")}
    again = gcm(*arguments)
    assert json.loads(again.stdout)["registered"] == len(PHOTOS)
    assert len(matched) == 10
    assert all(path.stat().st_mtime_ns == time for path, time in matched.items())  # not matched again
