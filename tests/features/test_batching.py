"""Generators side by side, and pairs matched that way."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gcm.benchmark.pairs import Pair
from gcm.benchmark.workers import match_pairs
from gcm.features.batching import Request, Work, run_alone, run_batched
from gcm.matcher import Matcher
from gcm.matchers import matcher_spec


def number_request(number: int) -> Request:
    return Request(np.full((1, 1, 3), number, np.uint8))


def number_of(request: Request) -> int:
    return int(request.image[0, 0, 0])


def summing(times: int, start: int) -> Work[int]:
    total = 0
    for k in range(times):
        total += yield number_request(start + k)
    return total


def test_requests_of_a_round_are_answered_together() -> None:
    rounds: list[list[int]] = []

    def answer(requests: list[Request]) -> list[int]:
        rounds.append([number_of(request) for request in requests])
        return [10 * number for number in rounds[-1]]

    works = [summing(3, 0), summing(1, 100), summing(0, 0), summing(2, 200)]
    assert run_batched(works, answer) == [30, 1000, 0, 4010]
    assert rounds == [[0, 100, 200], [1, 201], [2]]
    assert run_batched([], answer) == []


def test_several_are_asked_for_at_once() -> None:
    rounds: list[list[int]] = []

    def answer(requests: list[Request]) -> list[int]:
        rounds.append([number_of(request) for request in requests])
        return [10 * number for number in rounds[-1]]

    def two_then_one() -> Work[list[int]]:
        first, second = yield [number_request(1), number_request(2)]
        nothing = yield []
        third = yield number_request(3)
        return [first, second, *nothing, third]

    assert run_alone(two_then_one(), answer) == [10, 20, 30]
    assert run_batched([two_then_one(), summing(1, 7)], answer) == [[10, 20, 30], 70]
    assert rounds == [[1, 2], [], [3], [1, 2, 7], [], [3]]


def test_one_is_driven_alone() -> None:
    assert run_alone(summing(3, 5), lambda requests: [number_of(requests[0])]) == 18

    def breaks() -> Work[int]:
        yield number_request(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_alone(breaks(), lambda requests: [0])


def test_what_is_raised_comes_back_to_who_asked() -> None:
    def refuse(requests: list[Request]) -> list[str]:
        if any(number_of(request) == 13 for request in requests):
            raise ValueError("no")
        return ["fine" for _ in requests]

    def asks(number: int) -> Work[str]:
        return (yield number_request(number))

    def recovers() -> Work[str]:
        try:
            return (yield number_request(13))
        except ValueError:
            return (yield number_request(1))

    results = run_batched([recovers(), asks(2)], refuse)
    assert results[0] == "fine"
    assert isinstance(results[1], ValueError)

    def breaks() -> Work[str]:
        raise KeyError("mine")
        yield number_request(1)

    results = run_batched([breaks(), asks(2)], refuse)
    assert isinstance(results[0], KeyError)
    assert results[1] == "fine"


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
    matcher.features.cache.clear()
    batches: list[int] = []
    backbone = matcher.features.backbone
    pyramid = backbone.pyramid
    monkeypatch.setattr(backbone, "pyramid", lambda x: (batches.append(len(x)), pyramid(x))[1])
    many = matcher.match_many(pairs)
    assert max(batches) >= 2  # the network saw images together
    assert sum(batches) < 2 * len(pairs) + 2  # and the one that pairs share once
    for one, other in zip(alone, many, strict=True):
        assert not isinstance(other, Exception)
        assert abs(len(one) - len(other)) <= 0.01 * len(one) + 2
        # Of the image that was matched first, points are the centres of cells.
        from_first = bool((one.points0 % 2 == 0.5).all())
        sides = [(m.points0, m.points1) if from_first else (m.points1, m.points0) for m in (one, other)]
        here = {tuple(p): q for p, q in zip(*sides[0], strict=True)}
        shared = [(here[tuple(p)], q) for p, q in zip(*sides[1], strict=True) if tuple(p) in here]
        assert len(shared) > 0.98 * len(one)
        assert np.mean([np.linalg.norm(a - b) < 0.01 for a, b in shared]) > 0.99
    matcher.features.cache.clear()
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
    spec = matcher_spec("gcm", {"config": Matcher("default", device="cpu").config})
    found = list(match_pairs(spec, pairs, workers=1, at_once=3))
    assert [outcome.pair for outcome in found] == pairs
    assert [outcome.matches is None for outcome in found] == [False, False, False, True, False]
    assert "broken.png" in str(found[3].error)
    assert all(outcome.seconds > 0 for outcome in found)
    one = next(iter(match_pairs(spec, pairs[:1], workers=1)))
    assert one.matches is not None
    assert found[0].matches is not None
    assert abs(len(found[0].matches) - len(one.matches)) <= 0.01 * len(one.matches) + 2
