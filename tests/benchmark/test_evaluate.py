"""Evaluation: IME's files byte for byte, and what it does about gaps."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gcm.benchmark import scoring
from gcm.benchmark.convert import convert
from gcm.benchmark.evaluate import Evaluation, evaluate
from gcm.benchmark.extract import extract
from gcm.benchmark.hpatches import Link, organise_hpatches
from gcm.benchmark.pairs import read_pairs
from gcm.errors import DatasetError, UsageError
from gcm.matchers import matcher_spec
from gcm.metrics.protocols import Protocol, summarise
from gcm.viz.curves import plot_curves

ALGORITHMS = ("SIFT_06", "ORB_08")
SPECS = {
    "SIFT_06": matcher_spec("sift", {"ratio": 0.6, "max_keypoints": 300}),
    "ORB_08": matcher_spec("orb", {"ratio": 0.8, "max_keypoints": 300}),
}


@pytest.fixture(scope="module")
def organised(tiny_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a data set") / "hpatches"
    organise_hpatches(tiny_release, folder, link=Link.SYMBOLIC)
    return folder


@pytest.fixture(scope="module")
def extracted(organised: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `extract` writes, for both algorithms."""
    folder = tmp_path_factory.mktemp("extracted")
    pairs = read_pairs(organised / "image_pairs.txt")
    for name, spec in SPECS.items():
        assert extract(pairs, spec, folder / name, workers=1).done == len(pairs)
    return folder


@pytest.fixture
def results(extracted: Path, tmp_path: Path) -> Path:
    """Converted files alone, as of an algorithm of IME's own."""
    for name in ALGORITHMS:
        target = tmp_path / "Results/hpatches" / name
        shutil.copytree(extracted / name, target)
        convert(target)
        for path in target.iterdir():
            if path.name != "outputs":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return tmp_path / "Results"


@pytest.fixture
def originals(extracted: Path, tmp_path: Path) -> Path:
    """What `extract` wrote, not converted."""
    shutil.copytree(extracted, tmp_path / "Results/hpatches")
    return tmp_path / "Results"


def run(results: Path, organised: Path, *names: str, **options: object) -> Evaluation:
    return evaluate(
        names or ALGORITHMS,
        result_directory=results,
        dataset_name="hpatches",
        dataset_dir=organised,
        **options,  # type: ignore[arg-type]
    )


def stamps(results: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in results.rglob("*") if p.name != ".lock"}


@pytest.fixture
def golden(shared: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Results and data set of the golden files."""
    data = tmp_path / "golden data/hpatches"
    organise_hpatches(shared / "data/oxford-dev", data, link=Link.SYMBOLIC)
    for name in ALGORITHMS:
        for path in (shared / "golden/ime" / name).rglob("*.npz"):
            target = tmp_path / "Results/hpatches" / path.relative_to(shared / "golden/ime")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return tmp_path / "Results", data


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_golden_files_byte_for_byte(shared: Path, golden: tuple[Path, Path], workers: int) -> None:
    results, data = golden
    evaluation = run(results, data, protocol=Protocol.IME, workers=workers)
    assert evaluation.problems == {}
    files = sorted((shared / "golden/ime").glob("*.csv"))
    assert len(files) == 6
    for path in files:
        assert (results / "hpatches" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("protocol", list(Protocol))
def test_a_second_run_measures_and_changes_nothing(
    results: Path, organised: Path, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(results, organised, protocol=protocol)
    before = stamps(results)
    monkeypatch.setattr(scoring, "score_pair", lambda *a: pytest.fail("work was done"))
    second = run(results, organised, protocol=protocol)
    assert second.scores == first.scores
    assert stamps(results) == before


def test_protocols_share_measurements_and_say_who_they_are(results: Path, organised: Path) -> None:
    run(results, organised, protocol=Protocol.IME)
    ime = (results / "hpatches/overall_results_mma.csv").read_text()
    pairs = (results / "hpatches/SIFT_06_pairs.json").read_bytes()
    run(results, organised)
    fixed = (results / "hpatches/overall_results_mma.csv").read_text()
    assert (results / "hpatches/SIFT_06_pairs.json").read_bytes() == pairs
    assert ime.startswith("Algorithms, ")
    assert fixed.startswith("Algorithms (fixed), ")


def test_only_what_changed_is_measured_again(
    results: Path, organised: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(results, organised, "SIFT_06")
    changed = results / "hpatches/SIFT_06/outputs/viewpoint/v_boat/v_boat_1_v_boat_3_matches.npz"
    np.savez(changed, pointsA=np.zeros((0, 2)), pointsB=np.zeros((0, 2)), matches=np.zeros((0, 2), int))
    measured = []
    score = scoring.score_pair
    monkeypatch.setattr(scoring, "score_pair", lambda pair, *a: measured.append(pair.name) or score(pair, *a))
    second = run(results, organised, "SIFT_06")
    assert measured == ["v_boat_1_v_boat_3"]
    same = [a == b for a, b in zip(first.scores["SIFT_06"], second.scores["SIFT_06"], strict=True)]
    assert same.count(False) == 1
    assert second.scores["SIFT_06"][same.index(False)].within == (0,) * 10


def test_leftovers_and_a_damaged_memory(results: Path, organised: Path) -> None:
    first = run(results, organised, "SIFT_06")
    files = stamps(results)
    memory = results / "hpatches/SIFT_06_pairs.json"
    content = memory.read_bytes()
    memory.write_bytes(content[: len(content) // 2])
    (results / "hpatches/.SIFT_06_mma.0123abcd.csv").write_bytes(b"half")
    assert run(results, organised, "SIFT_06").scores == first.scores
    assert memory.read_bytes() == content
    assert set(stamps(results)) == set(files)


def test_missing_predictions_are_named_not_averaged_over(results: Path, organised: Path) -> None:
    gone = results / "hpatches/ORB_08/outputs/viewpoint/v_boat/v_boat_1_v_boat_6_matches.npz"
    gone.unlink()
    damaged = results / "hpatches/ORB_08/outputs/viewpoint/v_wall/v_wall_1_v_wall_2_matches.npz"
    damaged.write_bytes(b"half")
    result = run(results, organised)
    assert list(result.scores) == ["SIFT_06"]
    assert len(result.problems["ORB_08"]) == 2
    assert any("v_boat_1_v_boat_6" in problem for problem in result.problems["ORB_08"])
    assert any(str(damaged) in problem for problem in result.problems["ORB_08"])
    assert not (results / "hpatches/ORB_08_mma.csv").exists()
    assert "ORB_08" not in (results / "hpatches/overall_results_mma.csv").read_text()


def test_wrong_names_and_places(results: Path, organised: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="did you mean 'SIFT_06'"):
        run(results, organised, "SIFT_6")
    with pytest.raises(UsageError, match="without its path"):
        run(results, organised, "../SIFT_06")
    with pytest.raises(DatasetError, match="organize-hpatches"):
        run(results, tmp_path, "SIFT_06")
    (tmp_path / "image_pairs.txt").write_text("a.png b.png\n")
    with pytest.raises(DatasetError, match="tells no homography"):
        run(results, tmp_path, "SIFT_06")


def test_plot(results: Path, organised: Path, tmp_path: Path) -> None:
    import cv2

    evaluation = run(results, organised)
    plot_curves(evaluation.scores, evaluation.protocol, tmp_path / "curves.png")
    image = cv2.imread(str(tmp_path / "curves.png"))
    assert image.shape == (675, 1350, 3)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10
    before = (tmp_path / "curves.png").stat()
    plot_curves(evaluation.scores, evaluation.protocol, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat() == before


def test_photos_of_any_size_are_scored(
    results: Path, organised: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow by itself refuses to open an image of twice its limit."""
    from PIL import Image

    expected = run(results, organised).scores
    for stored in (results / "hpatches").glob("*_pairs.json"):
        stored.unlink()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert run(results, organised).scores == expected


# -- straight from what was extracted ------------------------------------------------------------------


def test_extracted_matches_need_no_conversion(originals: Path, organised: Path) -> None:
    direct = run(originals, organised)
    assert list(direct.scores) == list(ALGORITHMS)
    assert not list(originals.rglob("outputs"))
    files = {path.name: path.read_bytes() for path in (originals / "hpatches").glob("*.csv")}
    assert len(files) == 6
    for name in ALGORITHMS:
        convert(originals / "hpatches" / name)
        for folder in ("original_outputs", "pairs.json"):  # leave the converted files alone
            path = originals / "hpatches" / name / folder
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    converted = run(originals, organised)
    assert converted.scores == direct.scores
    assert {path.name: path.read_bytes() for path in (originals / "hpatches").glob("*.csv")} == files


def write_matches(path: Path, count: int) -> None:
    """A file with as many matches, all the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    index = np.repeat(np.arange(count)[:, None], 2, axis=1)
    np.savez(path, keypoints0=np.ones((count, 2)), keypoints1=np.ones((count, 2)), matches=index)


def matches_of(result: Evaluation) -> int:
    return int(result.pairs.loc[("SIFT_06", "v_boat_1_v_boat_4"), "matches"])


def test_the_newer_of_extracted_and_converted_counts(originals: Path, organised: Path) -> None:
    folder = originals / "hpatches/SIFT_06"
    convert(folder)
    original = folder / "original_outputs/v_boat_1_v_boat_4_matches.npz"
    converted = folder / "outputs/viewpoint/v_boat/v_boat_1_v_boat_4_matches.npz"
    write_matches(original, 3)
    write_matches(converted, 5)

    def matches(original_time: int, converted_time: int) -> int:
        os.utime(original, ns=(original_time, original_time))
        os.utime(converted, ns=(converted_time, converted_time))
        return matches_of(run(originals, organised, "SIFT_06"))

    assert matches(2_000, 1_000) == 3
    assert matches(2_000, 2_000) == 3
    assert matches(1_000, 2_000) == 5
    original.unlink()
    assert matches_of(run(originals, organised, "SIFT_06")) == 5


def test_extracted_matches_of_another_sequence_are_not_taken(originals: Path, organised: Path) -> None:
    path = originals / "hpatches/SIFT_06/pairs.json"
    places = json.loads(path.read_text())
    places["v_boat_1_v_boat_4"]["sequence"] = "v_elsewhere"
    path.write_text(json.dumps(places))
    assert run(originals, organised, "SIFT_06").problems == {"SIFT_06": ["v_boat_1_v_boat_4"]}
    path.write_text("{")
    (problem,) = run(originals, organised, "SIFT_06").problems["SIFT_06"]
    assert "damaged" in problem
    path.unlink()  # the names say it all
    assert run(originals, organised, "SIFT_06").problems == {}


def test_a_pair_not_yet_extracted_is_missing(originals: Path, organised: Path) -> None:
    (originals / "hpatches/ORB_08/original_outputs/i_fog_1_i_fog_2_matches.npz").unlink()
    result = run(originals, organised)
    assert result.problems == {"ORB_08": ["i_fog_1_i_fog_2"]}
    assert repr(result) == "<Evaluation of SIFT_06 on 15 pairs, protocol fixed, problems with ORB_08>"


# -- tables --------------------------------------------------------------------------------------------


def test_tables_hold_the_scores(originals: Path, organised: Path) -> None:
    result = run(originals, organised)
    scores = result.scores["SIFT_06"]
    pairs = result.pairs.loc["SIFT_06"]
    assert pairs.index.tolist() == [score.name for score in scores]
    assert pairs["subset"].tolist() == [score.subset for score in scores]
    assert pairs["mma_3"].tolist() == [score.within[2] / max(score.matches, 1) for score in scores]
    assert pairs["corner_error"].tolist() == [score.error for score in scores]
    assert pairs["ha_5"].tolist() == [float(score.error <= 5) for score in scores]
    assert pairs[["keypoints", "matches", "inliers"]].to_numpy().tolist() == [
        [score.keypoints, score.matches, score.inliers] for score in scores
    ]
    assert result.algorithms.index.tolist() == list(ALGORITHMS)
    means = result.algorithms.loc["SIFT_06"]
    assert means["pairs"] == 15
    for column in ("mma_1", "mma_10", "ha_3", "auc_5", "matches", "keypoints", "inliers"):
        assert means[column] == pytest.approx(pairs[column].mean())
    assert result.subsets.index.tolist() == [
        (name, subset) for name in ALGORITHMS for subset in ("illumination", "viewpoint")
    ]
    boat = result.sequences.loc[("ORB_08", "v_boat")]
    of_boat = result.pairs.loc["ORB_08"].query("sequence == 'v_boat'")
    assert boat["pairs"] == len(of_boat) == 5
    assert boat["mma_5"] == pytest.approx(of_boat["mma_5"].mean())


def test_tables_of_protocol_ime(originals: Path, organised: Path) -> None:
    result = run(originals, organised, protocol="ime")
    fixed = run(originals, organised)
    assert result.protocol is Protocol.IME
    assert result.algorithms.loc["SIFT_06", "pairs"] == 14  # IME leaves the last one out
    assert result.algorithms.loc["SIFT_06", "matches"] == math.trunc(
        fixed.pairs.loc["SIFT_06"].iloc[:-1]["matches"].mean()
    )
    assert result.pairs["mma_3"].tolist() == [round(value, 3) for value in fixed.pairs["mma_3"]]


def test_evaluation_in_python(originals: Path, organised: Path) -> None:
    result = evaluate(
        "ORB_08", result_directory=str(originals), dataset_dir=str(organised), write_files=False
    )
    assert not list((originals / "hpatches").glob("*.csv"))
    assert not list((originals / "hpatches").glob("*.json"))
    assert result.algorithms["pairs"].tolist() == [15]
    with pytest.raises(UsageError, match="did you mean 'fixed'"):
        run(originals, organised, protocol="fixd")


def test_tables_without_results_are_empty(originals: Path, organised: Path) -> None:
    for path in (originals / "hpatches").rglob("*_matches.npz"):
        path.unlink()
    result = run(originals, organised)
    assert set(result.problems) == set(ALGORITHMS)
    for frame in (result.pairs, result.sequences, result.subsets, result.algorithms):
        assert frame.empty
        assert frame.index.names[0] == "algorithm"
        assert {"mma_3", "ha_3", "auc_5", "keypoints", "matches", "inliers"} <= set(frame.columns)


def test_scoring_imports_no_torch() -> None:
    modules = (
        "gcm.benchmark.evaluate, gcm.benchmark.extract, gcm.matchers.registry, gcm.metrics, gcm.estimation"
    )
    code = (
        f"import {modules}, sys; gcm.matchers.registry.matcher_spec('gcm', {{'config': 'default'}}); "
        "assert not {'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


_CHANGES = {
    "Avg_R2D2_6": ("Avg_R2D2_6", {"weights_path": "dstl_r2d2.pt"}),
    "ResNet18_dstlR2D2_95": (
        "ResNet18_dstlR2D2_95",
        {
            "weights_path": "resnet18_imagenet1k_v1_bnfolded_to_layer3.pth",
            "fine_weights_path": "dstl_r2d2.pt",
        },
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(_CHANGES))
def test_pipeline_gives_the_accuracy_of_the_golden_matches(
    name: str, shared: Path, golden: tuple[Path, Path], tmp_path: Path
) -> None:
    from gcm.config import load_config

    files = sorted((shared / "golden/matches" / name).glob("*_matches.npz"))
    names = {path.name.removesuffix("_matches.npz") for path in files}
    pairs = [pair for pair in read_pairs(golden[1] / "image_pairs.txt") if pair.name in names]
    assert len(pairs) == 4
    dataset = tmp_path / "data"
    dataset.mkdir()
    lines = [f'"{pair.image0}" "{pair.image1}" "{pair.homography}"\n' for pair in pairs]
    (dataset / "image_pairs.txt").write_text("".join(lines))

    preset, weights = _CHANGES[name]
    changes = {key: str(shared / "weights" / file) for key, file in weights.items()}
    spec = matcher_spec("gcm", {"config": load_config(preset, device="cpu", **changes)})
    ours, theirs = tmp_path / "Results/hpatches/ours", tmp_path / "Results/hpatches/theirs"
    assert extract(pairs, spec, ours).done == 4
    (theirs / "original_outputs").mkdir(parents=True)
    for path in files:
        with np.load(path) as file:
            index = np.repeat(np.arange(len(file["keypoints0"]))[:, None], 2, axis=1)
            np.savez(
                theirs / "original_outputs" / path.name,
                keypoints0=file["keypoints0"],
                keypoints1=file["keypoints1"],
                matches=index,
            )
    for folder in (ours, theirs):
        assert convert(folder).done == 4
    result = evaluate(
        ["ours", "theirs"],
        result_directory=tmp_path / "Results",
        dataset_name="hpatches",
        dataset_dir=dataset,
    )
    a, b = (summarise(result.scores[n], Protocol.FIXED)[-1].matching for n in ("ours", "theirs"))
    assert np.round(a[:10], 3).tolist() == np.round(b[:10], 3).tolist()
