"""Images of every kind and origin, matched: through `Matcher` and ``gcm match``."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from gcm.matcher import Matcher

SHIFT = np.array([16, 24])


@pytest.fixture(scope="module")
def pair(photo: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two views of the photo, 16 pixels right and 24 down from each other."""
    return photo[:200, :288].copy(), photo[24:224, 16:304].copy()


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return Matcher("default", device="cpu", precision="float32")


def png(image: NDArray[Any]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG")
    return data.getvalue()


def assert_finds_the_shift(matches: Any) -> None:
    assert len(matches) > 200
    error = np.abs(matches.points0 - matches.points1 - SHIFT).max(axis=1)
    assert np.mean(error < 1) > 0.95


KINDS: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
    "array": lambda image: image,
    "bytes": png,
    "open file": lambda image: io.BytesIO(png(image)),
    "PIL": Image.fromarray,
    "tensor C x H x W": lambda image: torch.from_numpy(image).permute(2, 0, 1),
    "tensor 0..1": lambda image: torch.from_numpy(image / 255.0).requires_grad_(),
    "float 0..255": lambda image: image.astype(np.float32),
    "16 bits": lambda image: image.astype(np.uint16) * 257,
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_give_the_same_matches(
    matcher: Matcher, pair: tuple[NDArray[np.uint8], NDArray[np.uint8]], kind: str
) -> None:
    expected = matcher.match(*pair)
    assert_finds_the_shift(expected)
    matches = matcher.match(*map(KINDS[kind], pair))
    np.testing.assert_array_equal(matches.points0, expected.points0)
    np.testing.assert_array_equal(matches.points1, expected.points1)
    assert matches.info["notes"] == expected.info["notes"]


def test_floats_that_overshoot_by_a_hair(
    matcher: Matcher, pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    """They were read as 0..255 once, all but black, and nothing was found."""
    first = pair[0] / 255.0
    first[50, 60] = 1.02, 1.0, -0.03
    matches = matcher.match(first, pair[1])
    assert_finds_the_shift(matches)
    assert any("clipped" in note for note in matches.info["notes"])


def test_ten_bits_in_sixteen(matcher: Matcher, pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    matches = matcher.match(*(4 * image.astype(np.uint16) for image in pair))
    assert_finds_the_shift(matches)
    assert sum("stretched" in note for note in matches.info["notes"]) == 2


def test_a_jpeg_beyond_the_limit(
    tmp_path: Path, photo: NDArray[np.uint8], pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    """Decoded at half its size; points are in the photo as given."""
    large = cv2.resize(pair[0], (576, 400), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(large).save(tmp_path / "a.jpg", quality=95)
    matcher = Matcher("default", device="cpu", precision="float32", max_pixels=200_000)
    matches = matcher.match(tmp_path / "a.jpg", pair[1])
    assert matches.size0 == (576, 400)
    assert any("decoded at 1/2" in note for note in matches.info["notes"])
    error = np.abs((matches.points0 + 0.5) / 2 - 0.5 - matches.points1 - SHIFT).max(axis=1)
    assert len(matches) > 200
    assert np.mean(error < 1) > 0.95


# -- through the command ---------------------------------------------------------------------------


def gcm(*arguments: object, data: bytes | None = None) -> Result:
    from gcm_cli.app import app

    return CliRunner().invoke(app, ["match", *map(str, arguments)], input=data)


def assert_one_line(done: Result, code: int, *words: str) -> None:
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture
def files(tmp_path: Path, pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> tuple[Path, Path]:
    paths = tmp_path / "a.png", tmp_path / "b.png"
    for path, image in zip(paths, pair, strict=True):
        path.write_bytes(png(image))
    return paths


def test_command_reads_standard_input(files: tuple[Path, Path]) -> None:
    done = gcm("-", files[1], "--json", "--device", "cpu", data=files[0].read_bytes())
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert len(document["keypoints0"]) > 200


def test_command_refuses_standard_input_twice(files: tuple[Path, Path]) -> None:
    assert_one_line(gcm("-", "-", data=files[0].read_bytes()), 2, "can be read only once")


def test_command_tells_what_to_do(tmp_path: Path, files: tuple[Path, Path], monkeypatch: Any) -> None:
    assert_one_line(gcm("https://example.org/a.jpg", files[1]), 1, "download it first")
    assert_one_line(gcm("-", files[1], data=b""), 1, "standard input: is empty")
    assert_one_line(gcm(*files, "--set", "max_pixels=1000"), 1, "--set max_pixels=57600")
    assert_one_line(gcm(*files, "--set", "max_pixels=0"), 2, "max_pixels")
    heic = tmp_path / "photo.heic"
    heic.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *rest: None if name == "pillow_heif" else find_spec(name, *rest),
    )
    assert_one_line(gcm(heic, files[1]), 1, "pip install pillow-heif")


@pytest.mark.e2e
def test_command_reads_process_substitution(files: tuple[Path, Path]) -> None:
    script = f'"{sys.executable}" -m gcm_cli match <(cat "$1") <(cat "$2") --json --device cpu'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *map(str, files)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["keypoints0"]) > 200


@pytest.mark.slow
def test_cases_of_ten_bits(shared: Path, matcher: Matcher) -> None:
    """A stereo pair of which four grey levels were left once: rows agree."""
    folder = shared / "cases"
    matches = matcher.match(folder / "l10bit.png", folder / "r10bit.png")
    assert len(matches) > 300
    assert sum("stretched" in note for note in matches.info["notes"]) == 2
