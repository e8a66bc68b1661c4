"""The accuracy benchmark where the verdict counts: crops, pairs without a match, order, confidence."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.accuracy import __main__ as accuracy
from benchmarks.accuracy.__main__ import ABLATIONS, reliability_table, run_set, set_table
from benchmarks.accuracy.lines import Line, spec_of
from benchmarks.accuracy.measures.verdicts import agreement, reliability, verdict
from benchmarks.accuracy.scores import SUMMARIES, score
from benchmarks.accuracy.sets import (
    DEFAULT_SETS,
    LONG_SETS,
    SETS,
    Ambiguous,
    Case,
    Drawn,
    EitherOrder,
    Picture,
    RightOrNothing,
    SamePlace,
    Unrelated,
    unmatchable,
)
from benchmarks.accuracy.sets.combined import FALSE_SETS, ORDER_PAIRS, TRUE_SETS
from benchmarks.accuracy.sets.crops import cut, overlap_share, second_view, textured_place
from benchmarks.accuracy.sets.unmatchable import FACADES, ambiguous, facade_periods, skies
from gcm.images.files import write_image
from gcm.matches import Matches

SHIFT = np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]])
PICTURE = Picture(Path("none.png"))


def blobs(width: int, height: int) -> np.ndarray:
    noise = np.random.default_rng(0).uniform(0, 255, (height, width, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, None, 3)


def points(count: int, shift: float = 0) -> np.ndarray:
    """Always the same, `shift` px to the right."""
    return np.random.default_rng(1).uniform(0, 100, (count, 2)) + np.array([shift, 0])


@pytest.mark.parametrize(
    ("right", "off", "expected"),
    [(8, 2, "right"), (8, 3, "wrong"), (7, 0, "none"), (0, 7, "none"), (0, 8, "wrong"), (0, 0, "none")],
)
def test_verdicts(right: int, off: int, expected: str) -> None:
    points0 = points(right + off)
    points1 = points(right + off, 10)
    points1[:right] += (0, 2.9)
    points1[right:] += (0, 3.1)
    assert verdict(RightOrNothing(SHIFT), points0, points1)["verdict"] == expected
    assert verdict(Ambiguous(SHIFT), points0, points1)["verdict"] == expected


def test_verdicts_are_counted_by_group() -> None:
    case = Case("pair", PICTURE, PICTURE, RightOrNothing(SHIFT), "12 %")
    right, wrong = points(20, 10), points(20)
    scores = [score(case, points(20), answer) for answer in (right, wrong)]
    scores.append(score(replace(case, group="20 %"), points(0), points(0)))
    numbers = SUMMARIES["overlap"](scores)
    assert (numbers["right, 12 %"], numbers["wrong, 12 %"], numbers["pairs, 12 %"]) == (1, 1, 2)
    assert (numbers["right, 20 %"], numbers["wrong, 20 %"], numbers["pairs, 20 %"]) == (0, 0, 1)


def test_unrelated_pairs_with_matches_and_how_sure_they_are() -> None:
    case = Case("pair", PICTURE, PICTURE, Unrelated())
    scores = [
        score(case, points(n), points(n), confidence)
        for n, confidence in ((8, 0.9), (9, 0.5), (300, 0.51), (0, None))
    ]
    numbers = SUMMARIES["unrelated-100"](scores)
    assert numbers == {"pairs": 4, "more than 8 matches": 2, "of those sure": 1, "most matches": 300}
    scores.append(score(case, points(9), points(9)))  # of a matcher without confidence
    assert math.isnan(SUMMARIES["skies"](scores)["of those sure"])
    assert " - |" in set_table("skies", {"sift": SUMMARIES["skies"](scores)})


def test_a_wrong_answer_to_repeated_windows_may_be_given_in_doubt() -> None:
    case = Case("pair", PICTURE, PICTURE, Ambiguous(SHIFT))
    good, bad = points(20, 10), points(20, 60)
    scores = [
        score(case, points(20), answer, confidence)
        for answer, confidence in ((good, 0.1), (bad, 0.49), (bad, 0.5), (bad, None))
    ]
    numbers = SUMMARIES["ambiguous"](scores)
    assert numbers == {"right pairs": 1, "wrong and sure": 2, "wrong but doubtful": 1, "pairs": 4}


def test_agreement_of_both_orders() -> None:
    first = points(2500) * 20, points(2500) * 20 + 10
    assert agreement(first, first) == {"same": True, "share": 1, "swapped": 2500}
    some = first[0][:1000].copy(), first[1][:1000].copy()
    some[0][:200] += (0.9, 0)  # still within 1 px
    some[1][200:300] += (0, 1.1)
    # Near in image 0 to one match and in image 1 to another is no counterpart.
    assert agreement(first, some)["share"] == agreement(some, first)["share"] == pytest.approx(0.9, abs=0.001)
    crossed = np.array([[0.0, 0], [50, 0]]), np.array([[0.0, 0], [50, 0]])
    assert agreement(crossed, (crossed[0], crossed[1][::-1]))["share"] == 0
    none = points(0), points(0)
    assert agreement(first, none)["same"] is False
    assert math.isnan(agreement(first, none)["share"])
    assert agreement(none, (points(7), points(7)))["same"] is True


class OneSided:
    """Finds 20 true matches of images shifted by 10 px, only where the brighter one comes first."""

    name = "one-sided"

    def match(self, image0: np.ndarray, image1: np.ndarray) -> Matches:
        sizes = (100, 100), (100, 100)
        shift = 10 if image0.mean() > image1.mean() else -10
        count = 20 if shift > 0 else 5
        points0 = points(20, 0 if shift > 0 else 10)
        return Matches(points0[:count], points(20, 10 if shift > 0 else 0)[:count], np.ones(count), *sizes)


def test_run_matches_in_either_order_and_turns_the_second_answer_round(tmp_path: Path) -> None:
    bright, dark = (
        Drawn(lambda value=value: np.full((100, 100, 3), value, np.uint8)) for value in (200, 100)
    )
    case = Case("pair", bright, dark, EitherOrder(), "oxford-dev")
    line = Line("name", spec_of("sift", tmp_path), "print", OneSided())
    result = run_set(line, "order", [case], tmp_path)
    (pair,) = result["pairs"]
    assert (pair["matches"], pair["swapped"]) == (20, 5)
    assert pair["same"] is False
    assert pair["share"] == 1  # what there is, is the same
    numbers = result["summary"]
    assert (numbers["same verdict"], numbers["pairs"], numbers["pairs with matches"]) == (0, 1, 0)
    with pytest.raises(ValueError, match="other order"):
        score(case, points(3), points(3))


def test_reliability_diagram() -> None:
    confidences = np.array([0.0, 0.05, 0.1, 0.95, 1.0, 0.92, np.nan])
    same = np.array([False, True, False, True, True, False, True])
    rows = reliability(confidences, same)
    assert [row["count"] for row in rows] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 3]
    assert (rows[0]["predicted"], rows[0]["observed"]) == (0.025, 0.5)
    assert rows[9]["observed"] == pytest.approx(2 / 3)
    assert math.isnan(rows[5]["observed"])
    written = reliability_table(rows)
    assert "| 0.0 | 0.025 | 0.500 | 2 |" in written
    assert "| 0.5 | - | - | 0 |" in written


def test_confidence_of_true_and_of_false_pairs() -> None:
    def entry(same: bool, confidence: float | None, group: str) -> dict[str, object]:
        case = Case("pair", PICTURE, PICTURE, SamePlace(same), group)
        return score(case, points(3), points(3), confidence)

    scores = [entry(True, 0.5, "stereo"), entry(True, 0.49, "homogr"), entry(False, 0.7, "skies")]
    numbers = SUMMARIES["confidence"](scores)
    assert numbers["sure of true pairs"] == 0.5
    assert numbers["sure of false pairs"] == 1
    assert (numbers["stereo"], numbers["homogr"], numbers["skies"]) == (1, 0, 1)
    without = SUMMARIES["confidence"]([entry(True, None, "stereo"), entry(False, None, "skies")])
    assert math.isnan(without["sure of true pairs"])


class SureOfAll:
    """One match of each pair, and always as sure."""

    name = "sure"

    def match(self, image0: np.ndarray, image1: np.ndarray) -> Matches:
        one = np.array([[1.0, 2.0]])
        return Matches(one, one, np.ones(1), (9, 9), (9, 9), confidence=0.75)


def test_the_command_writes_the_reliability_and_spares_ablations_the_long_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = [Drawn(lambda v=v: np.full((9, 9, 3), v, np.uint8)) for v in range(4)]
    cases = [
        Case("true", grey[0], grey[1], SamePlace(True), "stereo"),
        Case("false", grey[2], grey[3], SamePlace(False), "skies"),
    ]
    ablation = next(iter(ABLATIONS))
    monkeypatch.setattr(accuracy, "DEFAULT_SETS", ["confidence"])
    monkeypatch.setitem(accuracy.SETS, "confidence", lambda data: cases)
    lines = [Line(label, spec_of("sift", tmp_path), "print", SureOfAll()) for label in ("default", ablation)]
    monkeypatch.setattr(accuracy, "chosen_lines", lambda names, shared: (lines, []))
    files = tmp_path / "all.json", tmp_path / "tables.md"
    arguments = ["--work", str(tmp_path / "work"), "--json", str(files[0]), "--markdown", str(files[1])]
    monkeypatch.setattr("sys.argv", ["accuracy", *arguments])
    assert accuracy.main() == 0
    report = json.loads(files[0].read_text())
    assert list(report["details"]["confidence"]) == ["default"]
    rows = report["reliability"]["default"]
    assert rows[7] == {"from": 0.7, "predicted": 0.75, "observed": 0.5, "count": 2}
    assert rows[0]["observed"] is None  # of no pairs; nan is no JSON
    written = files[1].read_text()
    assert "| 0.7 | 0.750 | 0.500 | 2 |" in written
    assert "| `default` | 1.000 | 1.000 | 1 | 1 | 1.000 | 1.000 |" in written
    monkeypatch.setattr("sys.argv", ["accuracy", *arguments, "--sets", "confidence", "--algorithms", "x"])
    monkeypatch.setattr(accuracy, "DEFAULT_SETS", [*accuracy.DEFAULT_SETS, "order"])
    assert accuracy.main() == 0  # named, so for ablations too
    assert list(json.loads(files[0].read_text())["details"]["confidence"]) == ["default", ablation]


def test_every_set_has_a_summary() -> None:
    assert set(SETS) == set(SUMMARIES)
    assert set(DEFAULT_SETS) | {"unrelated-100"} == set(SETS)
    assert set(LONG_SETS) < set(DEFAULT_SETS)
    assert set(TRUE_SETS) | set(FALSE_SETS) < set(SETS)
    assert sum(ORDER_PAIRS.values()) == 40


@pytest.mark.parametrize("photo", [(512, 384), (400, 512)])
@pytest.mark.parametrize("share", [0.12, 0.2])
@pytest.mark.parametrize("seed", range(4))
def test_two_views_overlap_as_asked_and_lie_in_the_photo(
    photo: tuple[int, int], share: float, seed: int
) -> None:
    size, matrix = second_view(photo, share, seed)
    assert overlap_share(size, matrix) == pytest.approx(share, abs=0.008)
    inside = cv2.warpPerspective(
        np.ones(photo[::-1], np.uint8), matrix, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
    assert inside.mean() > 0.999


def test_a_second_view_shows_what_its_homography_says(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", blobs(300, 200))
    photo = Picture(tmp_path / "a.png")
    size, matrix = second_view((300, 200), 0.2, 0)
    view = cut(photo, size, matrix)
    x, y = 40, 60
    place = matrix @ (x, y, 1)
    place = (place[:2] / place[2]).astype(np.float32)
    expected = cv2.remap(blobs(300, 200), place.reshape(1, 1, 2), None, cv2.INTER_LINEAR)[0, 0]
    assert np.abs(view[y, x].astype(float) - expected).max() < 5
    assert np.array_equal(cut(photo, size, np.eye(3)), blobs(300, 200)[: size[1], : size[0]])
    darker = cut(photo, size, matrix, 1.0, 0.8)
    assert darker.mean() == pytest.approx(0.8 * view.mean(), rel=0.02)


def test_a_part_is_taken_where_there_is_texture() -> None:
    image = np.full((200, 300, 3), 128, np.uint8)
    image[100:, 150:] = blobs(150, 100)
    for seed in range(5):
        x, y = textured_place(image, (40, 40), seed)
        assert image[y : y + 40, x : x + 40].std() > 0
        assert textured_place(image, (40, 40), seed) == (x, y)


def test_facades_are_the_same_wall_moved_and_look_alike_when_moved_otherwise() -> None:
    cases = ambiguous(Path("data"))
    assert len(cases) == FACADES + 1
    for number, case in enumerate(cases[:-1]):
        assert isinstance(case.truth, Ambiguous)
        first, second = (image.load().astype(int) for image in (case.image0, case.image1))
        height, width = first.shape[:2]
        x, y = (-case.truth.h_0_to_1[:2, 2]).astype(int)
        assert np.array_equal(first[y:, x:], second[: height - y, : width - x])
        across, down = facade_periods(number)
        x, y = x % across, y % down  # the rival motion: the windows fall on windows
        rival = (first[y:, x:] != second[: height - y, : width - x]).any(axis=2).mean()
        assert 0 < rival < 0.1  # only the sign tells


def test_skies_share_a_gradient_and_nothing_else() -> None:
    for case in skies(Path("data"))[:-1]:
        first, second = (image.load().astype(float) for image in (case.image0, case.image1))
        rows = first.mean(axis=1), second.mean(axis=1)
        assert np.abs(rows[0] - rows[1]).max() < 6
        noise = [
            (image - image.mean(axis=1, keepdims=True)).mean(axis=2).ravel() for image in (first, second)
        ]
        assert noise[0].std() > 0.5
        assert abs(np.corrcoef(*noise)[0, 1]) < 0.2
        assert np.array_equal(first, case.image0.load())


def test_identity_of_a_drawn_image_follows_its_pixels() -> None:
    black, also, grey = (Drawn(lambda v=v: np.full((4, 6, 3), v, np.uint8)) for v in (0, 0, 9))
    assert black.identity == also.identity != grey.identity
    assert black.identity != Drawn(lambda: np.zeros((6, 4, 3), np.uint8)).identity


def test_unrelated_pairs_join_two_sources_and_begin_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [tmp_path / f"bsds{k}.jpg" for k in range(500)]
    others = [tmp_path / f"other{k}.jpg" for k in range(400)]
    monkeypatch.setattr(
        unmatchable, "_files", lambda data, patterns: ours if "bsds" in patterns[0] else others
    )
    cases = SETS["unrelated"](tmp_path)
    assert len(cases) == 1000
    pairs = [{case.image0.path, case.image1.path} for case in cases]
    assert all(len(pair & set(ours)) == 1 for pair in pairs)
    assert set(Counter(path for pair in pairs for path in pair & set(ours)).values()) == {2}
    assert len({frozenset(pair) for pair in pairs}) >= 990
    assert [case.image0 for case in SETS["unrelated-100"](tmp_path)] == [c.image0 for c in cases[:100]]


def test_a_mirrored_picture_is_the_mirror_image(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", blobs(20, 10))
    plain, mirrored = (Picture(tmp_path / "a.png", mirror=mirror) for mirror in (False, True))
    assert np.array_equal(mirrored.load(), plain.load()[:, ::-1])
    assert mirrored.identity != plain.identity


@pytest.mark.slow
def test_sizes_of_the_sets(shared: Path) -> None:
    data = shared / "data"
    expected = {
        "overlap": 16,
        "parts": 16,
        "strips": 16,
        "unrelated": 1000,
        "unrelated-100": 100,
        "mirrored": 50,
        "skies": 21,
        "ambiguous": 13,
        "order": 40,
    }
    cases = {name: SETS[name](data) for name in expected}
    assert {name: len(pairs) for name, pairs in cases.items()} == expected
    assert all(len({case.name for case in pairs}) == len(pairs) for pairs in cases.values())
    assert Counter(case.group for case in cases["overlap"]) == {"12 %": 7, "20 %": 9}
    everything = SETS["confidence"](data)
    assert Counter(case.truth.same for case in everything)[False] == 1071


@pytest.mark.slow
@pytest.mark.parametrize(("name", "small"), [("parts", (96, 96)), ("strips", (24, 512))])
def test_parts_and_strips_lie_where_their_homography_says(
    shared: Path, name: str, small: tuple[int, int]
) -> None:
    for case in SETS[name](shared / "data"):
        assert isinstance(case.truth, RightOrNothing)
        first, second = case.image0.load(), case.image1.load()
        part_first = case.group.endswith("photo")
        part, photo = (first, second) if part_first else (second, first)
        assert part.shape[:2] == small
        assert max(photo.shape) == 512
        h = case.truth.h_0_to_1 if part_first else np.linalg.inv(case.truth.h_0_to_1)
        x, y = h[:2, 2].astype(int)
        assert np.array_equal(photo[y : y + small[0], x : x + small[1]], part)


@pytest.mark.slow
def test_overlapping_crops_show_the_same_where_their_homography_says(shared: Path) -> None:
    for case in SETS["overlap"](shared / "data"):
        assert isinstance(case.truth, RightOrNothing)
        first, second = case.image0.load(), case.image1.load()
        size = first.shape[1::-1]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpPerspective(second, case.truth.h_0_to_1, size, flags=flags)
        ones = np.ones(second.shape[:2], np.uint8)
        both = cv2.warpPerspective(ones, case.truth.h_0_to_1, size, flags=flags) > 0
        assert both.mean() == pytest.approx(float(case.group.split()[0]) / 100, abs=0.015)
        assert np.corrcoef(first[both].ravel(), moved[both].ravel())[0, 1] > 0.9
