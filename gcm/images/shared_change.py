"""Changes to settings of the whole process, such as what is logged, that several threads may want at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

__all__ = ["SharedChange"]


class SharedChange:
    """A change that the first thread to enter makes, and the last to leave takes back.

    If each thread saved and restored the setting by itself, one that enters while another is inside would
    save the changed setting, and leave it behind for good.

    Args:
        change: gives a context manager that makes the change and takes it back.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[object]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._users = 0
        self._made: AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._made = self._change()
                self._made.__enter__()
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._made is not None:
                self._made.__exit__(None, None, None)
                self._made = None
