"""New photos against an old collection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from gcm.benchmark.growing import name_beside
from gcm.benchmark.layout import read_places
from gcm.benchmark.pairs import Pair
from gcm.benchmark.stores import open_store
from gcm.features.batching import Request
from gcm.features.extractor import FeatureExtractor
from gcm.images.files import write_image
from gcm.scene.pair_lists import similar
from gcm_cli.app import app


def gcm(*arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == code, done.stderr
    return done


@pytest.fixture
def photos(tmp_path: Path, photo: NDArray[np.uint8]) -> Path:
    """Three old photos and two new ones, one of which is called as an old one is."""
    for number, name in enumerate(("old/a", "old/b", "old/c", "new/a", "new/d")):
        write_image(tmp_path / f"photos/{name}.png", np.ascontiguousarray(photo[4 * number :, 6 * number :]))
    return tmp_path / "photos"


def extract(photos: Path, results: Path, *options: str | Path) -> dict[str, int]:
    arguments = [
        "--images",
        photos / "old",
        "--algorithm",
        "orb",
        "--output-dir",
        results,
        "--json",
        *options,
    ]
    told: dict[str, int] = json.loads(gcm("extract", *arguments).stdout)
    return {key: told[key] for key in ("pairs", "done", "skipped")}


def test_only_pairs_with_a_new_photo_are_matched(photos: Path, tmp_path: Path) -> None:
    results = tmp_path / "matches"
    assert extract(photos, results)["done"] == 3
    before = {path: path.stat() for path in (results / "original_outputs").iterdir()}
    assert extract(photos, results, "--new", photos / "new") == {"pairs": 7, "done": 7, "skipped": 0}
    assert all(path.stat() == status for path, status in before.items())
    images = {(place["image0"], place["image1"]) for place in read_places(results).values()}
    assert len(images) == 10
    assert {tuple(Path(image).name for image in pair) for pair in images} >= {
        ("a.png", "a.png"),
        ("d.png", "c.png"),
    }
    assert extract(photos, results, "--new", photos / "new") == {"pairs": 7, "done": 0, "skipped": 7}
    assert extract(photos, results) == {"pairs": 3, "done": 0, "skipped": 3}


def test_all_of_it_is_exported_together(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    results = tmp_path / "matches"
    extract(photos, results, "--store", "h5")
    extract(photos, results, "--new", photos / "new")
    assert len(open_store(results).names()) == 10
    page = tmp_path / "page.html"
    assert "10 pairs" in gcm("report", results, "--images", photos, "-o", page).stderr
    exported = tmp_path / "kapture"
    gcm("export", results, "--images", photos, "--to", "kapture", "-o", exported)
    text = (exported / "sensors/records_camera.txt").read_text()
    assert all(name in text for name in ("old/a.png", "old/c.png", "new/a.png", "new/d.png"))


def test_the_new_photos_may_lie_among_the_old(photos: Path, tmp_path: Path) -> None:
    (photos / "new").rename(photos / "old/new")
    told = extract(photos, tmp_path / "matches", "--new", photos / "old/new")
    assert told == {"pairs": 7, "done": 7, "skipped": 0}
    single = tmp_path / "single"
    write_image(single / "x.png", np.zeros((40, 60, 3), np.uint8))
    assert extract(photos, tmp_path / "matches", "--new", single)["done"] == 5  # one photo will do


def test_the_likest_of_the_old_are_chosen(photos: Path, tmp_path: Path) -> None:
    told = extract(photos, tmp_path / "matches", "--new", photos / "new", "--method", "similar", "-k", "1")
    assert told["pairs"] == 2
    for place in read_places(tmp_path / "matches").values():
        assert "/new/" in place["image0"]


def test_those_that_ask_are_paired() -> None:
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(12, 8)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    chosen = similar(descriptors, 3, asking=(4, 7))
    assert len(chosen) == 6
    assert all(4 in pair or 7 in pair for pair in chosen)
    alike = descriptors @ descriptors.T
    for asked in (4, 7):
        partners = {i + j - asked for i, j in chosen if asked in (i, j)}
        assert int(np.argsort(-alike[asked])[1]) in partners
    assert similar(descriptors, 3, asking=range(12)) == similar(descriptors, 3)


def test_names_that_are_taken(tmp_path: Path) -> None:
    pairs = [
        Pair(tmp_path / "new" / a, tmp_path / "old" / b, name=f"{a[0]}_{b[0]}")
        for a, b in (("a.png", "b.png"), ("a.png", "c.png"), ("e.png", "b.png"))
    ]
    inside = "/".join(tmp_path.parts[-1:])
    places = {
        "a_b": {"image0": f"{inside}/old/a.png", "image1": f"{inside}/old/b.png"},
        "new-e_old-b": {"image0": f"{inside}/new/e.png", "image1": f"{inside}/old/b.png"},
    }
    assert [pair.name for pair in name_beside(pairs, places)] == ["new-a_old-b", "a_c", "new-e_old-b"]
    assert name_beside(pairs, {}) == pairs


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--new", "new"], "--new adds photos to those of --images; give both"),
        (["--images", "old", "--new", "new", "--overwrite"], "give one"),
        (["--images", "old", "--new", "none"], "none: no such folder of photos"),
        (["--images", "old", "--new", "new", "--method", "near"], "do not say where they were taken"),
        (["--images", "old", "--features", "maps", "--algorithm", "orb"], "--features keeps the maps of gcm"),
    ],
)
def test_what_cannot_be(photos: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], line: str) -> None:
    monkeypatch.chdir(photos)
    done = CliRunner().invoke(app, ["extract", "--output-dir", "out", *options], env={"COLUMNS": "200"})
    assert done.exit_code in (1, 2)
    assert line in done.stderr
    assert not Path("out").exists()


def test_maps_of_the_old_are_not_computed_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[bytes] = []
    compute = FeatureExtractor._compute

    def counted(self: FeatureExtractor, requests: Sequence[Request]) -> Any:
        computed.extend(
            request.kind.encode() + request.key for request in requests if request.original is None
        )
        return compute(self, requests)

    monkeypatch.setattr(FeatureExtractor, "_compute", counted)
    common = ["--images", photos / "old", "--config", "fast", "--set", "device=cpu", "--workers", "1"]
    common += ["--method", "similar", "-k", "3"]
    kept = [*common, "--output-dir", tmp_path / "kept", "--features", tmp_path / "maps"]
    gcm("extract", *kept)
    before, computed[:] = set(computed), []
    assert len(before) >= 3
    gcm("extract", *kept, "--new", photos / "new")
    assert len(computed) >= 2
    assert not before & set(computed)
    for more in ([], ["--new", photos / "new"]):
        gcm("extract", *common, "--output-dir", tmp_path / "plain", *more)
    results = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "original_outputs").iterdir()}
        for name in ("kept", "plain")
    ]
    assert len(results[0]) >= 3 + 6
    assert results[0] == results[1]
    assert "features" not in (tmp_path / "kept/config.yml").read_text()
