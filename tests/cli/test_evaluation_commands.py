"""extract, convert and evaluate on a small data set, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gcm.benchmark.evaluate import evaluate
from gcm.benchmark.hpatches import Link, organise_hpatches
from gcm_cli.app import app
from gcm_cli.console import plural


def gcm(*arguments: str, code: int = 0, columns: int = 80) -> Result:
    result = CliRunner(env={"COLUMNS": str(columns)}).invoke(app, list(arguments))
    assert result.exit_code == code, result.stderr
    return result


@pytest.fixture
def home(tmp_path: Path, tiny_release: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    organise_hpatches(tiny_release, tmp_path / "Datasets/hpatches", link=Link.SYMBOLIC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_pair(home: Path, second: str = "v_boat_2.ppm") -> str:
    folder = home / "Datasets/hpatches/viewpoint/v_boat"
    (home / "one.txt").write_text(f'"{folder}/v_boat_1.ppm"\t"{folder}/{second}"\n')
    return "one.txt"


def extract_sift(name: str, ratio: str = "0.9") -> Result:
    folder = f"Results/hpatches/{name}"
    return gcm("extract", "--algorithm", "sift", "--ratio", ratio, "--output-dir", folder, "--workers", "1")


def test_evaluate_reads_what_extract_wrote(home: Path) -> None:
    assert "15 pairs matched, 0 there already" in extract_sift("mine").stderr
    table = gcm("evaluate", "mine").stdout
    files = {path.name: path.read_bytes() for path in (home / "Results/hpatches").glob("*.csv")}
    assert not (home / "Results/hpatches/mine/outputs").exists()
    gcm("convert", "--output-dir", "Results/hpatches/mine")
    assert gcm("evaluate", "mine").stdout == table
    assert {path.name: path.read_bytes() for path in (home / "Results/hpatches").glob("*.csv")} == files


def test_the_document_and_the_frames_agree(home: Path) -> None:
    for name, ratio in (("strict", "0.7"), ("lax", "1")):
        extract_sift(name, ratio)
    for protocol in ("fixed", "ime"):
        document = json.loads(gcm("evaluate", "strict", "lax", "--json", "--protocol", protocol).stdout)
        result = evaluate(["strict", "lax"], protocol=protocol, write_files=False)
        for name, entry in document["algorithms"].items():
            assert list(entry["summaries"]) == ["illumination_all", "viewpoint_all", "all"]
            rows = [
                *(
                    (f"{subset}_all", result.subsets.loc[(name, subset)])
                    for subset in ("illumination", "viewpoint")
                ),
                ("all", result.algorithms.loc[name]),
            ]
            for group, row in rows:
                summary = entry["summaries"][group]
                assert summary["pairs"] == row["pairs"]
                assert summary["mma"] == row[[f"mma_{k}" for k in range(1, 11)]].tolist()
                assert summary["homography"] == row[[f"ha_{k}" for k in range(1, 11)]].tolist()
                assert summary["auc"] == {str(k): row[f"auc_{k}"] for k in (3, 5, 10)}
                for key in ("keypoints", "matches", "inliers"):
                    assert summary[key] == row[key]
            assert list(entry["sequences"]) == result.sequences.loc[name].index.tolist()
            assert ("intervals" in entry) == (protocol == "fixed")


def test_one_of_a_thing_is_not_several(home: Path) -> None:
    pairs = one_pair(home)
    arguments = ["extract", "--algorithm", "orb", "--pairs", pairs, "--output-dir", "out"]
    assert "1 pair matched, 0 there already" in gcm(*arguments).stderr
    assert "0 pairs matched, 1 there already" in gcm(*arguments).stderr
    assert "1 file converted, 0 converted already" in gcm("convert", "--output-dir", "out").stderr
    assert [plural(n, "pair") for n in (0, 1, 2)] == ["0 pairs", "1 pair", "2 pairs"]


def test_a_failed_extract_leaves_nothing_behind(home: Path) -> None:
    (home / "Datasets/hpatches/viewpoint/v_boat/none.ppm").write_bytes(b"no image")
    pairs = one_pair(home, "none.ppm")
    before = sorted(home.rglob("*"))
    arguments = ["extract", "--algorithm", "orb", "--pairs", pairs, "--output-dir", "new/out"]
    assert "1 FAILED" in gcm(*arguments, code=1).stderr
    assert sorted(home.rglob("*")) == before
    gcm(*arguments, "--set", "ratio=7", code=2)
    gcm(*arguments, "--set", "rato=0.7", code=2)
    assert sorted(home.rglob("*")) == before
    one_pair(home)
    gcm(*arguments)
    assert len(list((home / "new/out/original_outputs").iterdir())) == 1


def test_long_names_are_told_apart(home: Path) -> None:
    stem = "a-configuration-with-a-very-long-name-that-does-not-fit-into-one-line-of-a-terminal"
    for end, ratio in (("-A", "0.8"), ("-B", "0.9")):
        extract_sift(stem + end, ratio)
    lines = gcm("evaluate", f"{stem}-A", f"{stem}-B").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    first_column = "".join(line.split()[0] for line in lines if line.strip())
    for end in ("-A", "-B"):
        assert first_column.count("-of-a-terminal" + end) >= 6  # three subsets in two tables
        assert stem + end in gcm("evaluate", stem + end, "--format", "markdown").stdout


def test_no_number_is_minus_zero(home: Path) -> None:
    for name in ("one", "two"):
        extract_sift(name)
    printed = gcm("evaluate", "one", "two").stdout
    assert "-0.00" not in printed
    assert "e-" not in printed
    assert "+0.00 within" in printed
