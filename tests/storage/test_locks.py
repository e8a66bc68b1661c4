"""Locks: one holder at a time, and nothing stays behind."""

from __future__ import annotations

import multiprocessing
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gcm.errors import OutputError
from gcm.storage.locks import LockHeldError, exclusive_lock, only_writer


def test_nothing_stays_behind(tmp_path: Path) -> None:
    with only_writer(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / ".lock").is_file()
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_or_was_written_stays(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with only_writer(tmp_path / "empty"):
        pass
    with only_writer(tmp_path / "new" / "folder"):
        (tmp_path / "new" / "folder" / "result").touch()
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert names == ["empty", "new", "new/folder", "new/folder/result"]


def test_a_failing_block_gives_the_lock_up(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), only_writer(tmp_path / "a"):
        raise OSError("mine")
    assert list(tmp_path.iterdir()) == []


def test_a_second_holder_is_refused_and_leaves_the_first_its_lock(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / "a" / ".lock", wait=False):
        for _ in range(2):
            with pytest.raises(LockHeldError), exclusive_lock(tmp_path / "a" / ".lock", wait=False):
                pytest.fail("must not get here")
            with (
                pytest.raises(OutputError, match="another gcm is writing there"),
                only_writer(tmp_path / "a"),
            ):
                pytest.fail("must not get here")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_left_by_a_kill_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with only_writer(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"), only_writer(tmp_path / "file" / "folder"):
        pytest.fail("must not get here")


@pytest.mark.parametrize("error", [FileNotFoundError, FileExistsError])
def test_a_folder_that_another_process_removes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    mkdir, failures = Path.mkdir, [error()] * 3

    def racing(self: Path, *arguments: Any, **options: Any) -> None:
        if failures:
            raise failures.pop()
        mkdir(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", racing)
    with exclusive_lock(tmp_path / "a" / ".lock", wait=False):
        assert (tmp_path / "a" / ".lock").is_file()
    assert failures == []


def _count_up(lock_file: Path, counter: Path, times: int) -> None:
    """Read, wait, write: two holders at once would lose counts."""
    while times:
        # Asking again at once, unlike `wait`, makes most tries fall into the moment of a release.
        with suppress(LockHeldError), exclusive_lock(lock_file, wait=False):
            value = int(counter.read_text())
            time.sleep(0.0002)
            counter.write_text(str(value + 1))
            times -= 1


@pytest.mark.e2e
def test_processes_never_hold_a_removed_lock_at_once(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    context = multiprocessing.get_context("spawn")
    # Each release removes the file and its folder while the others wait for it.
    arguments = (tmp_path / "folder" / ".lock", counter, 400)
    processes = [context.Process(target=_count_up, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert counter.read_text() == "1200"
    assert not (tmp_path / "folder" / ".lock").exists()
