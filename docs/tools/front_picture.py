"""Makes the picture at the head of the README: ``python docs/tools/front_picture.py``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import gcm
from gcm.images.files import read_image, write_image
from gcm.viz import draw_matches, overlay_photos

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "images" / "match.jpg"
HEIGHT = 380


def main(target: Path = PICTURE) -> None:
    """Both example photos with lines between their matches; beside them one photo laid over the other."""
    left, right = (read_image(ROOT / "examples" / f"{name}.jpg").pixels for name in ("left", "right"))
    matches = gcm.match(left, right, device="cpu")
    lines = draw_matches(left, right, matches, lines=60)
    laid = overlay_photos(left, right, matches.h_0_to_1, view="checkerboard")
    gap = np.full((HEIGHT, 10, 3), 255, np.uint8)
    write_image(target, np.hstack([scaled(lines), gap, scaled(laid)]))


def scaled(picture: np.ndarray) -> np.ndarray:
    """A picture of the height of the whole."""
    width = round(picture.shape[1] * HEIGHT / picture.shape[0])
    return cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
