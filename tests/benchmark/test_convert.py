"""Conversion of our files and of other IME algorithms'."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gcm.benchmark.convert import convert
from gcm.benchmark.layout import matched_index, read_prediction
from gcm.errors import DatasetError

A = np.array([[1.0, 2.0], [3, 4], [5, 6]])
B = np.array([[7.0, 8.0], [9, 10]])


def save(folder: Path, name: str, **arrays: object) -> Path:
    path = folder / "original_outputs" / f"{name}_matches.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_both_forms_of_matches(tmp_path: Path) -> None:
    save(tmp_path, "v_adam_1_v_adam_2", keypoints0=A, keypoints1=B, matches=np.array([[0, 1], [2, 0]]))
    save(tmp_path, "i_fog_1_i_fog_6", keypoints0=A, keypoints1=B, matches=np.array([1, -1, 0]))
    report = convert(tmp_path)
    assert (report.files, report.done, report.failed) == (2, 2, {})
    for place in ("viewpoint/v_adam/v_adam_1_v_adam_2", "illumination/i_fog/i_fog_1_i_fog_6"):
        with np.load(tmp_path / "outputs" / f"{place}_matches.npz") as file:
            assert sorted(file.files) == ["matches", "pointsA", "pointsB"]
            assert np.array_equal(file["pointsA"], A)
            assert np.array_equal(file["pointsB"], B)
            assert file["matches"].tolist() == [[0, 1], [2, 0]]


def test_a_second_run_does_nothing_and_a_changed_file_is_converted_again(tmp_path: Path) -> None:
    source = save(tmp_path, "v_adam_1_v_adam_2", keypoints0=A, keypoints1=B, matches=np.zeros((0, 2)))
    convert(tmp_path)
    target = tmp_path / "outputs/viewpoint/v_adam/v_adam_1_v_adam_2_matches.npz"
    before = target.stat()
    assert (convert(tmp_path).done, convert(tmp_path).skipped) == (0, 1)
    assert target.stat() == before
    save(tmp_path, "v_adam_1_v_adam_2", keypoints0=A, keypoints1=B, matches=np.array([[0, 0]]))
    os.utime(source, ns=(1, before.st_mtime_ns - 10**9))  # older than what was made of the one before
    assert convert(tmp_path).done == 1
    assert len(read_prediction(target)[2]) == 1


def test_leftovers_of_a_kill_go(tmp_path: Path) -> None:
    save(tmp_path, "v_adam_1_v_adam_2", keypoints0=A, keypoints1=B, matches=np.array([[0, 0]]))
    folder = tmp_path / "outputs/viewpoint/v_adam"
    folder.mkdir(parents=True)
    (folder / ".v_adam_1_v_adam_2_matches.0123abcd.npz").write_bytes(b"half")
    convert(tmp_path)
    assert [p.name for p in folder.iterdir()] == ["v_adam_1_v_adam_2_matches.npz"]


def test_bad_files_are_told_and_the_rest_go_on(tmp_path: Path) -> None:
    save(tmp_path, "v_adam_1_v_adam_2", keypoints0=A, keypoints1=B, matches=np.array([[0, 0]]))
    save(tmp_path, "v_adam_1_v_adam_3", keypoints0=A, keypoints1=B, matches=np.array([[0, 2]]))
    save(tmp_path, "v_adam_1_v_adam_4", keypoints0=A, matches=np.array([[0, 0]]))
    save(tmp_path, "holiday_beach", keypoints0=A, keypoints1=B, matches=np.array([[0, 0]]))
    save(tmp_path, "v_adam_1_v_adam_5", keypoints0=A * np.nan, keypoints1=B, matches=np.array([[0, 0]]))
    (tmp_path / "original_outputs/v_adam_1_v_adam_6_matches.npz").write_bytes(b"PK half a file")
    report = convert(tmp_path)
    assert report.done == 1
    reasons = {name.removesuffix("_matches.npz"): reason for name, reason in report.failed.items()}
    assert "points that are not there" in reasons["v_adam_1_v_adam_3"]
    assert "lacks keypoints1" in reasons["v_adam_1_v_adam_4"]
    assert "not named as HPatches" in reasons["holiday_beach"]
    assert "not finite" in reasons["v_adam_1_v_adam_5"]
    assert "not a file of matches" in reasons["v_adam_1_v_adam_6"]


def test_nothing_to_convert(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="run 'gcm extract'"):
        convert(tmp_path)


def test_matched_index() -> None:
    assert matched_index(np.array([2.0, -1.0]), 2, 3).tolist() == [[0, 2]]
    assert matched_index(np.array([]), 0, 3).shape == (0, 2)
    assert matched_index(np.array([-1, -1]), 2, 0).shape == (0, 2)
    for wrong in (np.array([0.5, 1]), np.array([0, 0, 0]), np.array([[0, 0, 0]]), np.array([[-1, 0]])):
        with pytest.raises(ValueError, match="matches"):
            matched_index(wrong, 2, 3)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    path = save(tmp_path, "x", keypoints0=np.array([{}], dtype=object), keypoints1=B, matches=A)
    with pytest.raises(DatasetError, match="not a file of matches"):
        read_prediction(path)
