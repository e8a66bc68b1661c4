"""Evaluation: IME's files byte for byte, and what it does about gaps."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gcm.benchmark import scoring
from gcm.benchmark.convert import convert
from gcm.benchmark.evaluate import Evaluation, evaluate
from gcm.benchmark.hpatches import Link, organise_hpatches
from gcm.errors import DatasetError, UsageError
from gcm.metrics.protocols import Protocol, summarise
from gcm.viz.curves import plot_curves

GOLDEN = ("SIFT_06", "ORB_08")


@pytest.fixture(scope="module")
def organised(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a data set") / "hpatches"
    organise_hpatches(shared / "data/oxford-dev", folder, link=Link.SYMBOLIC)
    return folder


@pytest.fixture
def results(shared: Path, tmp_path: Path) -> Path:
    for name in GOLDEN:
        for path in (shared / "golden/ime" / name).rglob("*.npz"):
            target = tmp_path / "Results/hpatches" / path.relative_to(shared / "golden/ime")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return tmp_path / "Results"


def run(results: Path, organised: Path, *names: str, **options: object) -> Evaluation:
    return evaluate(
        names or GOLDEN,
        result_directory=results,
        dataset_name="hpatches",
        dataset_dir=organised,
        **options,  # type: ignore[arg-type]
    )


def stamps(results: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in results.rglob("*") if p.name != ".lock"}


@pytest.mark.parametrize("workers", [1, 4])
def test_golden_files_byte_for_byte(shared: Path, results: Path, organised: Path, workers: int) -> None:
    run(results, organised, protocol=Protocol.IME, workers=workers)
    golden = sorted((shared / "golden/ime").glob("*.csv"))
    assert len(golden) == 6
    for path in golden:
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
    changed = results / "hpatches/SIFT_06/outputs/viewpoint/v_graf/v_graf_1_v_graf_3_matches.npz"
    np.savez(changed, pointsA=np.zeros((0, 2)), pointsB=np.zeros((0, 2)), matches=np.zeros((0, 2), int))
    measured = []
    score = scoring.score_pair
    monkeypatch.setattr(scoring, "score_pair", lambda pair, *a: measured.append(pair.name) or score(pair, *a))
    second = run(results, organised, "SIFT_06")
    assert measured == ["v_graf_1_v_graf_3"]
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
    gone = results / "hpatches/ORB_08/outputs/viewpoint/v_graf/v_graf_1_v_graf_6_matches.npz"
    gone.unlink()
    damaged = results / "hpatches/ORB_08/outputs/viewpoint/v_boat/v_boat_1_v_boat_2_matches.npz"
    damaged.write_bytes(b"half")
    found = run(results, organised)
    assert list(found.scores) == ["SIFT_06"]
    assert len(found.problems["ORB_08"]) == 2
    assert any("v_graf_1_v_graf_6" in problem for problem in found.problems["ORB_08"])
    assert any(str(damaged) in problem for problem in found.problems["ORB_08"])
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

    found = run(results, organised)
    plot_curves(found.scores, found.protocol, tmp_path / "curves.png")
    image = cv2.imread(str(tmp_path / "curves.png"))
    assert image.shape == (600, 1350, 3)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10
    before = (tmp_path / "curves.png").stat()
    plot_curves(found.scores, found.protocol, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat() == before


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
    name: str, shared: Path, organised: Path, tmp_path: Path
) -> None:
    from gcm.benchmark.extract import extract
    from gcm.benchmark.pairs import read_pairs
    from gcm.config import load_config
    from gcm.matchers import matcher_spec

    golden = sorted((shared / "golden/matches" / name).glob("*_matches.npz"))
    names = {path.name.removesuffix("_matches.npz") for path in golden}
    pairs = [pair for pair in read_pairs(organised / "image_pairs.txt") if pair.name in names]
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
    for path in golden:
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
    found = evaluate(
        ["ours", "theirs"],
        result_directory=tmp_path / "Results",
        dataset_name="hpatches",
        dataset_dir=dataset,
    )
    a, b = (summarise(found.scores[n], Protocol.FIXED)[-1].matching for n in ("ours", "theirs"))
    assert np.round(a[:10], 3).tolist() == np.round(b[:10], 3).tolist()
