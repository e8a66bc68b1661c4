"""Where images come from: paths, standard input, pipes, bytes, open files; and addresses."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gcm.errors import ImageError, UsageError
from gcm.images import check_read_once, load_image, read_image


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://example.org/photos/a.jpg", "download it first"),
        ("HTTP://example.org/a.jpg", "download it first"),
        ("s3://bucket/a.jpg", "download it first"),
        ("file:///home/me/a.jpg", "give the path alone: /home/me/a.jpg"),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_addresses(
    address: str, words: str, kind: Callable[[str], Any], one_line: Callable[..., None]
) -> None:
    with pytest.raises(ImageError) as error:
        load_image(kind(address))
    one_line(error, words)


def test_a_file_that_is_named_like_an_address(tmp_path: Path, small: np.ndarray, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    Image.fromarray(small).save(tmp_path / "http:" / "a.png")
    np.testing.assert_array_equal(load_image("http://a.png"), small)


# -- where images come from ------------------------------------------------------------------------


@pytest.fixture
def png(small: np.ndarray) -> bytes:
    """`small` as a file's bytes."""
    data = io.BytesIO()
    Image.fromarray(small).save(data, "PNG")
    return data.getvalue()


def test_bytes(png: bytes, small: np.ndarray) -> None:
    for source in (png, bytearray(png), memoryview(png), io.BytesIO(png)):
        loaded = read_image(source)
        np.testing.assert_array_equal(loaded.pixels, small)
        assert loaded.size == (48, 32)
        assert loaded.notes == ()


def test_what_was_read_already(small: np.ndarray) -> None:
    loaded = read_image(small)
    assert read_image(loaded) is loaded
    assert load_image(loaded) is loaded.pixels
    assert repr(loaded) == "LoadedImage(48 x 32)"


def test_open_files_are_read_from_their_start_and_left_where_they_were(
    tmp_path: Path, png: bytes, small: np.ndarray
) -> None:
    (tmp_path / "a.png").write_bytes(png)
    with (tmp_path / "a.png").open("rb") as file:
        file.seek(7)
        for _ in range(2):
            np.testing.assert_array_equal(load_image(file), small)
        assert file.tell() == 7


def test_open_files_that_cannot_be_read(tmp_path: Path, png: bytes, one_line: Callable[..., None]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png)
    with path.open(encoding="latin-1") as text, pytest.raises(ImageError) as error:
        load_image(text)  # type: ignore[arg-type]
    one_line(error, str(path), "open it in mode 'rb'")
    with pytest.raises(ImageError) as error:
        load_image(text)  # type: ignore[arg-type]
    one_line(error, str(path), "closed")
    with path.open("ab") as writing, pytest.raises(ImageError) as error:
        load_image(writing)  # type: ignore[arg-type]
    one_line(error, str(path), "cannot be read")


def test_empty_bytes(one_line: Callable[..., None]) -> None:
    for source in (b"", io.BytesIO()):
        with pytest.raises(ImageError) as error:
            load_image(source)
        one_line(error, "is empty")


@pytest.mark.parametrize("name", ["-", "/dev/stdin", Path("-")])
def test_standard_input(name: Any, png: bytes, small: np.ndarray, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(png)))
    np.testing.assert_array_equal(load_image(name), small)


def test_standard_input_that_holds_no_image(monkeypatch: Any, one_line: Callable[..., None]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"hello")))
    with pytest.raises(ImageError) as error:
        load_image("-")
    one_line(error, "standard input: not an image")
    with pytest.raises(ImageError) as error:
        load_image("-")
    one_line(error, "standard input: is empty, or has been read already")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ImageError) as error:
        load_image("-")
    one_line(error, "standard input: is closed")
    terminal = io.TextIOWrapper(io.BytesIO(b""))
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", terminal)
    with pytest.raises(ImageError) as error:
        load_image("-")
    one_line(error, "is a terminal", "gcm match -")


def send(path: Path, data: bytes) -> threading.Thread:
    thread = threading.Thread(target=path.write_bytes, args=(data,), daemon=True)
    thread.start()
    return thread


def test_named_pipes(tmp_path: Path, png: bytes, small: np.ndarray) -> None:
    """As which process substitution arrives, too."""
    os.mkfifo(tmp_path / "pipe")
    thread = send(tmp_path / "pipe", png)
    np.testing.assert_array_equal(load_image(tmp_path / "pipe"), small)
    thread.join()


def test_pipes_by_descriptor(png: bytes, small: np.ndarray) -> None:
    read, write = os.pipe()
    os.write(write, png)
    os.close(write)
    try:
        np.testing.assert_array_equal(load_image(f"/dev/fd/{read}"), small)
    finally:
        os.close(read)


def test_devices(one_line: Callable[..., None]) -> None:
    with pytest.raises(ImageError) as error:
        load_image("/dev/zero")  # has no end
    one_line(error, "is a device")
    with pytest.raises(ImageError) as error:
        load_image("/dev/null")
    one_line(error, "is empty")


def test_what_can_be_read_once_is_not_given_twice(tmp_path: Path, small: np.ndarray) -> None:
    os.mkfifo(tmp_path / "pipe")
    for first, second in (("-", "-"), ("-", "/dev/stdin"), (tmp_path / "pipe", str(tmp_path / "pipe"))):
        with pytest.raises(UsageError, match="given twice but can be read only once"):
            check_read_once(first, second)
    check_read_once("-", tmp_path / "pipe", "a.png", "a.png", small, small, b"", tmp_path / "none", "a\0b")
