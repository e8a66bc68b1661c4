"""What people try who have read the README once: good guesses are taken, others told what is right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from gcm.errors import ConfigError, UsageError, to_install
from gcm.matcher import Matcher
from gcm.matches import Matches
from gcm_cli.app import app

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


def run(*arguments: str | Path, columns: int = 80) -> Result:
    environment = {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(app, [*map(str, arguments)], env=environment)


def said(result: Result) -> str:
    """What stands on stderr, on one line and without boxes."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", result.stderr).split())


# -- help ------------------------------------------------------------------------------------------


def paragraphs(page: str) -> Iterator[list[str]]:
    """The lines of each paragraph of a page of help above its boxes, the usage left out."""
    told = page.partition("╭")[0].partition("Usage:")[2]
    for paragraph in re.split(r"\n\s*\n", told)[1:]:
        lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
        if lines:
            yield lines


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("columns", [60, 80])
def test_help_flows_to_the_width_of_the_terminal(command: str, columns: int) -> None:
    """A line ends where the next word would not fit, not where it ends in the source."""
    page = run(command, "--help", columns=columns).stdout
    found = list(paragraphs(page))
    assert found
    for lines in found:
        for line, following in pairwise(lines):
            full = len(line) + 1 + len(following.split()[0]) > columns - 4
            assert full or line.endswith("."), (line, following)  # old Typer parts paragraphs by one break


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_flags_show_no_value_to_give(command: str) -> None:
    page = run(*filter(None, [command]), "--help", columns=120).stdout
    assert "--help" in page
    assert "<bool>" not in page
    assert "BOOLEAN" not in page


# -- options that one would guess --------------------------------------------------------------------


def test_a_preset_is_named_by_either_name(tmp_path: Path) -> None:
    for option in ("--config", "--preset", "-c"):
        done = run("match", EXAMPLES / "left.jpg", EXAMPLES / "right.jpg", option, "fst")
        assert done.exit_code == 2
        assert "no configuration named 'fst' (did you mean 'fast'?)" in said(done)
    with pytest.raises(ConfigError, match=r"unknown key 'preset' \(a preset is named by 'config'\)"):
        Matcher(preset="fast")


@pytest.mark.parametrize("option", ["--output-dir", "--output", "-o"])
def test_extract_writes_where_it_is_told(tmp_path: Path, option: str) -> None:
    done = run(
        "extract", "--images", EXAMPLES / "turn", "--window", "1", option, tmp_path / "m", "-c", "fast"
    )
    assert done.exit_code == 0, done.stderr
    assert "2 pairs of 3 photos (sequential)" in said(done)
    assert (tmp_path / "m/pairs.json").is_file()


@pytest.mark.parametrize("option", [("--device", "mps"), ("--set", "device=mps")])
@pytest.mark.parametrize("command", ["match", "pose", "stitch", "extract", "reconstruct"])
def test_a_device_that_is_not_there_is_refused(command: str, option: tuple[str, str], tmp_path: Path) -> None:
    import torch

    if torch.backends.mps.is_available():
        pytest.skip("it is there")
    photos = [EXAMPLES / f"turn/{k}.jpg" for k in (1, 2)]
    given = {"extract": ["--images", EXAMPLES / "turn"], "reconstruct": [EXAMPLES / "turn"]}.get(
        command, photos
    )
    output = ["-o", tmp_path / "x.png"] if command in ("stitch", "extract", "reconstruct") else []
    done = run(command, *given, *output, *option)
    assert done.exit_code == 2
    assert "device mps is not available on this machine; use cpu" in said(done)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-k", "1"], "(similar)"),
        (["--window", "1"], "2 pairs of 3 photos (sequential)"),
        (["--loop"], "(sequential)"),
        ([], "3 pairs of 3 photos (exhaustive)"),
    ],
)
def test_an_option_of_one_method_asks_for_it(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = run("pairs", EXAMPLES / "turn", "-o", tmp_path / "p.txt", *arguments)
    assert done.exit_code == 0, done.stderr
    assert told in said(done)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-k", "1", "--method", "exhaustive"], "-k is for --method similar and near, not for exhaustive"),
        (["--window", "2", "--method", "near"], "--window is for --method sequential, not for near"),
        (["--loop", "-k", "3"], "-k is for --method similar and near, not for sequential"),
    ],
)
def test_an_option_of_another_method_is_refused(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = run("pairs", EXAMPLES / "turn", "-o", tmp_path / "p.txt", *arguments)
    assert done.exit_code == 2
    assert told in said(done)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["extract", "--pairs", "p.txt", "--window", "3"], "--window is for --images and --video"),
        (["extract", "--pairs", "p.txt", "--loop"], "--loop is for --images and --video"),
        (["extract", "--pairs", "p.txt", "-k", "3"], "-k is for --images and --video"),
        (["extract", "--method", "near"], "--method is for --images and --video"),
        (["extract", "--images", "photos", "--every", "3"], "--every is for --video"),
        (
            ["extract", "--video", "v.mp4", "--root", "photos"],
            "--root is for lists, --pairs and --dataset-dir",
        ),
        (["extract", "--features-size", "3"], "--features-size is for --features"),
        (["match", "a.png", "b.png", "--features-size", "3"], "--features-size is for --features"),
        (["evaluate", "gcm", "--pairs", "p.txt"], "--pairs is for --task pose"),
        (["evaluate", "gcm", "--estimator", "poselib"], "--estimator is for --task pose"),
        (["evaluate", "gcm", "--task", "pose", "--format", "latex"], "--format is for --task homography"),
        (["evaluate", "gcm", "--task", "pose", "--per-sequence"], "--per-sequence is for --task homography"),
        (["evaluate", "gcm", "--task", "pose", "--protocol", "ime"], "--protocol is for --task homography"),
    ],
)
def test_an_option_without_effect_is_refused(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2
    assert f"{told}; it would have no effect here" in said(done)
    assert not list(tmp_path.iterdir())


# -- arguments that are something else ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["extract", "photos"], "Unexpected argument: photos; say what it is: --images FOLDER, --pairs FILE"),
        (["reconstruct", "1.jpg", "2.jpg", "3.jpg", "-o", "m"], "2.jpg and 1 more; give one folder"),
        (["pairs", "1.jpg", "2.jpg", "-o", "p.txt"], "2.jpg; give one folder, which holds the photos"),
        (["match", "1.jpg", "2.jpg", "3.jpg"], "3.jpg; give two photos; 'gcm extract --images FOLDER'"),
        (["backbones", "list"], "Unexpected argument: list."),
    ],
)
def test_an_argument_too_many(arguments: list[str], told: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert told in said(done)


def test_a_folder_to_stitch_stands_for_its_photos(tmp_path: Path) -> None:
    done = run("stitch", EXAMPLES / "turn", "-o", tmp_path / "p.jpg", "-c", "fast")
    assert done.exit_code == 0, done.stderr
    assert "p.jpg: 3 photos" in said(done)


def test_a_photo_in_place_of_a_folder(tmp_path: Path) -> None:
    done = run("pairs", EXAMPLES / "left.jpg", "-o", tmp_path / "p.txt")
    assert done.exit_code == 1
    assert "left.jpg: is a file; give the folder it lies in" in said(done)
    (tmp_path / "empty").mkdir()
    done = run("pairs", tmp_path / "empty", "-o", tmp_path / "p.txt")
    assert "holds no photos; they end in .bmp, .heic" in said(done)


@pytest.mark.parametrize(("command", "name"), [("match", "out/"), ("stitch", "out")])
def test_an_output_without_a_suffix(command: str, name: str) -> None:
    done = run(command, EXAMPLES / "left.jpg", EXAMPLES / "right.jpg", "-o", name)
    assert done.exit_code == 2
    assert "out: no suffix, which tells the kind of" in said(done)


# -- no answer, or half of one -------------------------------------------------------------------------


def test_no_match_says_what_else_to_try(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), rng.integers(0, 255, (96, 96, 3)))
    done = run("match", tmp_path / "a.png", tmp_path / "b.png")
    assert done.exit_code == 0
    assert "no matches" in said(done)
    assert "--config robust looks harder" in said(done)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--mask0", "black.png"), "found start or end where a photo is masked"),
        (("--min-score", "1"), "found scores as much as was asked for"),
        (
            ("--min-confidence", "1"),
            "only 0.99 sure that the photos show the same thing; --min-confidence 0 returns",
        ),
    ],
)
def test_why_there_is_no_match_of_photos_that_show_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("black.png", np.zeros((512, 512), np.uint8))
    done = run("match", EXAMPLES / "left.jpg", EXAMPLES / "right.jpg", "-c", "fast", *asked)
    assert done.exit_code == 0, done.stderr
    assert told in said(done)
    assert "harder" not in said(done)


def test_a_pose_without_intrinsics_says_what_is_missing() -> None:
    done = run("pose", EXAMPLES / "turn/1.jpg", EXAMPLES / "turn/2.jpg", "-c", "fast")
    assert done.exit_code == 0, done.stderr
    assert "note: without --intrinsics there is no rotation" in said(done)
    assert "homography" in done.stdout
    assert "homography" not in run("pose", *ROOM, "-c", "fast", "--intrinsics", "560").stdout


ROOM = (EXAMPLES / "room/2.jpg", EXAMPLES / "room/5.jpg")


@pytest.mark.parametrize("text", ["560,560,319.5,239.5", "560 560 319.5 239.5", "560, 560, 319.5, 239.5"])
@pytest.mark.parametrize("kind", ["option", "file", "matrix"])
def test_intrinsics_as_people_have_them(tmp_path: Path, text: str, kind: str) -> None:
    from gcm.scene.intrinsics import read_intrinsics
    from gcm.scene.photos import Photo

    file = tmp_path / "k.txt"
    if kind == "matrix":
        comma = "," if "," in text else " "
        text = "\n".join(comma.join(map(str, row)) for row in ((560, 0, 319.5), (0, 560, 239.5), (0, 0, 1)))
    file.write_text(f"# a comment\n{text}\n", newline="\r\n")
    photo = Photo(ROOM[0], "2.jpg", (640, 480))
    (found,) = read_intrinsics(text if kind == "option" else str(file), [photo])
    assert found.matrix.tolist() == [[560, 0, 319.5], [0, 560, 239.5], [0, 0, 1]]


@pytest.mark.parametrize("intrinsics", [560, [560, 560, 319.5, 239.5], np.eye(4), "560", [[1, 2], [3]]])
def test_what_is_no_camera_matrix(intrinsics: object) -> None:
    points = np.random.default_rng(0).uniform(0, 99, (30, 2))
    matches = Matches(points, points + 1, np.ones(30), size0=(100, 100), size1=(100, 100))
    for call in (matches.relative_pose, matches.two_view_geometry):
        with pytest.raises(UsageError, match="intrinsics1 is no 3 x 3 camera matrix; give"):
            call(np.eye(3), intrinsics)


@pytest.mark.parametrize("wrong", [0.0, -560.0, np.nan, np.inf])
def test_a_camera_matrix_that_no_camera_has(wrong: float) -> None:
    points = np.random.default_rng(0).uniform(0, 99, (30, 2))
    matches = Matches(points, points + 1, np.ones(30), size0=(100, 100), size1=(100, 100))
    for call in (matches.relative_pose, matches.two_view_geometry):
        with pytest.raises(UsageError, match="intrinsics1: focal lengths must be above 0, and all numbers"):
            call(np.eye(3), np.diag([wrong, 560.0, 1.0]))


# -- extras --------------------------------------------------------------------------------------------


def test_an_extra_is_installed_by_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never as ``gcm[extra]``: what has the name gcm on PyPI is another project."""
    lines = ['h5py>=3.10; extra == "hloc"', "numpy>=1.24", "a>=1; extra == 'two'", "b; extra == 'two'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: lines)
    assert to_install("hloc") == 'pip install "h5py>=3.10"'
    assert to_install("two") == 'pip install "a>=1" "b"'
    assert to_install("none") == 'pip install ".[none]" in the checkout'


def test_nothing_says_to_install_the_other_gcm() -> None:
    root = EXAMPLES.parent
    files = [
        root / "README.md",
        *(p for d in ("docs", "examples", "gcm", "gcm_cli") for p in (root / d).rglob("*")),
    ]
    for file in files:
        if file.suffix in (".md", ".py", ".html", ".ipynb"):
            assert not re.search(r"install[^\n`]*\bgcm\[", file.read_text(encoding="utf-8")), file
