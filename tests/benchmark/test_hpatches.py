"""HPatches: unpacking and organising."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gcm.benchmark.hpatches import (
    HIGH_RESOLUTION,
    SEQUENCES,
    Link,
    complete_sequences,
    fetch_hpatches,
    organise_hpatches,
    unpack_hpatches,
)
from gcm.benchmark.layout import SEQUENCE_FILES
from gcm.benchmark.pairs import read_homography
from gcm.errors import DatasetError, DownloadError


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file with what tells a rewrite: inode, length, time."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_ino, path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def zipped(release: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as bundle:
        for path in sorted(release.rglob("*")):
            bundle.write(path, Path("hpatches-sequences-release") / path.relative_to(release))
        bundle.writestr("__MACOSX/v_boat/1.ppm", "resource fork")
        bundle.writestr("hpatches-sequences-release/README", "text")
    return archive


def test_the_sequences_of_the_benchmark() -> None:
    assert len(SEQUENCES) == len(set(SEQUENCES)) == 108
    assert sum(name.startswith("i_") for name in SEQUENCES) == 52
    assert list(SEQUENCES) == sorted(SEQUENCES)
    assert len(HIGH_RESOLUTION) == 8
    assert not HIGH_RESOLUTION & set(SEQUENCES)


def test_unpacks_what_the_benchmark_needs_once(tmp_path: Path, tiny_release: Path) -> None:
    archive = zipped(tiny_release, tmp_path / "a.zip")
    assert unpack_hpatches(archive, tmp_path / "out") == ["i_fog", "v_boat", "v_wall"]
    assert {p.name for p in (tmp_path / "out" / "v_boat").iterdir()} == set(SEQUENCE_FILES)
    assert not (tmp_path / "out" / "v_talent").exists()
    assert (tmp_path / "out/v_boat/3.ppm").read_bytes() == (tiny_release / "v_boat/3.ppm").read_bytes()
    before = snapshot(tmp_path / "out")
    assert unpack_hpatches(archive, tmp_path / "out") == ["i_fog", "v_boat", "v_wall"]
    assert snapshot(tmp_path / "out") == before


def test_unpacking_goes_on_after_a_kill(tmp_path: Path, tiny_release: Path) -> None:
    archive = zipped(tiny_release, tmp_path / "a.zip")
    unpack_hpatches(archive, tmp_path / "whole")
    unpack_hpatches(archive, tmp_path / "out")
    (tmp_path / "out/.unpacked.json").unlink()  # as if killed on the way
    (tmp_path / "out/v_boat/3.ppm").unlink()
    (tmp_path / "out/v_boat/.3.0123abcd.ppm").write_bytes(b"half")
    unpack_hpatches(archive, tmp_path / "out")
    assert {k: v[1] for k, v in snapshot(tmp_path / "out").items()} == {
        k: v[1] for k, v in snapshot(tmp_path / "whole").items()
    }


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr("photos/1.ppm", "x")
    with pytest.raises(DatasetError, match="holds no HPatches sequence"):
        unpack_hpatches(tmp_path / "a.zip", tmp_path / "out")


def test_offline_takes_an_archive_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="GCM_OFFLINE=1 forbids"):
        fetch_hpatches(tmp_path)
    (tmp_path / "hpatches-sequences-release.tar.gz").write_bytes(b"brought by hand")
    assert fetch_hpatches(tmp_path).name == "hpatches-sequences-release.tar.gz"


def test_organises_and_lists(tmp_path: Path, tiny_release: Path) -> None:
    report = organise_hpatches(tiny_release, tmp_path / "D")
    assert (report.pairs, report.written, report.left_out) == (15, 33, ["v_talent"])
    assert report.sequences == ["i_fog", "v_boat", "v_wall"]
    assert report.missing == [name for name in SEQUENCES if name not in report.sequences]
    lines = (tmp_path / "D/image_pairs.txt").read_text().splitlines()
    assert lines[0] == (
        "illumination/i_fog/i_fog_1.ppm illumination/i_fog/i_fog_2.ppm illumination/i_fog/i_fog_H_1_2"
    )
    assert (
        lines[14]
        == "viewpoint/v_wall/v_wall_1.ppm viewpoint/v_wall/v_wall_6.ppm viewpoint/v_wall/v_wall_H_1_6"
    )
    for line in lines:
        for name in line.split():
            assert (tmp_path / "D" / name).is_file()
    copied = tmp_path / "D/viewpoint/v_boat/v_boat_4.ppm"
    assert copied.read_bytes() == (tiny_release / "v_boat/4.ppm").read_bytes()


@pytest.mark.parametrize("link", list(Link))
def test_a_second_run_changes_nothing(tmp_path: Path, tiny_release: Path, link: Link) -> None:
    source_before = snapshot(tiny_release)
    first = organise_hpatches(tiny_release, tmp_path / "D", link=link)
    before = snapshot(tmp_path / "D")
    second = organise_hpatches(tiny_release, tmp_path / "D", link=link)
    assert (first.written, second.written, second.pairs) == (33, 0, 15)
    assert snapshot(tmp_path / "D") == before
    assert snapshot(tiny_release) == source_before
    file = tmp_path / "D/illumination/i_fog/i_fog_H_1_2"
    assert file.is_symlink() == (link is Link.SYMBOLIC)
    assert file.samefile(tiny_release / "i_fog/H_1_2") == (link is not Link.COPY)


def test_linking_leaves_rights_of_the_source_alone(tmp_path: Path, tiny_release: Path) -> None:
    source = tmp_path / "S"
    shutil.copytree(tiny_release, source)
    for path in source.rglob("*.ppm"):
        path.chmod(0o400)
    organise_hpatches(source, tmp_path / "D", link=Link.HARD)
    assert (source / "i_fog/1.ppm").stat().st_mode & 0o777 == 0o400


def test_a_copy_takes_a_links_place_not_its_target(tmp_path: Path, tiny_release: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_release, other)
    organise_hpatches(other, tmp_path / "D", link=Link.SYMBOLIC)
    (other / "i_fog/1.ppm").write_bytes((other / "v_wall/1.ppm").read_bytes())
    organise_hpatches(tiny_release, tmp_path / "D")
    assert (other / "i_fog/1.ppm").read_bytes() == (other / "v_wall/1.ppm").read_bytes()
    organised = tmp_path / "D/illumination/i_fog/i_fog_1.ppm"
    assert organised.read_bytes() == (tiny_release / "i_fog/1.ppm").read_bytes()


def test_goes_on_after_a_kill(tmp_path: Path, tiny_release: Path) -> None:
    organise_hpatches(tiny_release, tmp_path / "whole")
    organise_hpatches(tiny_release, tmp_path / "D")
    (tmp_path / "D/image_pairs.txt").unlink()
    (tmp_path / "D/viewpoint/v_wall/v_wall_5.ppm").unlink()
    (tmp_path / "D/viewpoint/v_wall/.v_wall_5.0123abcd.ppm").write_bytes(b"half")
    assert organise_hpatches(tiny_release, tmp_path / "D").written == 1
    whole = {
        p.relative_to(tmp_path / "whole"): p.read_bytes()
        for p in (tmp_path / "whole").rglob("*")
        if p.is_file()
    }
    again = {
        p.relative_to(tmp_path / "D"): p.read_bytes() for p in (tmp_path / "D").rglob("*") if p.is_file()
    }
    assert again == whole


def test_faulty_sequences_are_named_and_left_out(tmp_path: Path, tiny_release: Path) -> None:
    source = tmp_path / "with space" / "release"
    shutil.copytree(tiny_release, source)
    (source / "i_fog/4.ppm").unlink()
    (source / "v_boat/H_1_3").write_text("1 0 0\n0 1 0\n0 0 nan\n")
    image = source / "v_wall/2.ppm"
    image.write_bytes(image.read_bytes()[:500])
    report = organise_hpatches(source, tmp_path / "D")
    assert report.sequences == []
    assert set(report.faulty) == {"i_fog", "v_boat", "v_wall"}
    assert "lacks 4.ppm" in report.faulty["i_fog"]
    assert "H_1_3" in report.faulty["v_boat"]
    assert "2.ppm" in report.faulty["v_wall"]
    assert not (tmp_path / "D/image_pairs.txt").exists()


def test_the_folder_above_will_do_and_nothing_will_not(tmp_path: Path, tiny_release: Path) -> None:
    assert organise_hpatches(tiny_release.parent, tmp_path / "D").pairs == 15
    with pytest.raises(DatasetError, match="holds no HPatches sequences"):
        organise_hpatches(tmp_path, tmp_path / "E")
    with pytest.raises(DatasetError, match="no such folder"):
        organise_hpatches(tmp_path / "none", tmp_path / "E")


@pytest.mark.slow
def test_real_sequences(shared: Path, tmp_path: Path) -> None:
    report = organise_hpatches(shared / "data/oxford-dev", tmp_path, link=Link.SYMBOLIC)
    assert (report.pairs, report.faulty) == (20, {})
    assert report.sequences == ["i_bikes", "i_leuven", "v_boat", "v_graf"]
    assert complete_sequences(shared / "data/oxford-dev") == report.sequences


@pytest.mark.parametrize("text", ["", "1 2 3\n", "a b c\n" * 3, "0 0 0\n" * 3, "inf 0 0\n0 1 0\n0 0 1\n"])
def test_homographies_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "H").write_text(text)
    with pytest.raises(DatasetError):
        read_homography(tmp_path / "H")
    with pytest.raises(DatasetError, match="no such file"):
        read_homography(tmp_path / "none")


def test_homography_is_read(tmp_path: Path) -> None:
    (tmp_path / "H").write_text("1e0 0 5\n0 1 -2.5\n0 0 1\n")
    assert np.array_equal(read_homography(tmp_path / "H"), [[1, 0, 5], [0, 1, -2.5], [0, 0, 1]])


def test_links_are_relocatable_only_as_promised(tmp_path: Path, tiny_release: Path) -> None:
    organise_hpatches(Path(os.path.relpath(tiny_release)), tmp_path / "D", link=Link.SYMBOLIC)
    assert (tmp_path / "D/illumination/i_fog/i_fog_1.ppm").readlink().is_absolute()
