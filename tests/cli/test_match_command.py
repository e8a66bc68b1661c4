"""``gcm match`` in this process, with the embedded weights; real processes are in test_processes.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from gcm.geometry import apply_homography, image_corners
from gcm_cli.app import app

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LEFT, RIGHT = EXAMPLES / "left.jpg", EXAMPLES / "right.jpg"
SMALL = ("--max-side", "256")


def gcm(*arguments: str | Path) -> Result:
    environment = {"COLUMNS": "80", "NO_COLOR": "1"}
    return CliRunner().invoke(app, ["match", *map(str, arguments)], env=environment)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """One run that writes everything."""
    folder = tmp_path_factory.mktemp("match")
    files = ["--output", folder / "deep" / "m.npz", "--draw", folder / "d.png", "--warp", folder / "w.png"]
    return gcm(LEFT, RIGHT, *SMALL, "--json", *files), folder


def test_finds_the_homography(run: tuple[Result, Path]) -> None:
    done, _ = run
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    truth = np.loadtxt(EXAMPLES / "h_left_to_right.txt")
    points0, points1 = np.array(found["keypoints0"]), np.array(found["keypoints1"])
    error = np.linalg.norm(apply_homography(truth, points0) - points1, axis=1)
    assert len(error) > 500
    assert np.median(error) < 2  # one pixel of the working size
    corners = image_corners(*found["size0"])
    off = np.linalg.norm(
        apply_homography(found["homography"], corners) - apply_homography(truth, corners), axis=1
    )
    assert off.mean() < 6


def test_document_and_files_agree(run: tuple[Result, Path]) -> None:
    done, folder = run
    found = json.loads(done.stdout)
    with np.load(folder / "deep" / "m.npz") as file:
        assert set(file.files) == {
            "keypoints0", "keypoints1", "matches", "scores", "homography", "inliers", "size0", "size1",
            "confidence",
        }  # fmt: skip
        for name in file.files:
            np.testing.assert_allclose(file[name], np.array(found[name]))
        assert file["keypoints0"].dtype == np.float64
        assert file["size0"].tolist() == [512, 512]
    assert any("worked at 256 x 256" in note for note in found["notes"])
    assert found["device"]
    assert set(found["files"]) == {"output", "draw", "warp"}


def test_pictures(run: tuple[Result, Path]) -> None:
    done, folder = run
    drawn, warped = cv2.imread(str(folder / "d.png")), cv2.imread(str(folder / "w.png"))
    right = cv2.imread(str(RIGHT))
    assert drawn.shape[1] > 2 * 512
    # The canvas holds the right photo as it is, and the corners of the left one where they are mapped to.
    corners = apply_homography(json.loads(done.stdout)["homography"], image_corners(512, 512))
    low = np.floor(np.minimum(corners.min(axis=0), 0)).astype(int)
    high = np.ceil(np.maximum(corners.max(axis=0), 511)).astype(int)
    assert warped.shape[1::-1] == tuple(high - low + 1)
    # Blended with the left photo, the right one is still recognisable where both are.
    placed = warped[-low[1] : 512 - low[1], -low[0] : 512 - low[0]]
    middle = slice(150, 350)
    correlation = np.corrcoef(placed[middle, middle].ravel(), right[middle, middle].ravel())[0, 1]
    assert correlation > 0.9


def test_residuals_are_drawn_where_there_is_a_geometry(tmp_path: Path) -> None:
    for name, colour in (("rank.png", []), ("residual.png", ["--colour", "residual"])):
        done = gcm(LEFT, RIGHT, *SMALL, "--draw", tmp_path / name, *colour, "--quiet")
        assert done.exit_code == 0, done.stderr
    rank, residual = (cv2.imread(str(tmp_path / name))[:512] for name in ("rank.png", "residual.png"))
    assert rank.shape == residual.shape
    # Small residuals are blue; ranks run from blue through green to yellow.
    blue = [
        (picture.argmax(axis=2) == 0)[np.ptp(picture, axis=2) > 60].mean() for picture in (rank, residual)
    ]
    assert blue[1] > blue[0] + 0.3
    black = tmp_path / "black.png"
    Image.new("RGB", (64, 64)).save(black)
    done = gcm(black, black, "--draw", tmp_path / "d.png", "--color", "residual")
    assert done.exit_code == 0
    told = " ".join(done.stderr.split())
    assert f"note: no geometry, so no residuals: {tmp_path / 'd.png'} is coloured by rank" in told
    assert (tmp_path / "d.png").exists()


def test_summary_for_people(tmp_path: Path) -> None:
    done = gcm(LEFT, RIGHT, *SMALL, "--top-k", "50", "--min-score", "0.2", "-o", tmp_path / "m.csv")
    assert done.exit_code == 0, done.stderr
    for word in ("512 x 512", "default", "matches", "inliers", "homography", "seconds"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    rows = (tmp_path / "m.csv").read_text().splitlines()
    assert rows[0] == "x0,y0,x1,y1,score"
    assert 1 < len(rows) <= 51
    assert min(float(row.split(",")[4]) for row in rows[1:]) >= 0.2


def test_quiet_prints_nothing() -> None:
    done = gcm(LEFT, RIGHT, "--max-side", "128", "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


def test_no_matches_is_an_answer(tmp_path: Path) -> None:
    black = tmp_path / "black.png"
    Image.new("RGB", (200, 100)).save(black)
    done = gcm(black, black, "--json", "--draw", tmp_path / "d.png")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["keypoints0"] == []
    assert found["homography"] is None
    assert "no matches" in done.stderr
    assert (tmp_path / "d.png").exists()


def test_warp_without_a_homography_is_a_note(tmp_path: Path) -> None:
    black = tmp_path / "black.png"
    Image.new("RGB", (64, 64)).save(black)
    done = gcm(black, black, "--warp", tmp_path / "w.png", "--draw", tmp_path / "d.png", "--json")
    assert done.exit_code == 0
    assert f"note: {tmp_path / 'w.png'} is not written: no homography was found" in done.stderr
    assert not (tmp_path / "w.png").exists()
    assert set(json.loads(done.stdout)["files"]) == {"draw"}


@pytest.mark.parametrize("size", [(1, 1), (10, 2000), (2000, 10), (15, 17)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    odd = tmp_path / "odd.png"
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(odd)
    done = CliRunner().invoke(app, ["match", str(odd), str(LEFT), "--max-side", "300", "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["size0"] == list(size)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("missing.png", RIGHT), 1, "no such file"),
        ((EXAMPLES, RIGHT), 1, "folder"),
        (("", RIGHT), 1, "an image's name is empty"),
        ((EXAMPLES / "README.md", RIGHT), 1, "not an image"),
        ((LEFT, RIGHT, "--config", "defualt"), 2, "did you mean 'default'"),
        ((LEFT, RIGHT, "--set", "fine_ration=0.9"), 2, "did you mean 'fine_ratio'"),
        ((LEFT, RIGHT, "--set", "ratio_th=[1,1]"), 2, "5"),
        ((LEFT, RIGHT, "--output", "matches.txt"), 2, "unknown suffix"),
        ((LEFT, RIGHT, "--draw", "matches.xyz"), 2, "unknown image suffix"),
        ((LEFT, RIGHT, "--device", "cuda:99"), 2, "not available"),
        ((LEFT, RIGHT, "--set", "device=cuda:99"), 2, "not available"),
        ((LEFT, RIGHT, "--device", "tpu"), 2, "no device"),
        ((LEFT, RIGHT, "--hypotheses", "sideways"), 2, "upright"),
        ((LEFT, RIGHT, "--config", "ResNet18_dstlR2D2_95"), 1, "GCM_OFFLINE"),
        ((LEFT, RIGHT, "--set", f"weights_path={LEFT}"), 1, "not a weight file"),
        ((LEFT, RIGHT, *SMALL, "--output", LEFT / "m.npz"), 1, "cannot be written"),
        ((LEFT,), 2, ""),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[Any, ...], code: int, words: str) -> None:
    # In this process, for speed: what a process adds is tested below.
    done = CliRunner().invoke(app, ["match", *map(str, arguments), "--quiet"])
    assert done.exit_code == code, done.stderr
    assert words in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    if words:
        assert len(done.stderr.strip().splitlines()) == 1


def test_help_loads_no_torch() -> None:
    program = (
        "import sys, gcm_cli.app\n"
        "heavy = {'torch', 'cv2', 'pandas', 'pydantic', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_mistyped_is_told_before_torch_is_imported() -> None:
    mistyped = [
        ["missing.png", str(RIGHT)],
        [str(LEFT), str(EXAMPLES / "README.md")],
        [str(LEFT), str(RIGHT), "--config", "defualt"],
        [str(LEFT), str(RIGHT), "--set", "max_sied=100"],
        [str(LEFT), str(RIGHT), "--device", "gpu"],
        [str(LEFT), str(RIGHT), "--set", "neighbours.shar=0.2"],
        [str(LEFT), str(RIGHT), "--set", "weights_path=missing.pth"],
        [str(LEFT), str(RIGHT), "-c", "ResNet18_R2D2_6", "--set", "fine_weights_path=r2d3"],
        [str(LEFT), str(RIGHT), "--draw", str(LEFT)],
        [str(LEFT), str(RIGHT), "--output", "a.txt"],
    ]
    program = (
        "import sys\n"
        "from gcm_cli.app import app\n"
        f"for arguments in {mistyped!r}:\n"
        "    try: app(['match', *arguments])\n"
        "    except SystemExit as end: assert end.code in (1, 2), arguments\n"
        "    assert not {'torch', 'pandas'} & set(sys.modules), arguments"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("gcm: error: ") == len(done.stderr.splitlines()) == len(mistyped)


# -- names from outside ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["photo[final]", "[red]a", "a[/b]", ":smile:", "a b", "\x1b[31mx", "\udcc3\udca9"]
)
def test_names_are_no_markup(tmp_path: Path, name: str) -> None:
    photo, output, picture = tmp_path / f"{name}.jpg", tmp_path / f"{name}.npz", tmp_path / f"{name}.png"
    photo.parent.mkdir(parents=True, exist_ok=True)
    photo.write_bytes(LEFT.read_bytes())
    shown = name.replace("\x1b", "\\x1b").replace("\udcc3\udca9", "\u00e9")
    done = gcm(photo, photo, "--max-side", "128", "-o", output, "--draw", picture)
    assert done.exit_code == 0, done.output
    assert "".join(done.stdout.split()).count("".join(f"{shown}.jpg".split())) == 2
    for suffix in ("npz", "png"):
        assert f"{shown}.{suffix}" in done.stderr
        assert (tmp_path / f"{name}.{suffix}").is_file()
    done = gcm(photo, "none", "--json")
    assert done.exit_code == 1
    done = gcm(photo, photo, "--max-side", "64", "--json")
    told = json.loads(done.stdout)["image0"]
    assert told == str(photo).replace("\udcc3\udca9", "\u00e9")
    missing = gcm(tmp_path / f"{name}.none", photo)
    assert f"{shown}.none: no such file" in missing.stderr


def test_long_paths_are_whole(tmp_path: Path) -> None:
    folder = tmp_path / ("long " * 12).strip() / ("folder" * 12)
    folder.mkdir(parents=True)
    paths = [folder / f"{'photo' * 12}{k}.jpg" for k in (0, 1)]
    for path in paths:
        path.write_bytes(LEFT.read_bytes())
    done = gcm(*paths, "--max-side", "64")
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    text = "".join(done.stdout.split())
    for path in paths:
        assert "".join(str(path).split()) in text


def test_rounding_errors_are_nothing() -> None:
    done = gcm(LEFT, LEFT, "--max-side", "256")
    assert done.exit_code == 0, done.stderr
    rows = done.stdout[done.stdout.index("homography  ") :].split("seconds")[0].split()[1:]
    assert len(rows) == 9
    assert all(float(value) == 0 or abs(float(value)) > 1e-12 for value in rows)
    assert "-0" not in rows


# -- outputs -----------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two photos, a.png and b.png, with links to a.png."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 64)).save(tmp_path / name)
    (tmp_path / "soft.png").symlink_to("a.png")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "a.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "round.png").symlink_to("round.png")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--draw", "a.png"], 2, "--draw a.png: is an input"),
        (["--warp", "b.png"], 2, "--warp b.png: is an input"),
        (["--draw", "./folder.png/../a.png"], 2, "is an input"),
        (["--draw", "soft.png"], 2, "is an input"),
        (["--draw", "hard.png"], 2, "is an input"),
        (["--draw", "x.png", "--warp", "x.png"], 2, "--draw and --warp both name x.png"),
        (["--draw", "x.png", "--warp", "./x.png"], 2, "--draw and --warp both name"),
        (["--draw", "x.png", "-o", "x.png/m.npz"], 2, "lies in it"),
        (["--draw", "folder.png"], 1, "is a folder"),
        (["--draw", "a.png/x.png"], 1, "cannot be written (Not a directory)"),
        (["--draw", f"{'x' * 300}.png"], 1, "cannot be written (File name too long)"),
        (["--draw", f"new/{'x' * 300}.png"], 1, "cannot be written (File name too long)"),
        (["--draw", "round.png"], 1, "round.png: "),
        (["--draw", "/proc/x.png"], 1, "/proc/x.png: cannot be written"),
        (["--draw", "x.gif"], 2, "unknown image suffix '.gif'; use one of .png, .jpg, .jpeg, .webp, "),
        (
            ["--warp", "x"],
            2,
            "no suffix, which tells the kind of image; use one of .png, .jpg, .jpeg, .webp, ",
        ),
    ],
)
def test_outputs_are_checked_before_the_work(
    photos: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(photos)
    before = {path: path.read_bytes() for path in photos.iterdir() if path.is_file()}
    names = set(photos.iterdir())
    # A configuration that does not exist would be told next: nothing else is looked at before the outputs.
    done = gcm("a.png", "b.png", "--config", "none", *options)
    assert done.exit_code == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in before} == before
    assert set(photos.iterdir()) == names


def test_the_configuration_is_no_output(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    (photos / "mine.json").write_text("{}")
    done = gcm("a.png", "b.png", "--config", "mine.json", "-o", "mine.json")
    assert done.exit_code == 2
    assert "mine.json: is an input" in done.stderr


def test_two_photos_from_standard_input(photos: Path) -> None:
    done = gcm("-", "-")
    assert done.exit_code == 2
    assert "given twice" in done.stderr


def test_what_nobody_foresaw_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("a [b]\nand more")

    monkeypatch.setattr("gcm.config.load_config", fail)
    done = gcm(LEFT, RIGHT)
    assert done.exit_code == 1
    assert done.stderr.startswith("gcm: error: KeyError: 'a [b]")
    assert "GCM_DEBUG=1" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    monkeypatch.setenv("GCM_DEBUG", "1")
    assert isinstance(gcm(LEFT, RIGHT).exception, KeyError)


def test_names_as_long_as_they_can_be(photos: Path) -> None:
    """A temporary file with a longer name stands in for each while it is written."""
    for name in (f"{'x' * 251}.png", f"{chr(0x9999) * 83}.png"):
        done = gcm(photos / "a.png", photos / "b.png", "--draw", photos / name)
        assert done.exit_code == 0, done.stderr
        assert (photos / name).is_file()
