"""What a match gives, and its files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcm.errors import InputError, OutputError, UsageError, WrongTypeError
from gcm.matches import Matches


def some(count: int = 5, *, homography: bool = True) -> Matches:
    rng = np.random.default_rng(count)
    return Matches(
        rng.uniform(0, 100, (count, 2)),
        rng.uniform(0, 100, (count, 2)),
        rng.uniform(0, 1, count),
        (101, 102),
        (103, 104),
        np.array([[1.0, 0.1, 3], [0, 1.2, 1 / 3], [1e-5, 0, 1]]) if homography else None,
        rng.uniform(size=count) < 0.5 if homography else None,
    )


def assert_same(a: Matches, b: Matches) -> None:
    np.testing.assert_array_equal(a.points0, b.points0)
    np.testing.assert_array_equal(a.points1, b.points1)
    np.testing.assert_array_equal(a.scores, b.scores)
    assert (a.size0, a.size1) == (b.size0, b.size1)
    assert (a.homography is None) == (b.homography is None)
    if a.homography is not None:
        np.testing.assert_array_equal(a.homography, b.homography)
        np.testing.assert_array_equal(a.inliers, b.inliers)


@pytest.mark.parametrize("suffix", [".npz", ".json", ".NPZ"])
@pytest.mark.parametrize("homography", [True, False])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_round_trip(tmp_path: Path, suffix: str, homography: bool, count: int) -> None:
    matches = some(count, homography=homography)
    path = tmp_path / f"m{suffix}"
    matches.save(path)
    assert_same(Matches.load(path), matches)
    assert [p.name for p in tmp_path.iterdir()] == [f"m{suffix}"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(points=arrays(np.float64, (4, 2), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_every_finite_number_survives(tmp_path: Path, points: np.ndarray) -> None:
    matches = Matches(points, -points, np.zeros(4), (1, 1), (1, 1))
    for suffix in (".json", ".npz"):
        matches.save(tmp_path / f"m{suffix}")
        assert_same(Matches.load(tmp_path / f"m{suffix}"), matches)


@pytest.mark.parametrize("homography", [True, False])
def test_npz_has_the_promised_names_and_types(tmp_path: Path, homography: bool) -> None:
    matches = some(homography=homography)
    matches.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        arrays = dict(file)
    expected = {"keypoints0", "keypoints1", "matches", "scores", "size0", "size1"}
    assert set(arrays) == expected | ({"homography", "inliers"} if homography else set())
    assert arrays["keypoints0"].dtype == arrays["keypoints1"].dtype == np.float64
    assert arrays["keypoints0"].shape == arrays["keypoints1"].shape == arrays["matches"].shape == (5, 2)
    assert np.issubdtype(arrays["matches"].dtype, np.integer)
    assert arrays["scores"].shape == (5,)
    assert arrays["size0"].tolist() == [101, 102]
    assert arrays["size1"].tolist() == [103, 104]
    i, j = arrays["matches"].T
    np.testing.assert_array_equal(arrays["keypoints0"][i], matches.points0)
    np.testing.assert_array_equal(arrays["keypoints1"][j], matches.points1)


def test_json_has_the_same_names(tmp_path: Path) -> None:
    matches = some(homography=False)
    matches.save(tmp_path / "m.json")
    data = json.loads((tmp_path / "m.json").read_text())
    assert set(data) == {*matches.to_arrays(), "homography", "inliers", "confidence"}
    assert data["homography"] is None
    assert data["keypoints1"] == matches.points1.tolist()
    assert data["size0"] == [101, 102]


def test_csv(tmp_path: Path) -> None:
    matches = some(3)
    matches.save(tmp_path / "m.csv")
    raw = (tmp_path / "m.csv").read_bytes()
    assert b"\r" not in raw
    with (tmp_path / "m.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["x0", "y0", "x1", "y1", "score"]
    table = np.column_stack([matches.points0, matches.points1, matches.scores])
    np.testing.assert_array_equal(np.array(rows, float), table)


@pytest.mark.parametrize("name", ["m.txt", "m", "m.npz.bak"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"suffix.*\.npz, \.json, \.csv"):
        some().save(tmp_path / name)
    with pytest.raises(UsageError):
        Matches.check_suffix(name)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="are read from"):
        Matches.load(tmp_path / "m.csv")


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for suffix in (".npz", ".json", ".csv"):
        with pytest.raises(OutputError, match="cannot be written"):
            some().save(tmp_path / "file" / f"m{suffix}")


def damaged_npz(path: Path, **changes: Any) -> None:
    arrays = {**some().to_arrays(), **changes}
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


@pytest.mark.parametrize(
    "changes",
    [
        {"scores": None},
        {"keypoints0": None},
        {"size1": np.array([3])},
        {"matches": np.array([[0, 99]])},
        {"scores": np.array([2.0] * 5)},
        {"scores": np.zeros(4)},
        {"keypoints1": np.full((5, 2), np.nan)},
        {"homography": np.eye(2)},
        {"keypoints0": np.array([None])},  # pickled
    ],
    ids=str,
)
def test_damaged_npz(tmp_path: Path, changes: dict[str, Any]) -> None:
    damaged_npz(tmp_path / "m.npz", **changes)
    with pytest.raises(InputError, match="not a file of matches") as caught:
        Matches.load(tmp_path / "m.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 rubbish", b"hello", b"[]", b"{}", b"3", b'{"matches": 1}']
)
@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_rubbish(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a file of matches") as error:
        Matches.load(path)
    assert "pickle" not in str(error.value)


def test_truncated_npz(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    some(200).save(path)
    data = path.read_bytes()
    for keep in (len(data) // 3, len(data) - 10):
        path.write_bytes(data[:keep])
        with pytest.raises(InputError):
            Matches.load(path)


def test_an_array_is_no_file_of_matches(tmp_path: Path) -> None:
    with (tmp_path / "m.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError):
        Matches.load(tmp_path / "m.npz")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Matches.load(tmp_path / "m.npz")


@pytest.mark.parametrize(
    "changes",
    [
        {"points0": np.zeros((4, 2))},
        {"points1": np.zeros((5, 3))},
        {"scores": np.zeros((5, 1))},
        {"inliers": np.zeros(4, bool)},
        {"h_0_to_1": np.zeros((2, 3))},
        {"points0": np.full((5, 2), np.inf)},
        {"scores": np.full(5, np.nan)},
        {"scores": np.full(5, -0.1)},
    ],
    ids=str,
)
def test_validation(changes: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "points0": np.zeros((5, 2)),
        "points1": np.zeros((5, 2)),
        "scores": np.zeros(5),
        "size0": (9, 9),
        "size1": (9, 9),
    }
    Matches(**good)
    with pytest.raises(ValueError, match=next(iter(changes))[:6]):
        Matches(**{**good, **changes})


def with_scores(*scores: float) -> Matches:
    points = np.arange(2.0 * len(scores)).reshape(-1, 2)
    return Matches(
        points, points + 1, np.array(scores), (9, 9), (9, 9), np.eye(3), np.arange(len(scores)) > 1
    )


def test_best() -> None:
    matches = with_scores(0.5, 0.9, 0.1, 0.9, 0.7)
    assert matches.best(top_k=2).scores.tolist() == [0.9, 0.9]
    assert matches.best(top_k=3).scores.tolist() == [0.9, 0.9, 0.7]
    assert matches.best(top_k=1).points0.tolist() == [[2.0, 3.0]]  # the first of equals
    assert matches.best(top_k=0).scores.tolist() == []
    assert matches.best(top_k=99).scores.tolist() == matches.scores.tolist()
    assert matches.best(min_score=0.7).scores.tolist() == [0.9, 0.9, 0.7]
    assert matches.best(min_score=0.6, top_k=2).scores.tolist() == [0.9, 0.9]
    assert matches.best(min_score=1.0).inliers.tolist() == []  # type: ignore[union-attr]
    assert matches.best().scores.tolist() == matches.scores.tolist()
    with pytest.raises(UsageError):
        matches.best(top_k=-1)
    with pytest.raises(WrongTypeError, match=r"^top_k is 2\.5; it must be a whole number$"):
        matches.best(top_k=2.5)  # type: ignore[arg-type]


def test_a_subset_keeps_everything_together() -> None:
    matches = with_scores(0.5, 0.9, 0.1, 0.9, 0.7)
    part = matches.subset(matches.scores > 0.6)
    assert len(part) == 3
    assert part.points1.tolist() == (part.points0 + 1).tolist()
    assert part.inliers is not None
    assert part.inliers.tolist() == [False, True, True]
    assert part.inlier_count == 2
    assert part.homography is matches.homography
    assert with_scores().inlier_count == 0
    assert some(homography=False).inlier_count == 0


def test_both_directions_of_the_homography() -> None:
    matches = some()
    assert matches.h_0_to_1 is not None
    assert matches.h_1_to_0 is not None
    assert matches.homography is matches.h_0_to_1
    product = matches.h_1_to_0 @ matches.h_0_to_1
    np.testing.assert_allclose(product / product[2, 2], np.eye(3), atol=1e-12)
    assert matches.h_1_to_0[2, 2] == 1
    assert some(homography=False).h_1_to_0 is None


def test_a_short_repr() -> None:
    text = repr(some(5))
    assert text.startswith("Matches(5 between 101 x 102 and 103 x 104, ")
    assert "inliers" in text
    assert "no homography" in repr(some(homography=False))
    assert len(text) < 80


def test_other_packages_get_what_they_know() -> None:
    import torch

    matches = Matches(
        np.array([[1.0, 2.0], [3.5, 4.25]]), np.array([[5.0, 6.0], [7.0, 8.0]]), np.array([0.5, 1.0]),
        (20, 10), (30, 15),
    )  # fmt: skip
    tensors = matches.to_torch()
    assert tensors["keypoints0"].dtype == torch.float32
    assert tensors["keypoints0"].tolist() == [[1, 2], [3.5, 4.25]]
    assert tensors["matches"].tolist() == [[0, 0], [1, 1]]
    glued = matches.to_lightglue()
    first, second = glued["matches"][0].T
    assert glued["keypoints0"][0][first].tolist() == tensors["keypoints0"].tolist()
    assert glued["keypoints1"][0][second].tolist() == [[5, 6], [7, 8]]
    assert glued["matches0"].tolist() == [[0, 1]]
    assert glued["image_size1"].tolist() == [[30, 15]]
    (pair,) = matches.to_transformers()
    assert pair["keypoints0"].tolist() == [[1, 2], [3.5, 4.25]]  # theirs are rounded
    assert pair["matching_scores"].tolist() == [0.5, 1]
    assert matches.to_colmap()["keypoints0"].tolist() == [[1.5, 2.5], [4, 4.75]]
    assert matches.to_colmap()["matches"].dtype == np.uint32
    assert matches.to_hloc()["keypoints1"].dtype == np.float32


def test_poses_from_matches() -> None:
    rng = np.random.default_rng(0)
    k = np.array([[500.0, 0, 160], [0, 500, 120], [0, 0, 1]])
    world = np.column_stack([rng.uniform(-1, 1, (300, 2)), rng.uniform(4, 8, 300)])
    move = np.array([1.0, 0.0, 0.0])
    first, second = (p @ k.T for p in (world, world + move))
    points0, points1 = first[:, :2] / first[:, 2:], second[:, :2] / second[:, 2:]
    matches = Matches(points0, points1, np.ones(300), (320, 240), (320, 240))
    pose = matches.relative_pose(k, k)
    assert pose is not None
    np.testing.assert_allclose(pose.translation, move, atol=1e-3)
    assert matches.fundamental().inliers.mean() > 0.99
    assert matches.two_view_geometry(k, k).kind == "general"
