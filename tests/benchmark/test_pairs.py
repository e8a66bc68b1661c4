"""Lists of pairs, as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gcm.benchmark.pairs import Pair, name_pairs, read_pairs
from gcm.errors import DatasetError


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
