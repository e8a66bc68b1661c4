"""The console: what comes from outside stays as it is, and progress speaks where there is no terminal."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from rich.progress import BarColumn, DownloadColumn, TextColumn
from rich.table import Table

from gcm_cli.console import Console
from gcm_cli.streams import printable

NAMES = ["[bold]x[/bold]", "[/x]", ":warning:", "a [link=http://x]b"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    table = Table(name, title=name, caption=name)
    table.add_row(name)
    console.table(table)
    console.text(name)
    console.note(name)
    console.warn(name)
    console.error(name)
    out, err = capsys.readouterr()
    assert out.count(name) == 5
    assert err.splitlines() == [name, f"warning: {name}", f"gcm: error: {name}"]


def test_control_characters_are_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    table = Table("name")
    table.add_row("a\x1b]0;title\x07b")
    console.table(table)
    console.note("a\x1b[31mb")
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert r"a\x1b[31mb" in err
    assert r"\x1b]0;title" in out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [x]", "plain [x]"),
        ("caf\u00e9", "caf\u00e9"),
        ("caf\udcc3\udca9", "caf\u00e9"),
        ("a\udcffb", r"a\xffb"),
        ("a\ud800b", r"a\ud800b"),
        ("a\nb\t\x00\x7f\x9b", r"a\nb\t\x00\x7f\x9b"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_documents_are_valid_for_every_reader(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(json_output=True)
    console.document({"caf\udcc3\udca9": ["a\udcff", "a\nb\x1b", float("nan"), 3]})
    out = capsys.readouterr().out
    out.encode("ascii")
    assert json.loads(out) == {"caf\u00e9": [r"a\xff", "a\nb\x1b", None, 3]}
    assert "ud" not in out


# -- progress ----------------------------------------------------------------------------------


class Clock:
    """Time as the test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("gcm_cli.progress.time", clock)
    return clock


def test_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress(TextColumn("{task.description}"), BarColumn()) as bar:
        task = bar.add_task("work [x]", total=100, rate="")
        for k in range(100):
            clock.now += 1
            bar.update(task, completed=k + 1, rate="2.0 [y]/s")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7  # every 15 s, and the end
    assert lines[0].startswith("work [x]: 15 of 100 (15 %), 2.0 [y]/s")
    assert lines[-1].startswith("work [x]: 100 of 100 (100 %), 2.0 [y]/s")


def test_short_work_is_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress() as bar:
        task = bar.add_task("work", total=3)
        for _ in range(3):
            clock.now += 1
            bar.advance(task)
    assert capsys.readouterr().err == ""


def test_bytes_and_unknown_totals(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress(TextColumn("{task.description}"), DownloadColumn()) as bar:
        task = bar.add_task("downloading", total=None)
        clock.now += 60
        bar.update(task, completed=34_500_000)
        clock.now += 60
        bar.update(task, completed=690_000_000, total=1_380_000_000)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("downloading: 34 MB") or first.startswith("downloading: 35 MB")
    assert second.startswith("downloading: 690 MB of 1380 MB (50 %)")


def test_what_was_stopped_says_where_it_stands(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with Console().progress() as bar:
            task = bar.add_task("work", total=100)
            for _ in range(50):
                clock.now += 1
                bar.advance(task)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert capsys.readouterr().err.splitlines()[-1].startswith("work: 50 of 100 (50 %)")


def test_quiet_progress_is_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Console(quiet=True).progress() as bar:
        task = bar.add_task("work", total=3)
        clock.now += 100
        bar.advance(task)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_a_bar_is_drawn_with_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal: Any = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Console().progress() as bar:
        task = bar.add_task("[/work]", total=2)
        bar.advance(task)
        bar.refresh()
    assert "[/work]" in terminal.getvalue()
    assert "1/2" in terminal.getvalue()


class Terminal(io.TextIOWrapper):
    """One of a given encoding."""

    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize(("encoding", "spun"), [("cp1252", "[|/-]"), ("utf-8", "[\u2800-\u28ff]")])
def test_what_a_console_lacks_is_not_drawn(monkeypatch: pytest.MonkeyPatch, encoding: str, spun: str) -> None:
    """Windows' older consoles have no UTF-8."""
    terminal = Terminal(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    console = Console()
    with console.waiting("loading"):
        pass
    with console.progress() as bar:
        bar.add_task("work", total=2)
    shown = terminal.shown()
    assert re.search(rf"{spun}\S* loading", re.sub("\x1b\\[[0-9;]*m", "", shown)), shown
    assert "\\u2" not in shown


def test_a_terminal_without_a_cursor_gets_lines(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the shell of Emacs."""
    terminal = Terminal(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    console = Console()
    with console.waiting("loading"), console.progress() as bar:
        task = bar.add_task("work", total=2)
        clock.now += 20
        bar.advance(task)
    assert terminal.shown().splitlines()[0].startswith("work: 1 of 2 (50 %)")
    assert "\x1b" not in terminal.shown()
