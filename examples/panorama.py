"""Join photos of a camera that turned in its place: ``python examples/panorama.py [PHOTO ...]``."""

import sys
from itertools import combinations
from pathlib import Path

import gcm
from gcm.images import read_image, write_image
from gcm.viz import join_photos, stitch

TURN = Path(__file__).parent / "turn"


def main(files: list[str]) -> None:
    photos = [read_image(file).pixels for file in files]
    matcher = gcm.Matcher("fast")
    pairs = {(i, j): matcher.match(photos[i], photos[j]) for i, j in combinations(range(len(photos)), 2)}
    for (i, j), matches in pairs.items():
        print(f"{files[i]}, {files[j]}: {len(matches)} matches")

    panorama = join_photos([(photo.shape[1], photo.shape[0]) for photo in photos], pairs)
    write_image("panorama.jpg", stitch(photos, panorama))
    print(f"panorama.jpg: {len(panorama.to_picture)} of {len(photos)} photos")


if __name__ == "__main__":
    main(sys.argv[1:] or sorted(str(file) for file in TURN.glob("*.jpg")))
