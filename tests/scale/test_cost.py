"""The cost model: what it counts, and that it foretells a run of what it measured."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from made_list import SPEC

from gcm.benchmark.pairs import Pair
from gcm.errors import DatasetError
from gcm.images.files import ImageLike
from gcm.matchers import MatcherSpec
from gcm.matchers.local_features import LocalFeatures
from gcm.scale.cost import Coefficients, count_features, measure, predict
from gcm.scale.cut import cut_pairs

IMAGE, PAIR, START = 0.03, 0.01, 0.05


class Slow(LocalFeatures[Any]):
    """Takes as long as it is told to, on top of ORB."""

    name = "slow"

    def __init__(self) -> None:
        super().__init__()
        time.sleep(START)
        self.inner: Any = SPEC.create()

    def detect(self, image: Any) -> Any:
        time.sleep(IMAGE)
        return self.inner.detect(image)

    def pair(self, features0: Any, features1: Any) -> Any:
        time.sleep(PAIR)
        return self.inner.pair(features0, features1)


class SlowSpec(MatcherSpec):
    def create(self) -> Any:
        return Slow()


def test_parts_are_told_apart(pairs: list[Pair]) -> None:
    measured = measure(SlowSpec("slow"), pairs, sample=8)
    # Sleeping takes at least as long as it should; more only on a busy machine.
    assert measured.image_seconds > 0.8 * IMAGE
    assert measured.pair_seconds > PAIR
    assert measured.start_seconds > START
    assert measured.pairs == 8
    assert measured.pair_bytes > 1000
    assert measured.image_bytes > 1000
    assert measured.kept_images is not None
    assert measured.kept_images > 100


def test_a_prediction_adds_up(pairs: list[Pair]) -> None:
    cost = Coefficients(2.0, 0.5, 0.1, 1000.0, 5e6, 40, 8)
    told = predict(cost, features=100, pairs=1000, workers=4)
    assert told.work_seconds == pytest.approx(4 * 2 + 100 * 0.5 + 1000 * 0.1)
    assert told.seconds == pytest.approx(told.work_seconds / 4)
    assert told.result_bytes == 1_000_000
    cut = cut_pairs(pairs, 4)
    assert count_features(pairs, cut, None) == sum(cut.part_images)
    assert count_features(pairs, cut, 1000) == sum(cut.part_images)
    assert count_features(pairs, cut, 2) > sum(cut.part_images)


class Strange(MatcherSpec):
    """A matcher of another package, of which nothing is known."""

    def create(self) -> Any:
        inner = SPEC.create()

        class Matcher:
            name = "strange"

            def match_many(self, pairs: Any) -> Any:
                return inner.match_many(pairs)

            def match(self, image0: ImageLike, image1: ImageLike) -> Any:
                return inner.match(image0, image1)

        return Matcher()


def test_a_matcher_that_does_not_say_what_it_keeps(pairs: list[Pair]) -> None:
    measured = measure(Strange("strange"), pairs, sample=3)
    assert (measured.kept_images, measured.image_bytes, measured.pairs) == (None, 0, 3)


def test_pairs_that_cannot_be_matched(tmp_path: Path, pairs: list[Pair]) -> None:
    gone = [Pair(tmp_path / "a.png", tmp_path / f"{k}.png", None, f"a_{k}") for k in range(3)]
    with pytest.raises(DatasetError, match=r"none of 3 pairs can be matched.*no such file"):
        measure(SPEC, gone)
    assert 1 <= measure(SPEC, [*gone, *pairs[:3]], sample=6).pairs <= 3
