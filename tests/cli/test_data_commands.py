"""``gcm download``, ``gcm organize-hpatches`` and the lists of ``gcm extract``: faults are told first."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from file_server import FileServer
from typer.testing import CliRunner

from gcm_cli.app import app


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> tuple[int, str, list[str]]:
    """Exit code, stdout and the lines of stderr."""
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr.splitlines()


def zipped(release: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as bundle:
        for path in release.rglob("*"):
            bundle.write(path, path.relative_to(release.parent))
    return archive


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "URL", "--sha256", "abc"], "--sha256 abc: a SHA-256 is 64 hex digits"),
        (["--url", "URL", "--sha256", "x" * 64], "a SHA-256 is 64 hex digits"),
        (["--sha256", "0" * 64], "--sha256 is the hash of the file at --url"),
        (["--url", "URL", "--archive", "a.zip"], "give --archive or --url, not both"),
        (["--url", "URL", "--url", "ftp://127.0.0.1/a.zip"], "not an http or https address"),
        (["--url", "file:///etc/hostname"], "not an http or https address"),
        (["--url", "example.org/a.zip"], "not an http or https address"),
        (["--url", "http://"], "not an http or https address"),
        (["--url", "http://host:port/"], "not an http or https address"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_fetched(
    tmp_path: Path, file_server: FileServer, arguments: list[str], message: str
) -> None:
    code, out, err = run("download", *[file_server.url if word == "URL" else word for word in arguments])
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith("gcm: error: ")
    assert message in err[0]
    assert file_server.asked == []
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_download_leaves_the_archive_and_no_lock(
    tmp_path: Path, tiny_release: Path, file_server: FileServer
) -> None:
    file_server.content = zipped(tiny_release, tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").unlink()
    code, _, err = run("download", "--url", f"{file_server.url}/a[bold]b.zip", "--dest", "D [red]x[/y]")
    assert code == 0, err
    assert any(line.startswith("D [red]x[/y]: 3 sequences") for line in err)
    assert err[-1] == "next: gcm organize-hpatches 'D [red]x[/y]'"
    assert {path.name for path in (tmp_path / "D [red]x[").iterdir()} == {"a[bold]b.zip", "y]"}
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".lock", ".part"}]


def test_a_failed_download_leaves_nothing(tmp_path: Path, file_server: FileServer) -> None:
    code, _, err = run("download", "--url", f"{file_server.url}/missing", "--dest", "new/D")
    assert code == 1
    assert "404" in err[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "it is cut short; fetch it again"),
        (lambda data: data[:5000] + bytes(40) + data[5040:], ".ppm' is damaged; fetch it again"),
        (lambda data: b"<html>busy</html>", "it is a web page"),
    ],
)
def test_a_damaged_archive_is_one_plain_line(
    tmp_path: Path, tiny_release: Path, damage, message: str
) -> None:
    archive = zipped(tiny_release, tmp_path / "a[/b].zip".replace("/", "-"))
    archive.write_bytes(damage(archive.read_bytes()))
    code, out, err = run("download", "--archive", archive.name, "--dest", "D")
    assert (code, out, len(err)) == (1, "", 1)
    assert err[0].startswith("gcm: error: a[-b].zip: not a sound zip or tar archive: ")
    assert message in err[0]


def test_a_full_disk_says_how_much_is_needed(
    tmp_path: Path, tiny_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zipped(tiny_release, tmp_path / "a.zip")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 8, 2))  # type: ignore[attr-defined]
    code, _, (line,) = run("download", "--archive", "a.zip", "--dest", "D")
    assert code == 1
    assert "unpacking needs 18 MB of disk, 0 MB are free" in line


@pytest.mark.parametrize(
    ("source", "destination"), [("R", "R"), ("R", "./R"), ("R", "R/D"), ("A/R", "A"), ("link", "R")]
)
def test_the_release_is_not_organised_into_itself(
    tmp_path: Path, tiny_release: Path, source: str, destination: str
) -> None:
    shutil.copytree(tiny_release, tmp_path / "R")
    shutil.copytree(tiny_release, tmp_path / "A" / "R")
    (tmp_path / "link").symlink_to("R")
    before = sorted(tmp_path.rglob("*"))
    code, out, (line,) = run("organize-hpatches", source, destination)
    assert (code, out) == (2, "")
    assert "give another folder for the organised files" in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_release_next_to_the_organised_folder_will_do(tmp_path: Path, tiny_release: Path) -> None:
    shutil.copytree(tiny_release, tmp_path / "hpatches-sequences-release")
    assert run("organize-hpatches", ".", "Datasets/hpatches")[0] == 0


def extract(*arguments: str) -> tuple[int, str, list[str]]:
    return run("extract", "--algorithm", "orb", "--output-dir", "out", *arguments)


def test_homographies_that_cannot_be_used_are_told_once(tmp_path: Path, tiny_release: Path) -> None:
    (tmp_path / "bad").write_text("1 0 0\n0 1 0\n")
    place = tiny_release / "v_boat"
    lines = [
        f"{place}/1.ppm {place}/{k}.ppm {name}" for k, name in enumerate(("bad", "none", "bad"), start=2)
    ]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    code, out, err = extract("--pairs", "pairs.txt", "--json", "--quiet")
    assert code == 0, err
    assert json.loads(out)["done"] == 3
    (warning,) = err
    assert "pairs.txt: 2 of 2 homography files cannot be used" in warning
    assert "bad: not a 3 x 3 homography" in warning
    assert f"relative paths start at the folder of the list, {tmp_path}" in warning


def test_a_list_of_files_that_are_elsewhere(tmp_path: Path, tiny_release: Path) -> None:
    (tmp_path / "lists").mkdir()
    shutil.copytree(tiny_release, tmp_path / "R")
    (tmp_path / "lists" / "pairs.txt").write_text("R/v_boat/1.ppm R/v_boat/2.ppm\n")
    code, out, (line,) = extract("--pairs", "lists/pairs.txt")
    assert (code, out) == (1, "")
    assert "none of the images it names is there, beginning with lists/R/v_boat/1.ppm" in line
    assert f"relative paths start at the folder of the list, {tmp_path / 'lists'}" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "utf-16"])
def test_lists_in_other_encodings(tmp_path: Path, tiny_release: Path, encoding: str) -> None:
    folder = "façade" if encoding == "latin-1" else "左边"
    shutil.copytree(tiny_release / "v_boat", tmp_path / folder)
    (tmp_path / "pairs.txt").write_text(f"{folder}/1.ppm {folder}/2.ppm\n", encoding=encoding)
    code, out, err = extract("--pairs", "pairs.txt", "--json", "--quiet")
    if encoding == "utf-16":
        assert (code, json.loads(out)["done"], err) == (0, 1, [])
        return
    assert (code, out, len(err)) == (1, "", 1)
    assert "pairs.txt, line 1: cannot be read as a list of pairs, for it is no UTF-8 text" in err[0]
    assert "iconv -f GBK -t UTF-8 pairs.txt" in err[0]
    assert not (tmp_path / "out").exists()


def test_the_help_says_where_relative_paths_start() -> None:
    text = " ".join(run("extract", "--help")[1].replace("│", " ").split())
    assert "relative paths start at the list's folder" in text
