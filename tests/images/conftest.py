"""Images and checks that the tests of reading share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def small() -> np.ndarray:
    """48 x 32, no symmetry, no equal channels."""
    return np.random.default_rng(3).integers(0, 256, (32, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def deep() -> np.ndarray:
    """16 bits, using the whole range."""
    image = np.random.default_rng(4).integers(0, 65536, (32, 48, 3), dtype=np.uint16)
    image[0, 0], image[0, 1] = 0, 65535
    return image


@pytest.fixture(scope="session")
def one_line() -> Callable[..., None]:
    """Checks that an error's message is one line that holds some words."""

    def check(error: pytest.ExceptionInfo[Any], *words: str) -> None:
        text = str(error.value)
        assert "\n" not in text
        for word in words:
            assert word in text

    return check
