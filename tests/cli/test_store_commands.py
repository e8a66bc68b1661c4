"""Whatever a folder keeps its matches as, every command makes the same of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from scene.made_scene import MadeScene, make_scene
from typer.testing import CliRunner, Result

from gcm.benchmark.hpatches import organise_hpatches
from gcm.benchmark.stores import open_store
from gcm_cli.app import app

pytest.importorskip("h5py")
pytest.importorskip("pyarrow")

PACKED = ("h5", "parquet")


def gcm(*arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == code, done.stderr
    return done


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_release: Path) -> Path:
    """A data set, and its pairs matched into each kind of store."""
    folder = tmp_path_factory.mktemp("data")
    organise_hpatches(tiny_release, folder / "hpatches")
    for kind in ("npz", *PACKED):
        options = [] if kind == "npz" else ["--store", kind]
        target = folder / "Results/hpatches" / kind
        arguments = ["--dataset-dir", folder / "hpatches", "--output-dir", target, "--workers", "1", *options]
        gcm("extract", "--algorithm", "sift", *arguments)
    return folder


def test_one_file_in_place_of_many(data: Path) -> None:
    results = data / "Results/hpatches"
    assert len(list((results / "npz/original_outputs").iterdir())) == 15
    for kind in PACKED:
        assert sorted(path.name for path in (results / kind / "original_outputs").iterdir()) == [
            f"part-0001.{kind}",
            "store.json",
        ]
        records = [yaml.safe_load((results / name / "config.yml").read_text()) for name in ("npz", kind)]
        assert records[0].keys() == records[1].keys()


def test_scores_are_the_same(data: Path) -> None:
    arguments = ["--result-directory", data / "Results", "--dataset-dir", data / "hpatches", "--json"]
    told = json.loads(gcm("evaluate", "npz", *PACKED, *arguments).stdout)
    scores = {
        kind: (data / f"Results/hpatches/{kind}_homography.csv").read_text() for kind in ("npz", *PACKED)
    }
    assert scores["npz"].count("\n") == 15
    assert scores["h5"] == scores["parquet"] == scores["npz"]
    again = json.loads(gcm("evaluate", "npz", *PACKED, *arguments).stdout)
    assert again == told


def test_a_pair_that_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    for kind in PACKED:
        shutil.copytree(data / "Results/hpatches" / kind, tmp_path / "hpatches" / kind)
        part = tmp_path / "hpatches" / kind / f"original_outputs/part-0001.{kind}"
        part.write_bytes(part.read_bytes()[:-100])
    arguments = ["--result-directory", tmp_path, "--dataset-dir", data / "hpatches"]
    failed = gcm("evaluate", *PACKED, *arguments, code=1)
    for kind in PACKED:
        assert f"part-0001.{kind}: damaged" in failed.stderr
    gcm("convert", "--output-dir", tmp_path / "hpatches/h5", code=1)


def test_conversion_to_ime_is_the_same(data: Path, tmp_path: Path) -> None:
    for kind in ("npz", *PACKED):
        shutil.copytree(data / "Results/hpatches" / kind, tmp_path / kind)
        assert "15 files converted" in gcm("convert", "--output-dir", tmp_path / kind).stderr
        assert (
            "0 files converted, 15 converted already"
            in gcm("convert", "--output-dir", tmp_path / kind).stderr
        )
    converted = [contents(tmp_path / kind / "outputs") for kind in ("npz", *PACKED)]
    assert len(converted[0]) == 15
    assert converted[0] == converted[1] == converted[2]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> MadeScene:
    scene = make_scene(tmp_path_factory.mktemp("scene"), photos=4)
    for kind in PACKED:
        gcm("store", scene.results, "--to", kind, "-o", scene.results.with_name(kind))
    return scene


def test_exports_are_the_same(scene: MadeScene, tmp_path: Path) -> None:
    for kind in (scene.results.name, *PACKED):
        results = scene.results.with_name(kind)
        gcm("export", results, "--images", scene.images, "--to", "kapture", "-o", tmp_path / kind)
    exported = [contents(tmp_path / kind) for kind in (scene.results.name, *PACKED)]
    assert len(exported[0]) > 5
    assert exported[0] == exported[1] == exported[2]


def test_reports_are_the_same(scene: MadeScene, tmp_path: Path) -> None:
    pages = []
    for kind in (scene.results.name, *PACKED):
        results = scene.results.with_name(kind)
        gcm("report", results, "--images", scene.images, "-o", tmp_path / f"{kind}.html")
        text = (tmp_path / f"{kind}.html").read_text()
        pages.append(text.split('"images":')[1])  # the title before it names the folder
    assert '"matches":' in pages[0]
    assert pages[0] == pages[1] == pages[2]


def test_store_tells_what_it_did(scene: MadeScene, tmp_path: Path) -> None:
    arguments = ["store", scene.results, "--to", "h5", "--precision", "uint16", "-o", tmp_path / "small"]
    told = json.loads(gcm(*arguments, "--json", "--quiet").stdout)
    assert told["pairs"] == told["done"] == 6
    assert told["bytes"] < told["source_bytes"] / 2
    assert "6 pairs as h5 in uint16, 6 there already" in gcm(*arguments).stderr
    assert open_store(tmp_path / "small").precision == "uint16"
    arguments[arguments.index("uint16")] = "float32"
    assert "keeps matches as h5 in uint16, not as h5 in float32" in gcm(*arguments, code=2).stderr
    assert "holds no matches" in gcm("store", tmp_path, "--to", "npz", "-o", tmp_path / "x", code=1).stderr
    assert not (tmp_path / "x").exists()
