"""What was computed of the images seen last, within a bound of memory."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Any, Generic, TypeVar

import numpy as np

from gcm.images.files import RGBImage

__all__ = ["FeatureCache", "image_key"]

V = TypeVar("V")


def image_key(image: RGBImage) -> bytes:
    """Equal for images of equal pixels, whichever file or array they came from."""
    pixels = np.ascontiguousarray(image)
    return hashlib.sha256(pixels.data).digest() + repr(pixels.shape).encode()


class FeatureCache(Generic[V]):
    """Values by key; when they take more than `max_bytes`, those not used for longest go.

    The value put in last always stays, however large it is, unless `max_bytes` is 0, which keeps nothing.
    Several threads may use one cache. A copied or pickled cache is empty.

    Args:
        max_bytes: memory the values may take.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[bytes, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> V | None:
        """The value of a key, None when it is not there (any more)."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: bytes, value: V, nbytes: int) -> None:
        """Keep a value that takes `nbytes`; an older value of that key goes."""
        if self.max_bytes <= 0:
            return
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = value, nbytes
            total = sum(size for _, size in self._entries.values())
            while total > self.max_bytes and len(self._entries) > 1:
                total -= self._entries.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    @property
    def nbytes(self) -> int:
        """Memory the values take."""
        with self._lock:
            return sum(size for _, size in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["max_bytes"])  # type: ignore[misc]
