"""Makes the example pair from scikit-image's `astronaut` photo: ``python examples/make_pair.py PHOTO``.

The right view is a homography of the left one, darker, warmer and noisier, as another camera would see it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).parent
SIZE = 512


def main(photo: str) -> None:
    image = cv2.imread(photo)
    corners = np.array([[0, 0], [SIZE - 1, 0], [SIZE - 1, SIZE - 1], [0, SIZE - 1]], np.float32)
    seen = np.array([[96, 38], [470, 8], [500, 420], [20, 492]], np.float32)
    h_left_to_right = cv2.getPerspectiveTransform(corners, seen)
    right = cv2.warpPerspective(image, h_left_to_right, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT_101)
    noise = np.random.default_rng(0).normal(0, 4, right.shape)
    right = 255 * (right / 255.0) ** 1.3 * np.array([0.8, 0.9, 1.0]) + noise
    cv2.imwrite(str(HERE / "left.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    cv2.imwrite(
        str(HERE / "right.jpg"), np.clip(right, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90]
    )
    np.savetxt(HERE / "h_left_to_right.txt", h_left_to_right, fmt="%.9g")


if __name__ == "__main__":
    main(sys.argv[1])
