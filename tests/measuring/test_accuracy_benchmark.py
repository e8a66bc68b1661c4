"""The accuracy benchmark's truths, measures and settings, each on a case made by hand."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.accuracy import bars as accuracy_bars
from benchmarks.accuracy import lines as accuracy_lines
from benchmarks.accuracy.__main__ import ABLATIONS, PEERS, chosen_lines, document, set_table
from benchmarks.accuracy.bars import CEILINGS, CHECKED, LIMITS, Bar, bars
from benchmarks.accuracy.lines import Line, MissingKeyError, make_line, parse_options, predict, spec_of
from benchmarks.accuracy.measures.depth import disparity
from benchmarks.accuracy.measures.planes import transfer
from benchmarks.accuracy.scores import score
from benchmarks.accuracy.sets import (
    ANGLES,
    SCALES,
    Cameras,
    Case,
    Disparity,
    Picture,
    Plane,
    Points,
    Unrelated,
    homogr,
    turn_matrix,
    turned,
)
from benchmarks.accuracy.summaries import summarise_poses, summarise_synthetic
from gcm.errors import GCMError
from gcm.geometry import apply_homography, image_corners
from gcm.images.files import write_image
from gcm.matches import Matches


def blobs(width: int, height: int) -> np.ndarray:
    noise = np.random.default_rng(0).uniform(0, 255, (height, width, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, None, 4)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("degrees", ANGLES)
def test_a_turned_photo_shows_what_its_homography_says(degrees: int, scale: float) -> None:
    image = blobs(151, 90)
    result, h = turned(image, degrees, scale)
    matrix, (width, height) = turn_matrix((151, 90), degrees, scale)
    assert np.array_equal(h, matrix)
    assert result.shape == (height, width, 3)
    grid = np.stack(np.meshgrid(np.arange(10.0, 140, 5), np.arange(10.0, 80, 5)), axis=-1).reshape(-1, 2)
    there = apply_homography(h, grid).astype(np.float32)
    seen = cv2.remap(result, there[None], None, cv2.INTER_LINEAR)[0].astype(float)
    original = image[grid[:, 1].astype(int), grid[:, 0].astype(int)].astype(float)
    assert np.abs(seen - original).mean() < 1.5  # half a pixel off makes it some 3
    corners = apply_homography(h, image_corners(151, 90))
    assert corners.min() > -1
    assert (corners < (width, height)).all()
    span = corners.max(axis=0) - corners.min(axis=0)
    assert np.abs(span - (width - 1, height - 1)).max() < 2 + 2 * abs(scale - 1)  # and no more than it needs


def test_quarter_turns_move_whole_pixels() -> None:
    image = blobs(31, 20)
    assert np.array_equal(turned(image, 0, 1)[0], image)
    assert np.array_equal(turned(image, 90, 1)[0], np.rot90(image, -1))
    assert np.array_equal(turned(image, 180, 1)[0], image[::-1, ::-1])


def test_stereo_errors() -> None:
    values = np.full((20, 40), 5.0)
    values[:, 20:] = 9.0
    values[0] = np.nan
    points0 = np.array([[10.5, 8.25], [30, 3], [19.6, 4], [12, 0], [25, 10]])
    exact = points0 - np.array([[5, 0], [9, 0], [9, 0], [5, 0], [9, 0]])
    off = exact + np.array([[0, 0], [0.5, 0], [0, 0], [0, 0], [0, -3]])
    found = disparity(Disparity(values), points0, off)
    assert (found["known"], found["third"], found["one"]) == (4, 0.5, 0.75)  # the fourth has no disparity
    assert disparity(Disparity(values), points0, exact)["median"] == 0
    assert disparity(Disparity(values), exact, points0)["third"] == 0  # the other way round
    none = np.zeros((0, 2))
    assert disparity(Disparity(values), none, none)["median"] == math.inf


def test_stereo_disparity_of_a_slope_is_interpolated() -> None:
    values = np.arange(30.0)[None].repeat(10, axis=0) * 0.3
    found = disparity(Disparity(values), np.array([[10.5, 4.5]]), np.array([[10.5 - 3.15, 4.5]]))
    assert found["median"] == pytest.approx(0)


def test_transfer_goes_from_a_to_b() -> None:
    h = np.array([[1.2, 0.1, 5], [-0.1, 1.1, 9], [1e-4, 0, 1]])
    rng = np.random.default_rng(1)
    points0, marked = rng.uniform(0, 300, (50, 2)), rng.uniform(0, 300, (8, 2))
    truth = Points(marked, apply_homography(h, marked))
    assert transfer(truth, points0, apply_homography(h, points0))["error"] < 1e-3
    assert transfer(truth, apply_homography(h, points0), points0)["error"] > 10
    assert transfer(truth, points0[:3], points0[:3])["error"] == math.inf


def test_homogr_takes_the_validation_points(tmp_path: Path) -> None:
    folder = tmp_path / "homogr"
    for side in "AB":
        write_image(folder / f"wall{side}.png", blobs(20, 20))
    (folder / "wall_pts.txt").write_text("1 2 1 3 4 1 0\n5 6 1 7 8 1 1\n9 10 1 11 12 1 1\n")
    (case,) = homogr(tmp_path)
    assert isinstance(case.truth, Points)
    assert case.truth.points0.tolist() == [[5, 6], [9, 10]]
    assert case.truth.points1.tolist() == [[7, 8], [11, 12]]


def case_of(truth: Plane | Cameras) -> Case:
    picture = Picture(Path("none.png"))
    return Case("pair", picture, picture, truth, "gap 3")


def test_scores_of_a_plane_and_of_no_matches() -> None:
    case = case_of(Plane(np.eye(3), (100, 80)))
    points = np.random.default_rng(3).uniform(0, 80, (40, 2))
    found = score(case, points, points + np.array([2.0, 0]))
    assert (found["mma1"], found["mma3"], found["matches"]) == (0, 1, 40)
    assert found["error"] == pytest.approx(2, abs=1e-3)
    none = score(case, points[:0], points[:0])
    assert (none["mma3"], none["error"]) == (0, math.inf)


def test_poses_without_matches_fail() -> None:
    case = case_of(Cameras(np.eye(3), np.eye(3), np.eye(4)))
    scores = [score(case, np.zeros((0, 2)), np.zeros((0, 2)))]
    assert scores[0]["errors"] == [180] * 5
    assert summarise_poses(scores)["AUC@20"] == 0
    assert summarise_poses(scores)["AUC@10, gap 3"] == 0


def test_options() -> None:
    assert parse_options("") == {}
    assert parse_options("ratio=0.6,max_keypoints=50") == {"ratio": 0.6, "max_keypoints": 50}
    assert parse_options("ratio_th=[0.8,1,1],compat=false,hypotheses=full") == {
        "ratio_th": [0.8, 1, 1],
        "compat": False,
        "hypotheses": "full",
    }
    with pytest.raises(GCMError, match="key=value"):
        parse_options("ratio")


def test_lines(tmp_path: Path) -> None:
    assert spec_of("sift:ratio=0.6", tmp_path).options["ratio"] == 0.6
    assert spec_of("default:max_side=700", tmp_path).options["config"].max_side == 700
    with pytest.raises(MissingKeyError, match="surely_not_there"):
        spec_of("default:surely_not_there=1", tmp_path)
    lines, notes = chosen_lines(["sift", "ablations", "sift", "default:nope=1", "no-such"], tmp_path)
    assert lines[0].label == "sift"
    assert len(lines) + len(notes) == 1 + len(ABLATIONS) + 2
    assert "skipped" in notes[-2]
    assert "no-such" in notes[-1]


def test_fingerprint_follows_settings_and_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = ["default", "default:max_side=700", "sift", "sift:ratio=0.6"]
    prints = [make_line(label, tmp_path).fingerprint for label in labels]
    assert len(set(prints)) == len(prints)
    assert prints == [make_line(label, tmp_path).fingerprint for label in labels]
    package = tmp_path / "gcm"
    (package / "metrics").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "matcher.py").write_text("one")
    monkeypatch.setattr(accuracy_lines.gcm, "__file__", str(package / "__init__.py"))
    first = make_line("default", tmp_path).fingerprint
    (package / "metrics" / "pose.py").write_text("of no matter")
    assert make_line("default", tmp_path).fingerprint == first
    (package / "matcher.py").write_text("two")
    assert make_line("default", tmp_path).fingerprint != first
    (package / "matcher.py").write_text("one")
    (package / "weights.safetensors").write_bytes(b"trained")
    assert make_line("default", tmp_path).fingerprint != first


class Counting:
    name = "counting"
    calls = 0
    answer: type[Matches] = Matches

    def match(self, image0: np.ndarray, image1: np.ndarray) -> Matches:
        self.calls += 1
        points = np.array([[1.5, 2.25]])
        return self.answer(points, points + 1, np.array([0.5]), (20, 20), (20, 20))


def test_confidence_is_kept_with_the_matches_and_none_stays_none(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", blobs(20, 20))
    picture = Picture(tmp_path / "a.png")
    case = Case("a-a", picture, picture, Plane(np.eye(3), (20, 20)))
    for number, expected in enumerate((None, 0.75)):
        algorithm = Counting()
        algorithm.answer = partial(Matches, confidence=expected)
        line = Line("name", spec_of("sift", tmp_path), f"print{number}", algorithm)
        confidences = [predict(line, case, tmp_path / "work").confidence for _ in range(2)]
        assert confidences == [expected, expected]
        assert algorithm.calls <= 2


def test_predictions_serve_all_sets(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", blobs(20, 20))
    picture = Picture(tmp_path / "a.png")
    line = Line("name", spec_of("sift", tmp_path), "print", Counting())
    names = ("a-a", "confidence-a-a")
    fresh = [
        predict(line, Case(name, picture, picture, Unrelated()), tmp_path / "work").fresh for name in names
    ]
    assert fresh == [True, False]
    mirrored = Picture(tmp_path / "a.png", mirror=True)
    assert predict(line, Case("a-a", picture, mirrored, Unrelated()), tmp_path / "work").fresh


def test_predictions_are_kept_until_something_changes(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", blobs(20, 20))
    picture = Picture(tmp_path / "a.png")
    case = Case("a-a", picture, picture, Plane(np.eye(3), (20, 20)))
    algorithm = Counting()
    line = Line("name:key=1", spec_of("sift", tmp_path), "print", algorithm)
    first, second = (predict(line, case, tmp_path / "work") for _ in range(2))
    assert (algorithm.calls, first.fresh, second.fresh) == (1, True, False)
    assert second.points1.tolist() == first.points1.tolist() == [[2.5, 3.25]]
    predict(Line("name:key=1", line.spec, "other", algorithm), case, tmp_path / "work")
    assert algorithm.calls == 2
    turned_case = Case("a-a", picture, Picture(tmp_path / "a.png", turn=(90, 1.0)), case.truth)
    predict(line, turned_case, tmp_path / "work")
    assert algorithm.calls == 3


def good_table() -> dict[str, dict[str, dict[str, float]]]:
    """Numbers that just hold all bars."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for group, name, _, limit in LIMITS:
        table.setdefault(group, {}).setdefault(CHECKED, {})[name] = limit
    for groups, names, _, limit in CEILINGS:
        for group in groups:
            for name in names:
                table.setdefault(group, {}).setdefault(CHECKED, {})[name] = (
                    limit if group == groups[0] else 0.0
                )
    table["fmat-dev"]["fast"] = {"mAA": 0.92}
    table["wxbs-dev"]["robust"] = {"mAA": 0.62}
    table["evd-dev"]["robust"] = {"pairs under 10 px": 4.0}
    table["hololens"]["sift"] = {"AUC@10": 0.4}
    table["hololens"]["sift:ratio=0.6"] = {"AUC@10": 0.75}
    table["hololens"]["aliked-lightglue"] = {"AUC@10": 0.85}
    return table


def test_bars() -> None:
    table = good_table()
    checked = bars(table, {"ratio": 1.3})
    assert all(bar.holds for bar in checked), [str(bar) for bar in checked]
    assert not any(bar.holds for bar in bars({}, None))
    table["hololens"]["sift"]["AUC@10"] = 0.77  # the better of the two lines counts
    table["hololens"]["aliked-lightglue"]["AUC@10"] = 0.87
    missed = [bar for bar in bars(table, {"ratio": 1.31}) if not bar.holds]
    assert [bar.text.split(":")[0] for bar in missed] == ["hololens", "hololens", "easy upright pairs"]
    assert "MISSED" in str(missed[0])
    assert "not measured" in str(Bar("x", None, 1))


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, name, _, _ in LIMITS])
def test_each_bar_is_missed_by_a_hair(group: str, name: str) -> None:
    table = good_table()
    table[group][CHECKED][name] -= 1e-6
    (missed,) = [bar for bar in bars(table, {"ratio": 1.0}) if not bar.holds and "less" not in bar.text]
    assert missed.text.startswith(group)


def test_pairs_without_a_match_are_counted_over_all_sets() -> None:
    table = good_table()
    table["skies"][CHECKED]["more than 8 matches"] = 1.0
    (missed,) = [bar for bar in bars(table, {"ratio": 1.0}) if not bar.holds]
    assert (missed.value, missed.limit) == (3, 2)
    table["mirrored"][CHECKED]["of those sure"] = math.nan  # a matcher without confidence
    assert "not measured" in next(str(bar) for bar in bars(table, None) if "confidence over" in bar.text)


def test_tables() -> None:
    scores = [
        {"mma3": 0.5 if k == 3 else 1.0, "matches": 9, "group": f"{degrees} x {scale:g}"}
        for scale in SCALES
        for k, degrees in enumerate(ANGLES)
    ]
    numbers = summarise_synthetic(scores)
    assert numbers["lowest cell"] == 0.5
    written = set_table("synthetic", {"sift": numbers})
    assert "| `sift` | 0.500 | 0.938 | 9 |" in written
    assert written.count("0.500") == 1 + len(SCALES)
    report = {
        "date": "2026-01-01",
        "machine": "2 cores",
        "threads": 2,
        "versions": {"gcm": "1"},
        "command": "python -m benchmarks.accuracy",
        "tables": {"synthetic": {"sift": numbers}},
        "cost": None,
        "notes": ["`x`: skipped"],
    }
    whole = document(report, [Bar("some bar", 1.0, 0.5)])
    for part in ("2026-01-01", "gcm 1", "python -m benchmarks.accuracy", "some bar: 1.000", "`x`: skipped"):
        assert part in whole
    assert PEERS[0] == "sift"


class Sleeping:
    """A matcher that takes a set time, and counts how often it was told to forget."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.features, self.cache, self.forgotten = seconds, self, self, 0

    def clear(self) -> None:
        self.forgotten += 1

    def match(self, image0: object, image1: object) -> None:
        time.sleep(self.seconds)


def test_cost_compares_the_preset_with_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png", blobs(20, 20))
    picture = Picture(tmp_path / "a.png")
    made: dict[str, Sleeping] = {}

    class Spec:
        def __init__(self, label: str) -> None:
            self.label = label

        def create(self) -> Sleeping:
            return made.setdefault(self.label, Sleeping(0.06 if self.label == CHECKED else 0.03))

    monkeypatch.setattr(accuracy_bars, "spec_of", lambda label, shared: Spec(label))
    monkeypatch.setattr(
        accuracy_bars,
        "oxford_pair",
        lambda data, sequence, k: Case(f"{sequence}-{k}", picture, picture, Plane(np.eye(3), (20, 20))),
    )
    cost = accuracy_bars.measure_cost(tmp_path, repeats=2)
    assert cost["ratio"] == pytest.approx(2, rel=0.2)
    assert len(cost["pairs"]) == len(accuracy_bars.EASY_PAIRS)
    without = cost["compared with"]
    assert without.startswith("default:hypotheses=upright")
    assert ("second_round=false" in without) != ("second_round" in cost["keys that do not exist"])
    assert spec_of(without, tmp_path).options["config"].method.hypotheses == "upright"
    assert all(matcher.forgotten == 3 * len(cost["pairs"]) for matcher in made.values())
