"""What matching a list costs, foretold from a sample of its pairs.

    seconds of all workers = s W + i F + p P        bytes = b P

for W workers that make the matcher, F image features that are computed and P pairs: s seconds to make the
matcher, i to read an image and compute its features, p to match a pair whose images' features are there, b
bytes a pair. F is counted, not measured: from the cut, and from how many images' features a worker keeps.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from gcm.benchmark.pairs import Pair
from gcm.errors import DatasetError, GCMError
from gcm.features.cache import FeatureCache
from gcm.matchers import MatcherSpec, PairMatcher
from gcm.scale.cut import Cut, computed_features, image_numbers

__all__ = ["Coefficients", "Prediction", "count_features", "measure", "predict"]

SAMPLE = 40
"""Pairs that are matched to measure by."""
_SEED = 0


@dataclass(frozen=True)
class Coefficients:
    """What a part of the work costs, on one worker of the machine that measured it."""

    start_seconds: float
    """To make the matcher."""
    image_seconds: float
    """To compute an image's features."""
    pair_seconds: float
    """To match a pair whose features are there and to write the matches."""
    pair_bytes: float
    image_bytes: float
    """Memory that an image's features take; 0 where the matcher does not say."""
    kept_images: int | None
    """Images whose features a worker keeps; None for all."""
    pairs: int
    """That were measured."""


@dataclass(frozen=True)
class Prediction:
    """What a list is going to cost."""

    features: int
    """Image features that are computed."""
    pairs: int
    workers: int
    work_seconds: float
    """Of all workers together."""
    result_bytes: float

    @property
    def seconds(self) -> float:
        """From start to end, if all workers are alike and busy to the end."""
        return self.work_seconds / self.workers


def measure(
    spec: MatcherSpec,
    pairs: Sequence[Pair],
    *,
    sample: int = SAMPLE,
    on_pair: Callable[[], None] | None = None,
) -> Coefficients:
    """Match a sample of a list, each pair with no features at hand and once more with both images'.

    Args:
        spec: the matcher and its options.
        pairs: the list.
        sample: how many of its pairs, drawn by chance but the same every time.
        on_pair: called after each.

    Raises:
        DatasetError: not one of them can be matched.
        GCMError: the matcher cannot be made.
    """
    began = time.perf_counter()
    matcher = spec.create()
    start_seconds = time.perf_counter() - began
    chosen = random.Random(_SEED).sample(list(pairs), min(sample, len(pairs)))
    cold, warm, sizes, features = [], [], [], []
    reason = ""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "matches.npz"
        # The first is matched once more, for what is slow only once is no part of a pair.
        for number, pair in enumerate([*chosen[:1], *chosen]):
            cache = _cache(matcher)
            if cache is not None:
                cache.clear()
            try:
                seconds = [_match(matcher, pair, file) for _ in range(2)]
            except GCMError as error:
                reason = str(error)
                continue
            finally:
                if on_pair is not None:
                    on_pair()
            if number == 0:
                continue
            cold.append(seconds[0])
            warm.append(seconds[1])
            sizes.append(file.stat().st_size)
            if cache is not None:
                features.append(cache.nbytes / max(1, len(cache)))
    if not cold:
        raise DatasetError(f"none of {len(chosen)} pairs can be matched, to measure what they cost; {reason}")
    image_bytes = fmean(features) if features else 0.0
    return Coefficients(
        start_seconds=start_seconds,
        image_seconds=max(0.0, fmean(cold) - fmean(warm)) / 2,
        pair_seconds=fmean(warm),
        pair_bytes=fmean(sizes),
        image_bytes=image_bytes,
        kept_images=_kept(matcher, image_bytes),
        pairs=len(cold),
    )


def _match(matcher: PairMatcher, pair: Pair, file: Path) -> float:
    began = time.perf_counter()
    matcher.match(pair.image0, pair.image1).save(file)
    return time.perf_counter() - began


def _cache(matcher: PairMatcher) -> FeatureCache[object] | None:
    """Where a matcher of ours keeps features."""
    cache = getattr(getattr(matcher, "features", matcher), "cache", None)
    return cache if isinstance(cache, FeatureCache) else None


def _kept(matcher: PairMatcher, image_bytes: float) -> int | None:
    cache = _cache(matcher)
    if cache is None or not image_bytes:
        return None
    return max(2, int(cache.max_bytes / image_bytes))


def count_features(pairs: Sequence[Pair], cut: Cut, kept_images: int | None) -> int:
    """How often features are computed when the parts of a cut are matched, each by a fresh worker.

    Args:
        pairs: the list that was cut.
        cut: how.
        kept_images: images whose features a worker keeps; None for all.
    """
    if kept_images is None:
        return sum(cut.part_images)
    ends = image_numbers(pairs)
    return sum(computed_features((ends[k] for k in part), kept_images) for part in cut.parts)


def predict(coefficients: Coefficients, *, features: int, pairs: int, workers: int = 1) -> Prediction:
    """What a list costs that computes so many image features and matches so many pairs."""
    seconds = (
        coefficients.start_seconds * workers
        + coefficients.image_seconds * features
        + coefficients.pair_seconds * pairs
    )
    return Prediction(features, pairs, workers, seconds, coefficients.pair_bytes * pairs)
