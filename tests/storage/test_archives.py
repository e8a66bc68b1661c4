"""Archives, well-meant and hostile."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from gcm.errors import DatasetError, OutputError
from gcm.storage import archives
from gcm.storage.archives import extract_archive


def everything(path: PurePosixPath) -> PurePosixPath:
    return PurePosixPath(path.name)


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return path


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as bundle:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_takes_what_is_wanted_and_goes_on(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "a.bin", {"x/1.ppm": b"one", "x/2.ppm": b"two", "x/notes.txt": b"no"})

    def images(path: PurePosixPath) -> PurePosixPath | None:
        return PurePosixPath("got", path.name) if path.suffix == ".ppm" else None

    seen: list[tuple[int, int]] = []
    out = tmp_path / "out"
    assert extract_archive(archive, out, images, on_progress=lambda *a: seen.append(a)) == 2
    assert sorted(p.name for p in (out / "got").iterdir()) == ["1.ppm", "2.ppm"]
    assert len(seen) == 3
    assert seen[-1][0] <= seen[-1][1]
    (out / "got" / "1.ppm").unlink()
    before = (out / "got" / "2.ppm").stat()
    assert extract_archive(archive, out, images) == 1
    assert (out / "got" / "1.ppm").read_bytes() == b"one"
    assert (out / "got" / "2.ppm").stat() == before


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../evil", "/tmp/gcm-evil", "a/../../evil", "C:/evil", "a\\..\\evil"])
def test_paths_that_escape_are_refused(tmp_path: Path, make, name: str) -> None:
    archive = make(tmp_path / "a.bin", {name: b"evil"})
    with pytest.raises(DatasetError, match="points out of the archive"):
        extract_archive(archive, tmp_path / "out", everything)
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as bundle:
        info = tarfile.TarInfo("x/1.ppm")
        info.type, info.linkname = kind, "/etc/hostname"
        bundle.addfile(info)
    with pytest.raises(DatasetError, match="link or device"):
        extract_archive(tmp_path / "a.tar", tmp_path / "out", everything)
    assert not (tmp_path / "out").exists()


def test_links_in_zip_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("x/1.ppm")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr(info, "/etc/hostname")
    with pytest.raises(DatasetError, match="link or device"):
        extract_archive(tmp_path / "a.zip", tmp_path / "out", everything)


def test_a_link_in_the_destination_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    archive = make_zip(tmp_path / "a.zip", {"1.ppm": b"one"})
    with pytest.raises(Exception, match="symbolic link"):
        extract_archive(archive, tmp_path / "out", everything)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_bombs_are_refused(tmp_path: Path, make, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make(tmp_path / "a.bin", {f"{k}.ppm": bytes(10_000) for k in range(4)})
    monkeypatch.setattr(archives, "TOTAL_LIMIT", 30_000)
    with pytest.raises(DatasetError, match="more than any data set"):
        extract_archive(archive, tmp_path / "out", everything)
    monkeypatch.setattr(archives, "TOTAL_LIMIT", 1 << 30)
    monkeypatch.setattr(archives, "MEMBER_LIMIT", 9_999)
    with pytest.raises(DatasetError, match="too large"):
        extract_archive(archive, tmp_path / "out2", everything)
    assert not (tmp_path / "out2").exists()
    monkeypatch.setattr(archives, "MEMBER_LIMIT", 1 << 20)
    monkeypatch.setattr(archives, "COUNT_LIMIT", 2)
    with pytest.raises(DatasetError, match="more than any data set"):
        extract_archive(archive, tmp_path / "out3", everything)


def test_a_zip_that_lies_about_a_length(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"1.ppm": os.urandom(5000)})
    data = bytearray(archive.read_bytes())
    for start in (22, data.index(b"PK\x01\x02") + 24):  # the length, in both headers
        assert int.from_bytes(data[start : start + 4], "little") == 5000
        data[start : start + 4] = (100).to_bytes(4, "little")
    archive.write_bytes(data)
    with pytest.raises(DatasetError):
        extract_archive(archive, tmp_path / "out", everything)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_damage_is_told(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "a.bin", {f"{k}.ppm": os.urandom(20_000) for k in range(3)})
    archive.write_bytes(archive.read_bytes()[:30_000])
    with pytest.raises(DatasetError, match="fetch it again"):
        extract_archive(archive, tmp_path / "out", everything)
    assert not [p for p in tmp_path.rglob("*.ppm") if p.stat().st_size != 20_000]


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04" + b"x" * 100])
def test_not_an_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DatasetError, match="not a sound zip or tar archive"):
        extract_archive(tmp_path / "a.zip", tmp_path / "out", everything)
    with pytest.raises(DatasetError, match="no such archive"):
        extract_archive(tmp_path / "none.zip", tmp_path / "out", everything)
    with pytest.raises(DatasetError, match="is a folder"):
        extract_archive(tmp_path, tmp_path / "out", everything)


TAR_MODES = ["w", "w:gz", "w:xz", "w:bz2"]
ZIP_METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
CONTENTS = {f"v_boat/{k}.ppm": bytes([k]) * 500 + random.Random(k).randbytes(20_000) for k in range(3)}


def tar_bytes(mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as bundle:  # type: ignore[call-overload]
        for name, content in CONTENTS.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def zip_bytes(method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as bundle:
        for name, content in CONTENTS.items():
            bundle.writestr(name, content)
    return stream.getvalue()


def flipped(data: bytes, place: int, count: int = 40) -> bytes:
    damaged = bytearray(data)
    for k in range(place, place + count):
        damaged[k] ^= 0x55
    return bytes(damaged)


def with_zip_fields(data: bytes, local: tuple[int, int], central: tuple[int, int]) -> bytes:
    """Change one byte of the first member's header, and the same in the directory."""
    changed = bytearray(data)
    changed[local[0]] = local[1]
    changed[data.index(b"PK\x01\x02") + central[0]] = central[1]
    return bytes(changed)


def unpack(tmp_path: Path, data: bytes) -> str:
    """The error of unpacking these bytes, after a look at what lies there then."""
    (tmp_path / "a.bin").write_bytes(data)
    with pytest.raises(DatasetError) as caught:
        extract_archive(tmp_path / "a.bin", tmp_path / "out", everything)
    for path in (tmp_path / "out").rglob("*"):
        assert path.read_bytes() == CONTENTS[f"v_boat/{path.name}"]
    message = str(caught.value)
    assert "\n" not in message
    for innards in ("Error -", "method gz", "ReadError", "ZipInfo", "CRC", "magic", "end-of-stream"):
        assert innards not in message
    return message


@pytest.mark.parametrize(
    "data",
    [
        *(tar_bytes(mode) for mode in TAR_MODES),
        *(zip_bytes(method) for method in ZIP_METHODS),
    ],
    ids=[*TAR_MODES, *(f"zip {method}" for method in ZIP_METHODS)],
)
def test_an_archive_cut_short(tmp_path: Path, data: bytes) -> None:
    assert "is cut short; fetch it again" in unpack(tmp_path, data[: len(data) // 2])


def test_a_tar_cut_between_two_members(tmp_path: Path) -> None:
    whole = tar_bytes("w")
    second = whole.index(b"v_boat/1.ppm")
    assert "it is cut short" in unpack(tmp_path, whole[:second])


@pytest.mark.parametrize("method", ZIP_METHODS)
def test_damage_in_a_zip_names_the_member(tmp_path: Path, method: int) -> None:
    assert "'v_boat/1.ppm' is damaged" in unpack(tmp_path, flipped(zip_bytes(method), 30_000))


@pytest.mark.parametrize("mode", TAR_MODES[1:])
@pytest.mark.parametrize("place", [0.5, 0.9])
def test_damage_in_a_compressed_tar(tmp_path: Path, mode: str, place: float) -> None:
    # Of gzip it shows only in the checksum at the end; what was written by then must go.
    data = tar_bytes(mode)
    assert "damaged" in unpack(tmp_path, flipped(data, int(place * len(data))))


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_header_in_a_tar_is_not_its_end(tmp_path: Path, packed: bool) -> None:
    data = tar_bytes("w")
    data = flipped(data, data.index(b"v_boat/1.ppm"), 4)
    assert "it is damaged" in unpack(tmp_path, gzip.compress(data) if packed else data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_zip_fields(zip_bytes(0), (6, 1), (8, 1)), "'v_boat/0.ppm' is protected by a password"),
        (with_zip_fields(zip_bytes(0), (8, 9), (10, 9)), "'v_boat/0.ppm' is compressed in a way"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "it is 7z; repack it"),
        (b"Rar!\x1a\x07" + bytes(600), "it is rar; repack it"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "it is zstd; repack it"),
        (gzip.compress(b"some text" * 100, mtime=0), "a compressed file with no archive in it"),
        (b"<!DOCTYPE html><html></html>", "it is a web page"),
        (b"", "it is empty"),
        (b"PK\x03\x04" + bytes(100), "it is cut short"),
        (b"version https://git-lfs.github.com/spec/v1\n", "another kind of file"),
    ],
)
def test_what_cannot_be_unpacked_is_told_by_kind(tmp_path: Path, data: bytes, message: str) -> None:
    assert message in unpack(tmp_path, data)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_full_disk_says_how_much_is_needed(
    tmp_path: Path, make, monkeypatch: pytest.MonkeyPatch, full_disk
) -> None:
    archive = make(tmp_path / "a.bin", {f"{k}.ppm": os.urandom(3_000_000) for k in range(3)})
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 7_900_000, 7_900_000)  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(DatasetError, match=r"needs (about )?26 MB of disk, 7 MB are free"):
            extract_archive(archive, tmp_path / "out", everything)
    with full_disk(1_000_000), pytest.raises(OutputError, match="the disk is full; about 9 MB are still"):
        extract_archive(archive, tmp_path / "out", everything)
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_is_noticed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {"1.ppm": b"one"})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 8, 2))  # type: ignore[attr-defined]
    with pytest.raises(DatasetError, match="free some space"):
        extract_archive(archive, tmp_path / "out", everything)
