"""Functions side by side, and pairs matched that way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from gcm.benchmark.pairs import Pair
from gcm.benchmark.workers import match_pairs
from gcm.features.in_step import in_step
from gcm.matcher import Matcher
from gcm.matchers import algorithm_spec


def test_questions_of_a_round_are_answered_together() -> None:
    rounds: list[list[int]] = []

    def answer(questions: list[int]) -> list[int]:
        rounds.append(questions)
        return [10 * q for q in questions]

    def work(times: int, start: int) -> Callable[[Callable[[int], int]], int]:
        return lambda ask: sum(ask(start + k) for k in range(times))

    assert in_step([work(3, 0), work(1, 100), work(0, 0), work(2, 200)], answer) == [30, 1000, 0, 4010]
    assert rounds == [[0, 100, 200], [1, 201], [2]]
    assert in_step([], answer) == []


def test_what_is_raised_comes_back_to_who_asked() -> None:
    def refuse(questions: list[str]) -> list[str]:
        if "bad" in questions:
            raise ValueError("no")
        return questions

    def recovers(ask: Callable[[str], str]) -> str:
        try:
            return ask("bad")
        except ValueError:
            return ask("good")

    found = in_step([recovers, lambda ask: ask("fine")], refuse)
    assert found[0] == "good"
    assert isinstance(found[1], ValueError)

    def breaks(_: Callable[[str], str]) -> str:
        raise KeyError("mine")

    found = in_step([breaks, lambda ask: ask("fine")], refuse)
    assert isinstance(found[0], KeyError)
    assert found[1] == "fine"
    assert threading.active_count() < 20


@pytest.fixture(scope="module")
def pictures(photo: np.ndarray) -> list[np.ndarray]:
    turn = cv2.getRotationMatrix2D((160, 120), 12, 1.05)
    shift = np.array([[1, 0, 7.5], [0, 1, -4]], np.float32)
    half = cv2.resize(photo, (160, 120), interpolation=cv2.INTER_AREA)
    others = [cv2.warpAffine(photo, m, (320, 240)) for m in (turn, shift)]
    return [photo, *others, half]


def test_many_pairs_are_matched_as_each_alone(
    pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher = Matcher("default", device="cpu")
    pairs = [(pictures[0], other) for other in pictures[1:]] + [(pictures[1], pictures[2])]
    alone = [matcher.match(*pair) for pair in pairs]
    matcher.features.forget()
    batches: list[int] = []
    levels = matcher.features.backbone.levels
    monkeypatch.setattr(matcher.features.backbone, "levels", lambda x: (batches.append(len(x)), levels(x))[1])
    many = matcher.match_many(pairs)
    assert max(batches) >= 2  # the network saw images together
    assert sum(batches) < 2 * len(pairs) + 2  # and the one that pairs share once
    for one, other in zip(alone, many, strict=True):
        assert not isinstance(other, Exception)
        assert abs(len(one) - len(other)) <= 0.01 * len(one) + 2
        here = {tuple(p): q for p, q in zip(one.points0, one.points1, strict=True)}
        shared = [
            (here[tuple(p)], q) for p, q in zip(other.points0, other.points1, strict=True) if tuple(p) in here
        ]
        assert len(shared) > 0.98 * len(one)
        assert np.mean([np.linalg.norm(a - b) < 0.01 for a, b in shared]) > 0.99
    matcher.features.forget()
    again = matcher.match_many(pairs)
    for one, other in zip(many, again, strict=True):
        assert not isinstance(one, Exception)
        assert not isinstance(other, Exception)
        np.testing.assert_array_equal(one.points1, other.points1)


def test_one_bad_pair_of_many(pictures: list[np.ndarray], tmp_path: Path) -> None:
    paths = []
    for k, picture in enumerate(pictures):
        paths.append(tmp_path / f"{k}.png")
        cv2.imwrite(str(paths[-1]), picture)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    pairs = [Pair(paths[0], path, name=f"{k}") for k, path in enumerate([*paths[1:], broken, paths[1]])]
    spec = algorithm_spec("gcm", {"config": Matcher("default", device="cpu").config})
    found = list(match_pairs(spec, pairs, workers=1, at_once=3))
    assert [outcome.pair for outcome in found] == pairs
    assert [outcome.matches is None for outcome in found] == [False, False, False, True, False]
    assert "broken.png" in str(found[3].error)
    assert all(outcome.seconds > 0 for outcome in found)
    one = next(iter(match_pairs(spec, pairs[:1], workers=1)))
    assert one.matches is not None
    assert found[0].matches is not None
    assert abs(len(found[0].matches) - len(one.matches)) <= 0.01 * len(one.matches) + 2
