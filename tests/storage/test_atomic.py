"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gcm.errors import OutputError
from gcm.storage.atomic import whole_file

FullDisk = Callable[[int], AbstractContextManager[None]]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    for text in ("first", "second"):
        with whole_file(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.suffix == ".txt"
            temporary.write_text(text)
        assert path.read_text() == text
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()])
def test_failure_leaves_the_old_file_and_no_temporary(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), whole_file(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_new_file_has_the_rights_any_new_file_gets(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with whole_file(tmp_path / "ours") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"), whole_file(tmp_path):
        pytest.fail("must not get here")


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(OutputError, match="no regular file"), whole_file("/dev/null"):
        pytest.fail("must not get here")
    assert Path("/dev/null").is_char_device()


def test_below_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written") as caught, whole_file(tmp_path / "file/a.txt"):
        pytest.fail("must not get here")
    assert "\n" not in str(caught.value)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    with whole_file(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_the_longest_name_a_file_can_have(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 251 + ".txt")
    with whole_file(path) as temporary:
        temporary.write_text("x")
    assert path.read_text() == "x"


def test_full_disk(tmp_path: Path, full_disk: FullDisk) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with full_disk(1000), pytest.raises(OutputError) as caught, whole_file(path) as temporary:
        temporary.write_bytes(bytes(5000))
    assert str(path) in str(caught.value)
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]
