"""A disk that fills up while results are written: one line, nothing half-written, and the next run works."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from scene.made_scene import TURNED, K, MadeScene, make_scene
from typer.testing import CliRunner, Result

from gcm.errors import OutputError
from gcm.export import Cameras, make_model, write_database
from gcm.scene.collection import read_collection, verify_pairs
from gcm.scene.photos import list_photos
from gcm.scene.tracks import tracks_of
from gcm_cli.app import app

FullDisk = Callable[[int], AbstractContextManager[None]]
TARGETS = {"colmap": "pycolmap", "hloc": "h5py", "kapture": "numpy"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> MadeScene:
    """Names without spaces, which hloc does not take."""
    scene = make_scene(tmp_path_factory.mktemp("scene"), photos=TURNED)
    for path in list(scene.images.iterdir()):
        path.rename(path.with_name(path.name.replace(" ", "")))
    places = json.loads((scene.results / "pairs.json").read_text())
    for place in places.values():
        place.update({key: place[key].replace("photo ", "photo") for key in ("image0", "image1")})
    (scene.results / "pairs.json").write_text(json.dumps(places))
    return scene


def gcm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "80", "NO_COLOR": "1"})


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_an_export_on_a_full_disk(
    scene: MadeScene, tmp_path: Path, full_disk: FullDisk, to: str, share: float
) -> None:
    pytest.importorskip(TARGETS[to])
    arguments = ["export", scene.results, "--images", scene.images, "--to", to]
    done = gcm(*arguments, "-o", tmp_path / "whole/x")
    assert done.exit_code == 0, done.stderr
    whole = files(tmp_path / "whole")
    (tmp_path / "full").mkdir()
    largest = max(map(len, whole.values()))
    with full_disk(max(100, int(share * largest))):
        done = gcm(*arguments, "-o", tmp_path / "full/x")
        again = gcm(*arguments, "-o", tmp_path / "whole/x", "--overwrite")
    for failed in (done, again):
        assert failed.exit_code == 1
        assert failed.stderr.count("\n") == 1
        assert "cannot be written (File too large)" in failed.stderr
    assert files(tmp_path / "full") == {}
    assert files(tmp_path / "whole") == whole
    done = gcm(*arguments, "-o", tmp_path / "full/x")
    assert done.exit_code == 0, done.stderr
    assert files(tmp_path / "full").keys() == whole.keys()


def model_files(folder: Path) -> dict[str, bytes]:
    """All but the database, in which COLMAP counts how often it was opened."""
    return {name: content for name, content in files(folder).items() if not name.startswith("database.db")}


@pytest.fixture
def cameras(scene: MadeScene, tmp_path: Path) -> Cameras:
    """Those of the photos, whose database lies in the test's folder."""
    pytest.importorskip("pycolmap")
    photos = list_photos(scene.images)
    cameras = Cameras.read(f"{K[0, 0]},{K[1, 1]},{K[0, 2]},{K[1, 2]}", photos)
    tracks = tracks_of(verify_pairs(read_collection(scene.results, photos)))
    write_database(tmp_path / "database.db", scene.images, photos, tracks, cameras)
    return cameras


def test_a_model_on_a_full_disk(
    scene: MadeScene, tmp_path: Path, full_disk: FullDisk, cameras: Cameras
) -> None:
    """COLMAP itself writes half a file and says nothing."""
    make_model(scene.images, tmp_path, cameras)
    before = model_files(tmp_path)
    sizes = {name: len(content) for name, content in before.items()}
    for size in (sizes["sparse/0/images.bin"] - 100, sizes["sparse/0/points3D.bin"] - 1):
        with full_disk(size), pytest.raises(OutputError, match=r"cannot be written \(File too large\)"):
            make_model(scene.images, tmp_path, cameras)
        assert model_files(tmp_path) == before
    assert make_model(scene.images, tmp_path, cameras).registered == TURNED


def test_files_of_a_model_that_are_cut_short_are_noticed(
    scene: MadeScene,
    tmp_path: Path,
    full_disk: FullDisk,
    cameras: Cameras,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where there was room a moment ago."""
    make_model(scene.images, tmp_path, cameras)
    before = model_files(tmp_path)
    monkeypatch.setattr("gcm.export.reconstruct.try_room", lambda *_: None)
    for name in ("images.bin", "points3D.bin"):
        with (
            full_disk(len(before[f"sparse/0/{name}"]) - 100),
            pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)"),
        ):
            make_model(scene.images, tmp_path, cameras)
        assert model_files(tmp_path) == before
