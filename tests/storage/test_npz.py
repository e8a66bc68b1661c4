"""Reading npz files in memory: as numpy does, and no damage goes unseen."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from gcm.storage.npz import Npz

ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "a": np.arange(12.0).reshape(6, 2),
    "b": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "empty": np.zeros((0, 2)),
}


def saved(**arrays: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def with_comment(content: bytes) -> bytes:
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as bundle:
        bundle.comment = b"made elsewhere"
    return stream.getvalue()


def compressed(content: bytes) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **np.load(io.BytesIO(content)))
    return stream.getvalue()


@pytest.mark.parametrize("change", [bytes, compressed, with_comment, lambda content: b"prefix" + content])
def test_reads_what_numpy_reads(change: Any) -> None:
    content = change(saved(**ARRAYS))
    found = Npz(content).arrays([*ARRAYS, "another"])
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert np.array_equal(found[name], array)
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
    assert list(Npz(content).arrays(["b"])) == ["b"]


def test_every_flipped_byte_is_noticed() -> None:
    sound = saved(a=ARRAYS["a"])
    checksum = Npz(sound).checksum
    assert checksum == Npz(bytes(bytearray(sound))).checksum
    for place in range(len(sound)):
        damaged = bytearray(sound)
        damaged[place] ^= 0x10
        assert Npz(bytes(damaged)).checksum != checksum, place
    start = sound.index(ARRAYS["a"].tobytes())
    damaged = bytearray(sound)
    damaged[start] ^= 0x10
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        Npz(bytes(damaged)).arrays(["a"])


def test_changed_numbers_change_the_checksum() -> None:
    other = ARRAYS["a"].copy()
    other[3, 1] += 1e-12
    assert Npz(saved(a=other)).checksum != Npz(saved(a=ARRAYS["a"])).checksum


@pytest.mark.parametrize("length", [0, 1, 21, 22, 100, -1])
def test_a_file_cut_short_is_damage(length: int) -> None:
    with pytest.raises(zipfile.BadZipFile):
        Npz(saved(**ARRAYS)[:length]).arrays(["a"])
