"""`gcm demo` up to where the browser begins: its options, its errors, and what is said of a pair."""

from __future__ import annotations

import re
import shutil
import socket
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

import gcm
from gcm.config import load_config
from gcm.errors import ConfigError, ImageError, UsageError, to_install
from gcm.matches import Matches
from gcm_cli import demo_answers
from gcm_cli.app import app
from gcm_cli.demo_answers import Answers, example_photos, offered_presets

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LEFT, RIGHT = EXAMPLES / "left.jpg", EXAMPLES / "right.jpg"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["demo", *arguments], env={"COLUMNS": "80", "NO_COLOR": "1"})


def test_without_gradio_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    done = run("--port", "0")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert to_install("demo") in done.stderr
    assert done.stdout == ""


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--port", str(port))
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert f"port {port} is in use" in done.stderr
    assert "--port 0" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--host", "999.1.2.3"), 1, "--host 999.1.2.3: "),
        (("--host", "192.0.2.1", "--port", "0"), 1, "--host 192.0.2.1 --port 0: cannot be used"),
        (("--config", "defualt"), 2, "did you mean 'default'"),
        (("--device", "gpu"), 2, "'gpu' is no device"),
        (("--port", "70000"), 2, "65535"),
        (("--max-upload", "0"), 2, "max-upload"),
    ],
)
def test_what_cannot_be_served(arguments: tuple[str, ...], code: int, told: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code
    assert told in " ".join(done.stderr.split())


def test_presets_that_are_offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_answers, "find_spec", lambda name: None)
    assert list(offered_presets(None)) == ["default", "fast"]
    assert list(offered_presets("fast", device="cpu")) == ["fast", "default"]
    assert offered_presets("fast", device="cpu")["default"].device == "cpu"
    monkeypatch.setattr(demo_answers, "find_spec", lambda name: object())
    assert list(offered_presets(None)) == ["default", "fast", "robust"]
    own = tmp_path / "mine.yml"
    shutil.copyfile(EXAMPLES.parent / "configs" / "fast.yml", own)
    assert list(offered_presets(str(own))) == ["mine", "default", "fast", "robust"]
    with pytest.raises(ConfigError):
        offered_presets("nothing")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    folder = tmp_path_factory.mktemp("answers")
    return Answers({"fast": load_config("fast", device="cpu")}, folder)


def test_an_answer_is_what_gcm_match_prints(answers: Answers) -> None:
    told = CliRunner().invoke(
        app, ["match", str(LEFT), str(RIGHT), "--config", "fast", "--device", "cpu"], env={"COLUMNS": "200"}
    )
    answer = answers.answer(LEFT, RIGHT, "fast")
    matches = gcm.Matcher("fast", device="cpu").match(LEFT, RIGHT)
    assert answer.verdict.startswith(f"## They match: {len(matches)} points of A found in B\n")
    lines = {" ".join(line.split()) for line in told.stdout.splitlines()}
    for label in ("preset", "matches", "confidence", "geometry", "inliers"):
        (line,) = re.findall(rf"^- \*\*{label}\*\* (.+)$", answer.verdict, re.MULTILINE)
        assert f"{label} {line}" in lines
    assert "`left.jpg` (512 x 512)" in answer.verdict
    assert [file.name for file in answer.files] == ["matches.npz", "matches.json", "matches.csv"]
    for file in answer.files[:2]:
        np.testing.assert_array_equal(Matches.load(file).points1, matches.points1)
    assert answer.drawing is not None
    assert answer.drawing.is_relative_to(answers.folder)


def test_one_photo_is_laid_over_the_other(answers: Answers, tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    # Larger than what is shown, so that both are shrunk on the way.
    large = cv2.resize(photo, (1600, 1200), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "a.png"), large[:, :1500])
    cv2.imwrite(str(tmp_path / "b.png"), large[:, 100:])
    answer = answers.answer(tmp_path / "a.png", tmp_path / "b.png", "fast")
    assert answer.overlay is not None
    first, second = (cv2.imread(str(file)).astype(float) for file in answer.overlay)
    assert first.shape == second.shape
    assert max(first.shape) < 1450
    both = (first.sum(axis=2) > 0) & (second.sum(axis=2) > 0)
    assert both.mean() > 0.8
    off = np.abs(first[:, 20:] - second[:, :-20])[both[:, 20:]].mean()
    assert np.abs(first - second)[both].mean() < off / 3  # what is left is of the compression


def test_no_match_is_an_answer_without_pictures(
    answers: Answers, tmp_path: Path, photo: NDArray[np.uint8]
) -> None:
    cv2.imwrite(str(tmp_path / "noise.png"), photo)
    answer = answers.answer(LEFT, tmp_path / "noise.png", "fast")
    assert answer.verdict.startswith("## No match\n\nNo matches")
    assert "--min-confidence" not in answer.verdict
    assert (answer.drawing, answer.overlay, answer.files) == (None, None, ())


def test_bad_photos_are_told_by_their_own_names(
    answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"^photo B is missing; choose two"):
        answers.answer(LEFT, None, "fast")
    with pytest.raises(ImageError, match=r"^photo A was deleted"):
        answers.answer(tmp_path / "gone.png", RIGHT, "fast")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ImageError, match=r"^photo B \(text.png\): not an image file"):
        answers.answer(LEFT, tmp_path / "text.png", "fast")
    (tmp_path / "cut.jpg").write_bytes(LEFT.read_bytes()[:20_000])
    with pytest.raises(ImageError, match=r"^photo A \(cut.jpg\): damaged or truncated"):
        answers.answer(tmp_path / "cut.jpg", RIGHT, "fast")
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((100, 101, 3), np.uint8))
    monkeypatch.setattr(demo_answers, "MAX_PIXELS", 10_000)
    with pytest.raises(ImageError, match="has too many pixels") as told:
        answers.answer(tmp_path / "large.png", RIGHT, "fast")
    assert "--set" not in str(told.value)
    assert str(tmp_path) not in str(told.value)
    with pytest.raises(UsageError, match="no preset 'fats' here; there are: fast"):
        answers.answer(LEFT, RIGHT, "fats")


def test_the_examples_are_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = example_photos(tmp_path)
    assert len(pairs) == 3
    assert all(photo.parent == tmp_path and photo.stat().st_size > 1000 for pair in pairs for photo in pair)
    monkeypatch.setattr(
        demo_answers, "__file__", str(tmp_path / "site-packages" / "gcm_cli" / "demo_answers.py")
    )
    assert example_photos(tmp_path) == []
