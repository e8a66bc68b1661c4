"""The one cache of features."""

from __future__ import annotations

import pickle

import numpy as np

from gcm.features.cache import FeatureCache, image_key


def test_what_is_not_used_for_longest_goes_first() -> None:
    cache: FeatureCache[str] = FeatureCache(100)
    for key in (b"a", b"b"):
        cache.put(key, key.decode(), 40)
    assert cache.get(b"a") == "a"  # used again
    cache.put(b"c", "c", 40)
    assert cache.get(b"b") is None
    assert (cache.get(b"a"), cache.get(b"c")) == ("a", "c")
    assert cache.nbytes == 80
    cache.put(b"a", "new", 10)
    assert cache.get(b"a") == "new"
    assert cache.nbytes == 50


def test_the_last_stays_however_large_and_nothing_with_no_room() -> None:
    cache: FeatureCache[str] = FeatureCache(10)
    cache.put(b"a", "a", 8)
    cache.put(b"b", "b", 1000)
    assert (cache.get(b"a"), cache.get(b"b"), len(cache)) == (None, "b", 1)
    none: FeatureCache[str] = FeatureCache(0)
    none.put(b"a", "a", 0)
    assert len(none) == 0


def test_copies_are_empty() -> None:
    cache: FeatureCache[str] = FeatureCache(10)
    cache.put(b"a", "a", 8)
    other = pickle.loads(pickle.dumps(cache))
    assert len(other) == 0
    assert other.max_bytes == 10
    other.put(b"b", "b", 1)
    assert other.get(b"b") == "b"
    cache.clear()
    assert cache.nbytes == 0


def test_a_key_is_of_pixels_and_shape() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert image_key(image) == image_key(image.copy())
    assert image_key(image[:, ::-1]) == image_key(image[:, ::-1].copy())
    assert image_key(image) != image_key(image.reshape(4, 2, 3))
    assert image_key(image) != image_key(image + 1)
