"""Match two photos: ``python examples/two_photos.py [LEFT RIGHT]``.

Writes the points, a picture of them, and one photo laid over the other.
"""

import sys
from pathlib import Path

import gcm
from gcm.images import read_image, write_image
from gcm.viz import draw_matches, overlay_photos

HERE = Path(__file__).parent


def main(left: str, right: str) -> None:
    matches = gcm.match(left, right)
    print(f"{len(matches)} matches, confidence {matches.confidence:.2f}")
    for (x0, y0), (x1, y1) in zip(matches.points0[:5], matches.points1[:5], strict=True):
        print(f"({x0:.2f}, {y0:.2f}) is ({x1:.2f}, {y1:.2f})")

    matches.save("matches.npz")
    photos = read_image(left).pixels, read_image(right).pixels
    write_image("matches.png", draw_matches(*photos, matches))
    if matches.h_0_to_1 is not None:
        write_image("overlay.png", overlay_photos(*photos, matches.h_0_to_1))


if __name__ == "__main__":
    main(*(sys.argv[1:] or [str(HERE / "left.jpg"), str(HERE / "right.jpg")]))
