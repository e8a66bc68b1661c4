"""The page on which people judge matches, as a browser shows it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scene.made_scene import MadeScene, make_scene
from typer.testing import CliRunner, Result

from gcm.matches import Matches
from gcm_cli.app import app


def gcm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "80", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> MadeScene:
    scene = make_scene(tmp_path_factory.mktemp("report"), photos=4)
    nothing = np.zeros((0, 2))
    first, second, *_ = sorted((scene.results / "original_outputs").iterdir())
    Matches(nothing, nothing, np.zeros(0), (320, 240), (320, 240), confidence=0.01).save(first)
    second.unlink()  # not matched yet
    return scene


@pytest.fixture(scope="module")
def page(scene: MadeScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    done = gcm("report", scene.results, "--images", scene.images, "-o", file, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == 6
    return file


def test_the_page_holds_all_it_shows(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text)[1])  # type: ignore[index]
    kinds = [pair.get("kind") for pair in data["pairs"]]
    assert kinds.count("general") == 4
    assert kinds.count("unknown") == 1
    assert [pair["matches"] for pair in data["pairs"]].count(None) == 1
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in data["images"])
    shown = next(pair for pair in data["pairs"] if pair.get("kind") == "general")
    assert 50 < len(shown["shown"]) <= 200
    assert sum(shown["residuals"]) == shown["matches"]
    assert not re.search(r"""(src|href)=["']?(https?:|//)|url\(|@import|fetch\(""", text)


def test_names_are_text_and_no_markup(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, photos=2)
    odd = "</script><b>x.png"
    if not _can_be_named(scene.images, odd):
        odd = "&lt;b&gt; x.png"
    (scene.images / "photo 0.png").rename(scene.images / odd.replace("/", ""))
    places = (scene.results / "pairs.json").read_text().replace("photo 0.png", odd.replace("/", ""))
    (scene.results / "pairs.json").write_text(places)
    done = gcm("report", scene.results, "--images", scene.images, "-o", tmp_path / "r.html")
    assert done.exit_code == 0, done.stderr
    assert "<b>x" not in (tmp_path / "r.html").read_text(encoding="utf-8")


def _can_be_named(folder: Path, name: str) -> bool:
    try:
        (folder / name.replace("/", "")).touch()
        (folder / name.replace("/", "")).unlink()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["results", "-o", "r.txt"], 2, "a page ends in .html"),
        (["photos", "-o", "r.html"], 1, "give the folder that gcm extract wrote into"),
        (["results", "-o", "none/"], 2, "a page ends in .html"),
    ],
)
def test_what_cannot_be_reported(
    scene: MadeScene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = gcm("report", scene.images.parent / arguments[0], "--images", scene.images, *arguments[1:])
    assert done.exit_code == code
    assert told in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())


def browse(chromium: str, page: Path, hash_: str, width: int = 1280) -> tuple[str, str]:
    """What the page becomes, and what it says on its console."""
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--window-size={width},900", "--virtual-time-budget=5000", "--dump-dom"]
    run = subprocess.run(
        [*command, f"{page.as_uri()}{hash_}"], capture_output=True, text=True, timeout=60, check=True
    )
    return run.stdout, "\n".join(line for line in run.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.e2e
def test_a_browser_lists_the_pairs(chromium: str, page: Path) -> None:
    shown, console = browse(chromium, page, "")
    assert console == ""
    assert shown.count('class="row"') == 6
    assert "6 pairs of 4 photos, 5 matched, 4 with a geometry" in shown
    assert "not matched yet" in shown


@pytest.mark.e2e
def test_a_browser_shows_a_pair(chromium: str, page: Path) -> None:
    for number in range(6):
        shown, console = browse(chromium, page, f"#pair={number}")
        assert console == ""
        assert "All pairs" in shown
        if "not matched yet" not in shown and "too few matches" not in shown:
            assert shown.count("<canvas") == 3
            assert 'type="range"' in shown
            assert shown.count('<div title="') == 20
