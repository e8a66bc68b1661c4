"""``gcm match`` as a user runs it: real processes, the example pair, the embedded weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gcm.geometry import apply_homography, image_corners
from gcm_cli.app import app

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LEFT, RIGHT = EXAMPLES / "left.jpg", EXAMPLES / "right.jpg"
SMALL = ("--max-side", "256")


def gcm(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "gcm_cli", "match", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One run that writes everything."""
    folder = tmp_path_factory.mktemp("match")
    files = ["--output", folder / "deep" / "m.npz", "--draw", folder / "d.png", "--warp", folder / "w.png"]
    return gcm(LEFT, RIGHT, *SMALL, "--json", *files), folder


def test_finds_the_homography(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, _ = run
    assert done.returncode == 0, done.stderr
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


def test_document_and_files_agree(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, folder = run
    found = json.loads(done.stdout)
    with np.load(folder / "deep" / "m.npz") as file:
        assert set(file.files) == {
            "keypoints0", "keypoints1", "matches", "scores", "homography", "size0", "size1"
        }  # fmt: skip
        for name in file.files:
            np.testing.assert_allclose(file[name], np.array(found[name]))
        assert file["keypoints0"].dtype == np.float64
        assert file["size0"].tolist() == [512, 512]
    assert any("worked at 256 x 256" in note for note in found["notes"])
    assert found["device"]
    assert set(found["files"]) == {"output", "draw", "warp"}


def test_pictures(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, folder = run
    drawn, warped = cv2.imread(str(folder / "d.png")), cv2.imread(str(folder / "w.png"))
    left = cv2.imread(str(LEFT))
    assert drawn.shape[1] > 2 * 512
    assert warped.shape == left.shape
    # Blended with the right photo, the left one is still recognisable where both are.
    middle = slice(150, 350)
    correlation = np.corrcoef(warped[middle, middle].ravel(), left[middle, middle].ravel())[0, 1]
    assert correlation > 0.9


def test_summary_for_people(tmp_path: Path) -> None:
    done = gcm(LEFT, RIGHT, *SMALL, "--top-k", "50", "--min-score", "0.2", "-o", tmp_path / "m.csv")
    assert done.returncode == 0, done.stderr
    for word in ("512 x 512", "default", "matches", "inliers", "homography", "seconds"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    rows = (tmp_path / "m.csv").read_text().splitlines()
    assert rows[0] == "x0,y0,x1,y1,score"
    assert 1 < len(rows) <= 51
    assert min(float(row.split(",")[4]) for row in rows[1:]) >= 0.2


def test_quiet_prints_nothing() -> None:
    done = gcm(LEFT, RIGHT, "--max-side", "128", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_matches_is_an_answer(tmp_path: Path) -> None:
    black = tmp_path / "black.png"
    Image.new("RGB", (200, 100)).save(black)
    done = gcm(black, black, "--json", "--draw", tmp_path / "d.png")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["keypoints0"] == []
    assert found["homography"] is None
    assert "no matches" in done.stderr
    assert (tmp_path / "d.png").exists()


def test_warp_without_a_homography_fails(tmp_path: Path) -> None:
    black = tmp_path / "black.png"
    Image.new("RGB", (64, 64)).save(black)
    done = gcm(black, black, "--warp", tmp_path / "w.png", "--quiet")
    assert done.returncode == 1
    assert "no homography" in done.stderr
    assert not (tmp_path / "w.png").exists()


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
        ((EXAMPLES / "README.md", RIGHT), 1, "not an image"),
        ((LEFT, RIGHT, "--config", "defualt"), 2, "did you mean 'default'"),
        ((LEFT, RIGHT, "--set", "fine_ration=0.9"), 2, "did you mean 'fine_ratio'"),
        ((LEFT, RIGHT, "--set", "ratio_th=[1,1]"), 2, "5"),
        ((LEFT, RIGHT, "--output", "matches.txt"), 2, "unknown suffix"),
        ((LEFT, RIGHT, "--draw", "matches.xyz"), 2, "unknown image suffix"),
        ((LEFT, RIGHT, "--device", "cuda:99"), 2, "not available"),
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


def test_bad_input_in_a_real_process() -> None:
    done = gcm("missing.png", RIGHT)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "gcm: error: missing.png: no such file\n"


def test_help_loads_no_torch() -> None:
    program = (
        "import sys, gcm_cli.app\n"
        "heavy = {'torch', 'cv2', 'pandas', 'pydantic', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
