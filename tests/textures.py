"""Pictures that look like photos enough to be matched."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def texture(seed: int) -> NDArray[np.uint8]:
    """Smooth noise at several scales, 240 x 320 RGB, the same every time."""
    import cv2

    rng = np.random.default_rng(seed)
    image = np.zeros((240, 320, 3), np.float32)
    for scale in (4, 8, 16, 40):
        noise = rng.uniform(0, 1, (240 // scale + 2, 320 // scale + 2, 3)).astype(np.float32)
        image += cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)
    image -= image.min()
    return np.asarray(255 * image / image.max(), np.uint8)
