"""What is known of a pair is computed once."""

from __future__ import annotations

import numpy as np

from gcm.config import load_config
from gcm.features.batching import Work, run_alone
from gcm.matcher import Matcher
from gcm.method.pair import Pair
from gcm.method.steps import Clock, matching_steps
from gcm.method.view import Seen
from gcm.options import GuidedOptions


def test_a_view_is_computed_once_while_nothing_else_is_looked_at() -> None:
    config = load_config("fast")
    assert isinstance(config.method, GuidedOptions)
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 255, (64, 80, 3), dtype=np.uint8) for _ in range(2)]
    pair = Pair(*images, matching_steps(config), config.method, Clock())
    matcher = Matcher(config, device="cpu")
    asked = []

    def answer(requests: list) -> list:  # type: ignore[type-arg]
        asked.extend(requests)
        return matcher.features.answer(requests)

    def seen(h: np.ndarray, *, swapped: bool = False) -> Seen:
        first, second = (pair.image1, pair.image0) if swapped else (pair.image0, pair.image1)
        work: Work[Seen] = pair.see((first, second), h)
        return run_alone(work, answer)

    shift, other = np.eye(3), np.eye(3)
    shift[0, 2], other[0, 2] = 3, 4
    one = seen(shift)
    assert len(asked) == 2  # image 0, and image 1 as it is warped
    assert seen(shift.copy()) is one
    assert len(asked) == 2
    assert np.array_equal(seen(other).warped1[:, 4:], pair.image1[:, :-4])
    assert seen(shift) is not one  # given up for the other
    assert len(asked) == 4
    # The same warp of the other image is another view.
    assert seen(shift, swapped=True).images[1] is pair.image0
    assert len(asked) == 6
