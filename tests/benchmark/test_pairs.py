"""Lists of pairs, as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gcm.benchmark.growing import name_beside
from gcm.benchmark.pairs import Pair, check_files, name_pairs, read_homography, read_pairs
from gcm.benchmark.poses import read_pose_pairs
from gcm.errors import DatasetError
from gcm.scene.intrinsics import read_intrinsics
from gcm.scene.photos import Photo
from gcm.storage.yaml_files import read_yaml


def listed(tmp_path: Path, text: str) -> list[Pair]:
    (tmp_path / "pairs.txt").write_text(text, encoding="utf-8")
    return read_pairs(tmp_path / "pairs.txt")


def test_plain_lines(tmp_path: Path) -> None:
    pairs = listed(
        tmp_path, "\ufeff# a comment\n\nx/v_a/a_1.ppm x/v_a/a_2.ppm x/v_a/H\r\n/abs/c.png  d.png\n"
    )
    assert pairs[0] == Pair(
        tmp_path / "x/v_a/a_1.ppm", tmp_path / "x/v_a/a_2.ppm", tmp_path / "x/v_a/H", "a_1_a_2"
    )
    assert (pairs[0].subset, pairs[0].sequence) == ("x", "v_a")
    assert (pairs[1].image0, pairs[1].homography, pairs[1].name) == (Path("/abs/c.png"), None, "c_d")


@pytest.mark.parametrize(
    "line",
    [
        '"my photos/a 1.png" "my photos/b 2.png"',
        "my photos/a 1.png\tmy photos/b 2.png",
        "my photos/a 1.png my photos/b 2.png",
    ],
)
def test_paths_with_spaces(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    for name in ("a 1.png", "b 2.png", "H 1"):
        (folder / name).write_text("")
    (pair,) = listed(tmp_path, line + "\n")
    assert (pair.image0, pair.image1) == (folder / "a 1.png", folder / "b 2.png")
    separator = "\t" if "\t" in line else " "
    third = '"my photos/H 1"' if '"' in line else "my photos/H 1"
    (pair,) = listed(tmp_path, f"{line}{separator}{third}\n")
    assert pair.homography == folder / "H 1"


def test_ambiguous_spaces_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b", "a b", "b c", "c"):
        (tmp_path / name).write_text("")
    with pytest.raises(DatasetError, match="several ways"):
        listed(tmp_path, "a b c\n")


@pytest.mark.parametrize("line", ["only-one", "a b c d"])
def test_bad_lines_name_their_place(tmp_path: Path, line: str) -> None:
    with pytest.raises(DatasetError, match="line 2"):
        listed(tmp_path, f"a b\n{line}\n")


def test_no_list(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such list"):
        read_pairs(tmp_path / "none.txt")
    with pytest.raises(DatasetError, match="lists no pairs"):
        listed(tmp_path, "# nothing\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_pairs(tmp_path / "binary")


def test_relative_to_another_root(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("a.png b.png\n")
    assert read_pairs(tmp_path / "pairs.txt", Path("/data"))[0].image0 == Path("/data/a.png")


def test_names_tell_pairs_apart() -> None:
    rows = [("/d/s1/1.png", "/d/s1/2.png"), ("/d/s2/1.png", "/d/s2/2.png"), ("/d/s1/x.png", "/d/s1/2.png")]
    rows += [("/d/s1/1.jpg", "/d/s1/2.png"), ("/d/q/a_b.png", "/d/q/c.png"), ("/d/q/a.png", "/d/q/b_c.png")]
    rows += [rows[0]]
    named = name_pairs([Pair(Path(a), Path(b)) for a, b in rows])
    names = [pair.name for pair in named]
    assert len(names) == len(set(names)) == 6  # the repeated pair is kept once
    assert names[1] == "s2-1_s2-2"
    assert names[2] == "x_2"
    assert [pair.image0 for pair in named][:2] == [Path("/d/s1/1.png"), Path("/d/s2/1.png")]
    assert names == [pair.name for pair in name_pairs([Pair(Path(a), Path(b)) for a, b in rows])]


@pytest.mark.parametrize(
    ("first", "second"), [("IMG_1", "img_1"), ("Été", "E\u0301te\u0301"), ("straße", "STRASSE"), ("a", "a")]
)
def test_names_differ_for_every_file_system(first: str, second: str) -> None:
    """Windows and macOS would put the matches of one pair into the file of the other."""
    rows = [(f"/d/x/{first}.jpg", "/d/x/b.jpg"), (f"/d/y/{second}.jpg", "/d/y/b.jpg")]
    names = [pair.name for pair in name_pairs([Pair(Path(a), Path(b)) for a, b in rows])]
    assert names == [f"x-{first}_x-b", f"y-{second}_y-b"]
    places = {f"{first}_b": {"image0": f"d/x/{first}.jpg", "image1": "d/x/b.jpg"}}
    beside = name_beside([Pair(Path(rows[1][0]), Path(rows[1][1]), name=f"{second}_b")], places)
    assert beside[0].name == f"y-{second}_y-b"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_text_as_windows_writes_it(tmp_path: Path, encoding: str) -> None:
    """With a byte order mark, and two characters at the end of a line."""

    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text, encoding=encoding, newline="\r\n")
        return tmp_path / name

    (pair,) = read_pairs(write("pairs.txt", "# two photos\na.png b.png H\n"))
    assert (pair.image0.name, pair.image1.name, pair.homography) == ("a.png", "b.png", tmp_path / "H")
    homography = read_homography(write("H", "1 0 5\n0 1 6\n0 0 1\n"))
    assert homography[:2, 2].tolist() == [5, 6]
    numbers = " ".join(["1 0 0 0 1 0 0 0 1"] * 2 + ["1 0 0 1 0 1 0 0 0 0 1 0 0 0 0 1"])
    (posed,) = read_pose_pairs(write("poses.txt", f"a.png b.png 0 0 {numbers}\n"))
    assert posed.pose_0_to_1[0, 3] == 1
    assert read_yaml(write("c.yml", "max_side: 640\n")) == {"max_side": 640}
    photo = Photo(tmp_path / "a.png", "a.png", (640, 480))
    for name, text in (
        ("k.txt", "800 0 320\n0 800 240\n0 0 1\n"),
        ("k.json", '{"K": [[800, 0, 320], [0, 800, 240], [0, 0, 1]]}'),
        ("cameras.txt", "# of COLMAP\n1 PINHOLE 640 480 800 800 320.5 240.5\n"),
    ):
        (camera,) = read_intrinsics(str(write(name, text)), [photo])
        assert camera.matrix.tolist() == [[800, 0, 320], [0, 800, 240], [0, 0, 1]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_lists_are_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "pairs.txt").write_text("目录/左.png\t目录/右.png\n", encoding=encoding)
    (pair,) = read_pairs(tmp_path / "pairs.txt")
    assert (pair.image0, pair.image1) == (tmp_path / "目录/左.png", tmp_path / "目录/右.png")


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "utf-16-le"])
def test_other_encodings_are_refused_in_one_line(tmp_path: Path, encoding: str) -> None:
    name = "façade" if encoding == "latin-1" else "左边"
    (tmp_path / "pairs.txt").write_text(f"a.png b.png\n{name}.png b.png\n", encoding=encoding)
    place = "" if encoding == "utf-16-le" else ", line 2"
    with pytest.raises(DatasetError, match=rf"pairs.txt{place}: .*no UTF-8 text; convert it, as with: iconv"):
        read_pairs(tmp_path / "pairs.txt")


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).touch()
    (tmp_path / "H").write_text("1 0 0\n0 1 0\n0 0 1\n")
    (tmp_path / "bad").write_bytes(b"\x80\x81")
    pairs = listed(tmp_path, "a.png b.png H\na.png c.png\n")
    assert check_files(pairs, tmp_path / "pairs.txt") == []
    pairs = listed(tmp_path, "a.png b.png H\na.png x.png none\nb.png c.png bad\nb.png x.png bad\n")
    images, homographies = check_files(pairs, tmp_path / "pairs.txt")
    assert f"1 of 4 images are not there, beginning with {tmp_path / 'x.png'}" in images
    assert f"start at the folder of the list, {tmp_path}" in images
    assert "2 of 3 homography files cannot be used" in homographies
    assert f"beginning with {tmp_path / 'none'}: no such file" in homographies
    pairs = listed(tmp_path, "sub/a.png sub/b.png\n")
    with pytest.raises(DatasetError, match=r"none of the images it names is there, .* with .*sub/a\.png"):
        check_files(pairs, tmp_path / "pairs.txt")


def test_a_homography_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "H").mkdir()
    pairs = listed(tmp_path, "a.png a.png H\n")
    (message,) = check_files(pairs, tmp_path / "pairs.txt")
    assert f"{tmp_path / 'H'}: cannot be read (Is a directory)" in message
