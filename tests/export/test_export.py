"""Files for COLMAP, hloc and kapture, read back as these tools read them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scene.made_scene import SIZE, TURNED, K, MadeScene, make_scene
from typer.testing import CliRunner, Result

from gcm.benchmark.stores import open_store
from gcm.errors import to_install
from gcm.scene.collection import read_collection, verify_pairs
from gcm.scene.photos import list_photos
from gcm.scene.tracks import Tracks, tracks_of
from gcm_cli.app import app

pycolmap = pytest.importorskip("pycolmap")
h5py = pytest.importorskip("h5py")

INTRINSICS = f"{K[0, 0]},{K[1, 1]},{K[0, 2]},{K[1, 2]}"


def gcm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "80", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> MadeScene:
    return make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> MadeScene:
    """The same without the photo that lies turned in its file, and without spaces in names."""
    scene = make_scene(tmp_path_factory.mktemp("plain"), photos=3)
    places = json.loads((scene.results / "pairs.json").read_text())
    for path in list(scene.images.iterdir()):
        path.rename(path.with_name(path.name.replace(" ", "")))
    for place in places.values():
        place.update({key: place[key].replace("photo ", "photo") for key in ("image0", "image1")})
    (scene.results / "pairs.json").write_text(json.dumps(places))
    return scene


def tracks_in(scene: MadeScene) -> Tracks:
    return tracks_of(verify_pairs(read_collection(scene.results, list_photos(scene.images))))


def turned_back(points: np.ndarray, photo: int) -> np.ndarray:
    """Upright points where the file has them; orientation 6 stands upright after a turn clockwise."""
    return np.column_stack([points[:, 1], SIZE[0] - 1 - points[:, 0]]) if photo == TURNED else points


@pytest.fixture(scope="module")
def database(scene: MadeScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("colmap") / "database.db"
    done = gcm("export", scene.results, "--images", scene.images, "--to", "colmap", "-o", file, "--json")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["photos"] == 5
    assert summary["pairs"] == 10
    return file


def test_colmap_has_the_keypoints_half_a_pixel_on(scene: MadeScene, database: Path) -> None:
    tracks = tracks_in(scene)
    with pycolmap.Database.open(str(database)) as db:
        images = sorted(db.read_all_images(), key=lambda image: image.name)
        assert [image.name for image in images] == [f"photo {k}.png" for k in range(5)]
        for k, image in enumerate(images):
            expected = turned_back(tracks.positions[k], k) + 0.5
            np.testing.assert_allclose(db.read_keypoints(image.image_id), expected, atol=1e-3)


def test_colmap_has_matches_and_geometries_of_every_pair(scene: MadeScene, database: Path) -> None:
    tracks = tracks_in(scene)
    with pycolmap.Database.open(str(database)) as db:
        ids = {image.name: image.image_id for image in db.read_all_images()}
        for i in range(5):
            for j in range(5):
                if i == j:
                    continue
                shared = tracks.shared(i, j)
                found = db.read_matches(ids[f"photo {i}.png"], ids[f"photo {j}.png"])
                assert {tuple(row) for row in found.tolist()} == {tuple(row) for row in shared.tolist()}
        pair_ids, geometries = db.read_two_view_geometries()
        assert len(pair_ids) == 10
        for geometry in geometries:
            assert len(geometry.inlier_matches) > 50
    with closing(sqlite3.connect(database)) as raw:
        assert raw.execute("select count(*) from two_view_geometries where config >= 2").fetchone() == (10,)
        assert raw.execute("select count(*) from rigs").fetchone()[0] > 0


def model_of(scene: MadeScene, folder: Path, off: float = 0.0) -> tuple[Any, float]:
    """The model of four photos, and by how much the distances of its cameras are out of proportion.

    Args:
        scene: what is seen.
        folder: for the model.
        off: pixels to the right by which one position in twelve of a photo lies off, as at edges of depth.
    """
    from gcm.export.cameras import Cameras
    from gcm.export.colmap import write_database
    from gcm.export.reconstruct import make_model

    keep = [k for k in range(5) if k != TURNED]
    photos = [list_photos(scene.images)[k] for k in keep]
    tracks = tracks_in(scene)
    positions = [tracks.positions[k].copy() for k in keep]
    for place, own in enumerate(positions[1:], start=1):
        own[place::12, 0] += off
    chosen = Tracks(positions, [tracks.numbers[k] for k in keep], tracks.count)
    cameras = Cameras.read(INTRINSICS, photos)
    write_database(folder / "database.db", scene.images, photos, chosen, cameras)
    model = make_model(scene.images, folder, cameras)
    made = pycolmap.Reconstruction(str(folder / "sparse/0"))
    assert made.cameras[1].params.tolist() == pytest.approx([300, 302, 158.5, 121.5])
    centres = {image.name: image.projection_center() for image in made.images.values()}
    found = np.array([centres[f"photo {k}.png"] for k in keep])
    true = np.array([-np.linalg.solve(scene.cameras[k][:, :3], scene.cameras[k][:, 3]) for k in keep])
    ratios = [
        np.linalg.norm(found[a] - found[b]) / np.linalg.norm(true[a] - true[b])
        for a, b in ((0, 1), (0, 2), (0, 3), (1, 3), (2, 3))
    ]
    return model, float(np.ptp(ratios) / np.mean(ratios))


def test_a_model_is_made_of_the_photos(
    scene: MadeScene, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The mapper's own cameras are those of the made scene, up to a similarity."""
    model, out_of_proportion = model_of(scene, tmp_path)
    assert (model.registered, model.photos, model.models) == (4, 4, 1)
    assert model.reprojection_error < 0.2
    assert (tmp_path / "points.ply").stat().st_size > 1000
    assert out_of_proportion < 0.02
    assert capfd.readouterr() == ("", "")  # nor does COLMAP write its log to the terminal


def test_a_few_positions_that_are_off_do_not_move_cameras(
    scene: MadeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gcm.export.reconstruct

    model, out_of_proportion = model_of(scene, tmp_path, off=1.5)
    assert model.registered == 4
    monkeypatch.setattr(gcm.export.reconstruct, "_adjust", lambda model, mapping: None)
    (tmp_path / "plain").mkdir()
    _, as_colmap_leaves_it = model_of(scene, tmp_path / "plain", off=1.5)
    assert out_of_proportion < as_colmap_leaves_it / 2


def read_hloc_keypoints(file: Any, name: str) -> np.ndarray:
    """As hloc's readers do."""
    return np.asarray(file[name]["keypoints"][()])


def read_hloc_matches(file: Any, name0: str, name1: str) -> np.ndarray:
    """K x 2, whichever way round the file names the pair."""
    first, second = (name.replace("/", "-") for name in (name0, name1))
    swapped = f"{first}/{second}" not in file
    group = file[f"{second}/{first}" if swapped else f"{first}/{second}"]
    partner = group["matches0"][()]
    rows = np.flatnonzero(partner >= 0)
    pairs = np.column_stack([rows, partner[rows]])
    return pairs[:, ::-1] if swapped else pairs


def test_hloc_reads_the_same_matches(plain: MadeScene, tmp_path: Path) -> None:
    done = gcm("export", plain.results, "--images", plain.images, "--to", "hloc", "-o", tmp_path / "hloc")
    assert done.exit_code == 0, done.stderr
    tracks = tracks_in(plain)
    with (
        h5py.File(tmp_path / "hloc/features.h5") as features,
        h5py.File(tmp_path / "hloc/matches.h5") as matches,
    ):
        for k in range(3):
            points = read_hloc_keypoints(features, f"photo{k}.png")
            assert points.dtype == np.float32
            np.testing.assert_allclose(points, tracks.positions[k], atol=1e-4)
            assert features[f"photo{k}.png"]["image_size"][()].tolist() == list(SIZE)
            assert features[f"photo{k}.png"]["keypoints"].attrs["uncertainty"] > 0
        for i, j in ((0, 1), (1, 0), (2, 0), (1, 2)):
            found = read_hloc_matches(matches, f"photo{i}.png", f"photo{j}.png")
            assert {tuple(r) for r in found.tolist()} == {tuple(r) for r in tracks.shared(i, j).tolist()}
    lines = (tmp_path / "hloc/pairs.txt").read_text().splitlines()
    assert lines == ["photo0.png photo1.png", "photo0.png photo2.png", "photo1.png photo2.png"]


def test_kapture_is_read_back(plain: MadeScene, tmp_path: Path) -> None:
    arguments = ["--intrinsics", INTRINSICS, "-o", tmp_path / "k"]
    done = gcm("export", plain.results, "--images", plain.images, "--to", "kapture", *arguments)
    assert done.exit_code == 0, done.stderr
    sensors = (tmp_path / "k/sensors/sensors.txt").read_text().splitlines()
    assert sensors[0] == "# kapture format: 1.1"
    assert sensors[-1] == "camera, , camera, PINHOLE, 320, 240, 300.0, 302.0, 158.5, 121.5"
    tracks = tracks_in(plain)
    raw = np.fromfile(tmp_path / "k/reconstruction/keypoints/gcm/photo1.png.kpt", "<f4").reshape(-1, 2)
    np.testing.assert_allclose(raw, tracks.positions[1] + 0.5, atol=1e-3)
    folder = tmp_path / "k/reconstruction/matches/gcm/photo0.png.overlapping"
    rows = np.fromfile(folder / "photo2.png.matches", "<f8").reshape(-1, 3)
    np.testing.assert_array_equal(rows[:, :2], tracks.shared(0, 2))


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--to", "hloc", "-o", "h"], 1, "part names by spaces; rename the photo"),
        (["--to", "colmap", "-o", "there.db"], 1, "is there already"),
        (["--to", "colmap", "-o", "x.db", "--intrinsics", "1,2,3"], 2, "3 numbers; give FX,FY,CX,CY"),
        (["--to", "hloc", "-o", "h", "--intrinsics", "300"], 2, "hold no cameras; leave out --intrinsics"),
        (["--to", "colmap", "-o", "x.db", "--intrinsics", INTRINSICS], 2, "the photos have 2 sizes"),
        (["--to", "colmap", "-o", "x.db", "--min-confidence", "1"], 1, "has enough in common"),
        (["--to", "openmvg", "-o", "x"], 2, "colmap"),
    ],
)
def test_what_cannot_be_exported(
    scene: MadeScene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.db").write_bytes(b"mine")
    done = gcm("export", scene.results, "--images", scene.images, *arguments)
    assert done.exit_code == code, done.stderr
    assert told in " ".join(done.stderr.split())
    assert [p.name for p in tmp_path.iterdir()] == ["there.db"]
    assert (tmp_path / "there.db").read_bytes() == b"mine"


def test_an_old_or_missing_pycolmap_is_told(
    scene: MadeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["export", scene.results, "--images", scene.images, "--to", "colmap", "-o", tmp_path / "x.db"]
    monkeypatch.setattr(pycolmap, "__version__", "3.11.1")
    assert "pycolmap 3.11.1 is too old" in gcm(*arguments).stderr
    monkeypatch.setitem(__import__("sys").modules, "pycolmap", None)
    done = gcm(*arguments)
    assert done.exit_code == 1
    assert f"(import of pycolmap halted; None in sys.modules); {to_install('colmap')}" in done.stderr


def test_photos_that_colmap_cannot_read_are_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (64, 64)).save(tmp_path / f"photos/{name}.heic", format="PNG")  # the name decides
    done = gcm("reconstruct", tmp_path / "photos", "-o", tmp_path / "model")
    assert done.exit_code == 1
    assert "a.heic: COLMAP reads no HEIC photos, of which there are 2" in done.stderr
    assert not (tmp_path / "model").exists()


def test_a_folder_of_results_is_found_in_a_model(plain: MadeScene, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    shutil.copytree(plain.results, tmp_path / "model/matches")
    for results in (tmp_path / "model", tmp_path / "model/matches"):
        page = tmp_path / f"{results.name}.html"
        done = gcm("report", results, "--images", plain.images, "-o", page)
        assert done.exit_code == 0, done.stderr
        assert gcm("store", results, "--to", "h5", "-o", tmp_path / f"{results.name}_h5").exit_code == 0
        to = ["--to", "kapture", "-o", page.with_suffix(".k")]
        done = gcm("export", results, "--images", plain.images, *to)
        assert done.exit_code == 0, done.stderr


def test_photos_of_nothing_in_common_make_no_model(tmp_path: Path, photo: np.ndarray) -> None:
    import cv2

    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos/a.png"), photo)
    cv2.imwrite(str(tmp_path / "photos/b.png"), np.random.default_rng(0).integers(0, 255, photo.shape))
    done = gcm("reconstruct", tmp_path / "photos", "-o", tmp_path / "model", "--config", "fast")
    assert done.exit_code == 1
    assert "no pair of photos has enough in common" in done.stderr
    assert not (tmp_path / "model/database.db").exists()


def test_a_model_s_matches_and_maps_are_kept_as_asked(tmp_path: Path, photo: np.ndarray) -> None:
    import cv2

    (tmp_path / "photos").mkdir()
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"photos/{name}.png"), photo)
    arguments = ["reconstruct", tmp_path / "photos", "-o", tmp_path / "model", "--config", "fast"]
    gcm(*arguments, "--store", "h5", "--precision", "float32", "--features", tmp_path / "maps")
    with open_store(tmp_path / "model/matches") as store:
        assert store.load(next(iter(store.names()))).points0.shape[0] > 8
    assert list((tmp_path / "model/matches").rglob("*.h5"))
    assert not list((tmp_path / "model/matches").rglob("*.npz"))
    assert any(path.is_file() for path in (tmp_path / "maps").rglob("*"))


def test_a_model_of_which_pairs_failed_is_told(
    tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is made of the others, and the exit code says so, as that of `extract` does."""
    import cv2

    from gcm.export import reconstruct

    model = reconstruct.Model(2, 3, 100, 200, 2.0, 0.5, 1, ("c.png",))
    monkeypatch.setattr(reconstruct, "make_model", lambda *given: model)
    (tmp_path / "photos").mkdir()
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"photos/{name}.png"), photo)
    whole = (tmp_path / "photos/c.png").read_bytes()
    (tmp_path / "photos/c.png").write_bytes(whole[: len(whole) // 2])
    done = gcm("reconstruct", tmp_path / "photos", "-o", tmp_path / "model", "--config", "fast", "--json")
    assert done.exit_code == 3
    assert done.stderr.splitlines()[-1].startswith("warning: 2 pairs could not be matched; run it again")
    assert sorted(json.loads(done.stdout)["failed"]) == ["a_c", "b_c"]


def test_a_photo_that_cannot_be_read_is_told_once_and_left_out(tmp_path: Path, photo: np.ndarray) -> None:
    """And where no model can be made, that is one line as well."""
    import cv2

    (tmp_path / "photos").mkdir()
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"photos/{name}.png"), photo)
    whole = (tmp_path / "photos/c.png").read_bytes()
    (tmp_path / "photos/c.png").write_bytes(whole[: len(whole) // 2])
    done = gcm("reconstruct", tmp_path / "photos", "-o", tmp_path / "model", "--config", "fast")
    assert done.exit_code == 1
    lines = [line for line in done.stderr.splitlines() if "c.png" in line]
    assert len(lines) == 2
    assert "damaged or truncated" in lines[0]
    assert lines[1].startswith("warning: 1 more pair failed alike: ")
    assert done.stderr.splitlines()[-1].startswith("gcm: error: no model: no two photos show")
