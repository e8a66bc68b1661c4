"""Follow one point through a video: ``python examples/video.py [VIDEO X Y]``.

Without a video it makes one, a camera that moves over the example photo.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

import gcm

HERE = Path(__file__).parent
EVERY = 10  # frames from one match to the next


def make_film(file: str) -> None:
    photo = cv2.imread(str(HERE / "left.jpg"))
    writer = cv2.VideoWriter(file, cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    for k in range(31):
        writer.write(photo[2 * k : 2 * k + 240, 4 * k : 4 * k + 320])
    writer.release()


def main(file: str, x: float, y: float) -> None:
    capture, frames = cv2.VideoCapture(file), []
    while capture.grab():
        frames.append(capture.retrieve()[1][..., ::-1])  # OpenCV's BGR to RGB

    matcher, point = gcm.Matcher("fast"), np.array([x, y])  # it remembers the frame it saw last
    for k in range(0, len(frames) - EVERY, EVERY):
        matches = matcher.match(frames[k], frames[k + EVERY])
        near = np.linalg.norm(matches.points0 - point, axis=1).argsort()[:10]
        if len(near) == 0:
            print(f"frame {k + EVERY}: lost")
            return
        # The point moves as the matches around it do.
        point = point + np.median(matches.points1[near] - matches.points0[near], axis=0)
        print(f"frame {k + EVERY}: ({point[0]:.1f}, {point[1]:.1f}), {len(matches)} matches")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        make_film("film.avi")
        main("film.avi", 220, 140)
    else:
        main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
