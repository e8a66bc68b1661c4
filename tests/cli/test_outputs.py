"""`check_outputs`, by itself and in the commands besides match that write what a user names."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gcm.errors import OutputError, UsageError
from gcm_cli.app import app
from gcm_cli.outputs import check_outputs


@pytest.mark.parametrize(
    ("plot", "code", "words"),
    [
        ("a.gif", 2, "unknown image suffix '.gif'; use one of .png, .jpg, .jpeg, .webp, "),
        ("folder.png", 1, "--plot folder.png: is a folder"),
        ("file/a.png", 1, "--plot file/a.png: cannot be written (Not a directory)"),
        (f"{'x' * 300}.png", 1, "cannot be written (File name too long)"),
    ],
)
def test_evaluate_checks_its_plot_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plot: str, code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    # There is no such algorithm and no data set: that would be told next.
    done = CliRunner().invoke(app, ["evaluate", "X", "--plot", plot])
    assert done.exit_code == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_can_be_written_passes_and_leaves_nothing(tmp_path: Path) -> None:
    photo, existing = tmp_path / "photo.png", tmp_path / "existing.json"
    photo.write_bytes(b"1")
    existing.write_bytes(b"2")
    (tmp_path / "dangling.png").symlink_to("not there/yet.png")
    names = set(tmp_path.iterdir())
    outputs = {
        "--output": existing,
        "--draw": tmp_path / "new" / "deep" / "d.png",
        "--warp": tmp_path / "dangling.png",
        "--plot": None,
    }
    check_outputs(outputs, [photo, "-", None, tmp_path / "missing.png", "a\0b"])
    assert set(tmp_path.iterdir()) == names
    assert existing.read_bytes() == b"2"


def test_links_that_meet(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "hard").hardlink_to(tmp_path / "a")
    (tmp_path / "soft").symlink_to("new")
    for one, other in (("a", "hard"), ("soft", "new")):
        with pytest.raises(UsageError, match="both name"):
            check_outputs({"--draw": tmp_path / one, "--warp": tmp_path / other})


def test_impossible_names(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no file can have that name|cannot be written"):
        check_outputs({"--draw": tmp_path / "a\0b.png"})
    with pytest.raises(OutputError, match="is no regular file"):
        check_outputs({"--draw": Path("/dev/null")})
