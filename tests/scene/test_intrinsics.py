"""Cameras from what people have of them: for pairs and for collections, by the same reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scene.made_scene import SIZE, TURNED, K, MadeScene, make_scene
from typer.testing import CliRunner, Result

from gcm.errors import InputError, UsageError
from gcm.export import Cameras, write_database
from gcm.geometry import apply_homography
from gcm.scene.intrinsics import Intrinsics, read_intrinsics
from gcm.scene.photos import Photo, as_stored, as_upright, list_photos
from gcm.scene.tracks import Tracks
from gcm_cli.app import app

WANTED = np.array([[800.0, 0, 320], [0, 810, 240], [0, 0, 1]])
LARGE = 640, 480


def gcm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "80", "NO_COLOR": "1"})


def photo(name: str, size: tuple[int, int] = LARGE, orientation: int = 1) -> Photo:
    return Photo(Path(name), name, size, orientation)


PHOTOS = [photo("a/1.jpg"), photo("b/1.jpg"), photo("b/2.jpg")]

ONE_CAMERA = {
    "k.txt": "800 0 320\n0 810 240\n0 0 1\n",
    "k.json": json.dumps({"K": WANTED.tolist()}),
    "bare.json": json.dumps(WANTED.ravel().tolist()),
    "cameras.txt": "# Camera list\n1 PINHOLE 640 480 800 810 320.5 240.5\n",
    "opencv.txt": "1 OPENCV 640 480 800 810 320.5 240.5 0.1 0 0 0\n",
}


@pytest.mark.parametrize("name", ONE_CAMERA)
def test_a_file_of_one_camera(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(ONE_CAMERA[name])
    found = read_intrinsics(str(tmp_path / name), PHOTOS)
    assert len(found) == len(PHOTOS)
    for each in found:
        np.testing.assert_allclose(each.matrix, WANTED)
        assert each.known
        assert each.distorted == (name == "opencv.txt")


def test_numbers_and_exif(tmp_path: Path) -> None:
    np.testing.assert_allclose(read_intrinsics("800,810,320,240", PHOTOS)[2].matrix, WANTED)
    assert read_intrinsics("700", PHOTOS)[0].matrix[0].tolist() == [700, 0, 319.5]
    lying = photo("c.jpg", orientation=6)  # 480 x 640 in its file
    assert read_intrinsics("700", [PHOTOS[0], lying])[1].matrix[:2, 2].tolist() == [239.5, 319.5]
    exif = Image.Exif()
    exif[0x8769] = {0xA405: 36}
    Image.new("RGB", LARGE).save(tmp_path / "p.jpg", exif=exif)
    (found,) = read_intrinsics("exif", [Photo(tmp_path / "p.jpg", "p.jpg", LARGE)])
    assert found.matrix[0, 0] == pytest.approx(36 / 43.267 * 800, rel=1e-3)
    assert not found.known


def named(focals: dict[str, float]) -> dict[str, list[list[float]]]:
    return {name: [[focal, 0, 320], [0, focal, 240], [0, 0, 1]] for name, focal in focals.items()}


def write_json(folder: Path, focals: dict[str, float]) -> Path:
    (folder / "all.json").write_text(json.dumps(named(focals)))
    return folder / "all.json"


def write_json_list(folder: Path, focals: dict[str, float]) -> Path:
    entries = [{"image": name, "K": k, "other": 1} for name, k in named(focals).items()]
    (folder / "list.json").write_text(json.dumps(entries))
    return folder / "list.json"


def write_hloc(folder: Path, focals: dict[str, float]) -> Path:
    lines = [f"{name} SIMPLE_RADIAL 640 480 {focal} 320.5 240.5 0.02" for name, focal in focals.items()]
    (folder / "queries_with_intrinsics.txt").write_text("\n".join(lines))
    return folder / "queries_with_intrinsics.txt"


def write_colmap(folder: Path, focals: dict[str, float]) -> Path:
    cameras = [f"{k} SIMPLE_PINHOLE 640 480 {f} 320.5 240.5" for k, f in enumerate(focals.values(), 5)]
    (folder / "cameras.txt").write_text("# Camera list\n" + "\n".join(cameras) + "\n")
    points = ("1.5 2.5 -1 3.5 4.5 -1", "")
    images = [f"{k} 1 0 0 0 0 0 0 {k + 4} {name}\n{points[k % 2]}\n" for k, name in enumerate(focals, 1)]
    (folder / "images.txt").write_text("# Image list\n" + "".join(images))
    return folder


Write = Callable[[Path, dict[str, float]], Path]
BY_NAME: list[Write] = [write_json, write_json_list, write_hloc, write_colmap]


@pytest.mark.parametrize("write", BY_NAME)
def test_files_that_name_the_photos(tmp_path: Path, write: Write) -> None:
    file = write(tmp_path, {"a/1.jpg": 700, "b/1.jpg": 800, "2.jpg": 900, "x/none.jpg": 5})
    found = read_intrinsics(str(file), PHOTOS)
    assert [each.matrix[0, 0] for each in found] == [700, 800, 900]
    (found0,) = read_intrinsics(str(file), [photo("/some/where/b/1.jpg")])
    assert found0.matrix[0, 0] == 800
    assert read_intrinsics(str(file), [photo("none.jpg")])[0].matrix[0, 0] == 5
    with pytest.raises(InputError, match=r"names no camera of c/1\.jpg and 1 more of 3 photos"):
        read_intrinsics(str(file), [PHOTOS[0], photo("c/1.jpg"), photo("1.jpg")])


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("800,810", UsageError, "2 numbers; give FX,FY,CX,CY"),
        ("none.txt", UsageError, "no such file, and not numbers"),
        ("-800", UsageError, "focal lengths must be above 0"),
        ("800,800,nan,240", UsageError, "all numbers finite"),
        ("800,800,1000,240", UsageError, "lies outside a photo of 640 x 480"),
        ("exif", InputError, "does not tell its focal length"),
    ],
)
def test_numbers_that_cannot_be(tmp_path: Path, text: str, error: type[Exception], told: str) -> None:
    Image.new("RGB", LARGE).save(tmp_path / "p.jpg")
    with pytest.raises(error, match=told):
        read_intrinsics(text, [Photo(tmp_path / "p.jpg", "p.jpg", LARGE)])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("cameras.txt", "3 PINHOLE 320 240 800 810 320.5 240.5", "camera 3: is of 320 x 240 pixels"),
        ("cameras.txt", "3 PINHOLE 640 480 800 320.5 240.5", "camera 3: PINHOLE has 4 parameters, not 3"),
        ("cameras.txt", "3 OPENCV_FISHEYE 640 480 1 1 1 1 1 1 1 1", "cannot use cameras of model"),
        ("cameras.txt", "1 PINHOLE 640 480 8 8 3 2\n2 PINHOLE 640 480 8 8 3 2", "2 cameras; put images.txt"),
        ("k.txt", "800 0 320 0 810 240", "not intrinsics .6 numbers, where a matrix has 9"),
        ("k.txt", "800 0 0 0 810 0 320 240 1", "the last row of a camera matrix is 0 0 1"),
        ("k.txt", "eight hundred", "not intrinsics"),
        ("k.json", "{", "not intrinsics"),
        ("k.json", '{"p.jpg": {"f": 1}}', "not intrinsics"),
        ("k.txt", "", "not intrinsics .0 numbers"),
        ("cameras.bin", "x", "COLMAP's binary form; write it as text first: python -c .import pycolmap"),
        ("other", "x", "holds no cameras.txt"),
    ],
)  # fmt: skip
def test_files_that_cannot_be(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    file = tmp_path / name if name.endswith(("txt", "json")) else tmp_path
    with pytest.raises((InputError, UsageError), match=told) as raised:
        read_intrinsics(str(file), [photo("p.jpg")])
    assert "\n" not in str(raised.value)


def test_photos_of_several_sizes_take_one_camera_each() -> None:
    with pytest.raises(UsageError, match="one camera, but the photos have 2 sizes; give a file that names"):
        read_intrinsics("800,810,320,240", [*PHOTOS, photo("s.jpg", (320, 240))])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_is_turned_with_its_photo(orientation: int) -> None:
    """What it sees of a point lies, upright, where the upright camera sees the turned point."""
    lying = photo("p.jpg", (480, 640), orientation)
    width, height = lying.stored_size
    camera = Intrinsics.pinhole(800, 810, width / 2 + 7, height / 2 - 5)
    points = np.random.default_rng(0).uniform(0, 400, (20, 2))
    np.testing.assert_allclose(as_upright(lying, as_stored(lying, points)), points)
    # Rays of the upright camera, turned about the axis as the pixels are about the middle.
    corners = as_upright(lying, np.array([[0.0, 0], [1, 0], [0, 1]]))
    turn = np.column_stack([corners[1] - corners[0], corners[2] - corners[0]])
    rays = apply_homography(np.linalg.inv(camera.matrix), points) @ turn.T
    upright = apply_homography(camera.upright(lying), rays)
    np.testing.assert_allclose(upright, as_upright(lying, points))


def test_intrinsics_of_the_upright_photo_are_told_from_those_of_the_file() -> None:
    lying = photo("p.jpg", (480, 640), 6)
    with pytest.raises(UsageError, match=r"241, 322 is that of p\.jpg upright; give it for the photo"):
        read_intrinsics("800,810,241,322", [lying])
    assert read_intrinsics("800,810,322,241", [lying])[0].upright(lying)[:2, 2].tolist() == [238, 322]


# -- by the commands -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> MadeScene:
    return make_scene(tmp_path_factory.mktemp("scene"))


def write_own_cameras(folder: Path) -> Path:
    """Two cameras; that of the photo that lies in its file has its size."""
    cx, cy = K[0, 2] + 0.5, K[1, 2] + 0.5
    (folder / "cameras.txt").write_text(
        f"7 OPENCV 320 240 {K[0, 0]} {K[1, 1]} {cx} {cy} 0 0 0 0\n"
        f"9 PINHOLE 240 320 {K[1, 1]} {K[0, 0]} {cy} {SIZE[0] - cx}\n"
    )
    lines = [f"{k + 1} 1 0 0 0 0 0 0 {9 if k == TURNED else 7} photo {k}.png\n\n" for k in range(5)]
    (folder / "images.txt").write_text("".join(lines))
    return folder


def test_a_database_has_the_cameras_that_are_told(scene: MadeScene, tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    told = write_own_cameras(tmp_path)
    arguments = ["--images", scene.images, "--to", "colmap", "-o", tmp_path / "x.db", "--intrinsics", told]
    done = gcm("export", scene.results, *arguments)
    assert done.exit_code == 0, done.stderr
    with pycolmap.Database.open(str(tmp_path / "x.db")) as database:
        for image in database.read_all_images():
            camera = database.read_camera(image.camera_id)
            turned = image.name == f"photo {TURNED}.png"
            assert camera.model.name == ("PINHOLE" if turned else "OPENCV")
            assert (camera.width, camera.height) == (SIZE[::-1] if turned else SIZE)
            assert camera.params[0] == (K[1, 1] if turned else K[0, 0])
            assert camera.has_prior_focal_length
        assert database.num_cameras() == 2
    done = gcm("export", scene.results, *arguments, "--one-camera", "--overwrite")
    assert done.exit_code == 2
    assert "are of 2 cameras, but one camera was asked for" in done.stderr


@pytest.mark.parametrize("write", BY_NAME)
def test_a_database_takes_every_form(tmp_path: Path, write: Write) -> None:
    """Also the numbers of JSON, which come by way of numpy."""
    pycolmap = pytest.importorskip("pycolmap")
    (tmp_path / "photos").mkdir()
    focals = {"a.png": 700.25, "b.png": 800.5}
    for name in focals:
        Image.new("RGB", LARGE).save(tmp_path / "photos" / name)
    photos = list_photos(tmp_path / "photos")
    cameras = Cameras.read(str(write(tmp_path, focals)), photos)
    nothing = Tracks([np.zeros((0, 2))] * 2, [np.zeros(0, np.int64)] * 2, 0)
    write_database(tmp_path / "x.db", tmp_path / "photos", photos, nothing, cameras)
    with pycolmap.Database.open(str(tmp_path / "x.db")) as database:
        found = {
            image.name: database.read_camera(image.camera_id).params[0]
            for image in database.read_all_images()
        }
    assert found == focals


def test_kapture_has_the_cameras_that_are_told(scene: MadeScene, tmp_path: Path) -> None:
    told = write_own_cameras(tmp_path)
    arguments = ["--images", scene.images, "--to", "kapture", "-o", tmp_path / "k", "--intrinsics", told]
    done = gcm("export", scene.results, *arguments)
    assert done.exit_code == 0, done.stderr
    sensors = (tmp_path / "k/sensors/sensors.txt").read_text().splitlines()[2:]
    assert sensors[0].startswith("camera0, , camera, OPENCV, 320, 240, 300.0, 302.0, 158.5, 121.5, 0.0")
    assert sensors[1].startswith(f"camera{TURNED}, , camera, PINHOLE, 240, 320, 302.0, 300.0, 121.5")
    records = (tmp_path / "k/sensors/records_camera.txt").read_text().splitlines()[2:]
    owners = [record.split(", ")[1] for record in records]
    assert owners == [f"camera{TURNED if k == TURNED else 0}" for k in range(5)]


@pytest.mark.parametrize(
    ("told", "code", "line"),
    [
        ("300,302,158", 2, "3 numbers; give FX,FY,CX,CY, or a focal length"),
        ("0,302,158,121", 2, "focal lengths must be above 0"),
        ("exif", 1, "does not tell its focal length"),
        ("small.txt", 2, "is of 32 x 24 pixels, but"),
    ],
)
def test_the_commands_say_the_same(
    scene: MadeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, code: int, line: str
) -> None:
    pytest.importorskip("pycolmap")
    monkeypatch.chdir(tmp_path)
    Path("small.txt").write_text("1 PINHOLE 32 24 30 30 16 12\n")
    photos = [scene.images / f"photo {k}.png" for k in range(2)]
    lines = set()
    for arguments in (
        ["pose", *photos],
        ["export", scene.results, "--images", scene.images, "--to", "colmap", "-o", "x.db"],
        ["reconstruct", scene.images, "-o", "model"],
    ):
        done = gcm(*arguments, "--intrinsics", told)
        assert done.exit_code == code, done.stderr
        assert line in done.stderr
        lines.add(done.stderr.replace(f"{scene.images}/", ""))
    assert len(lines) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["small.txt"]
