"""Archives, well-meant and hostile."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from gcm.errors import DatasetError
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


def test_a_full_disk_is_noticed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {"1.ppm": b"one"})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 8, 2))  # type: ignore[attr-defined]
    with pytest.raises(DatasetError, match="free some space"):
        extract_archive(archive, tmp_path / "out", everything)
