"""Makes the photos of examples/room and examples/turn: ``python examples/make_room.py FOLDER``.

A room that never was: photos of scikit-image's `data` folder (FOLDER) hang on its walls and lie on its floor,
and a camera walks past (`room`) or turns in its place (`turn`). So all cameras are known exactly.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
WIDTH, HEIGHT, FOCAL = 640, 480, 560.0
K = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
SAMPLES = 3  # a side of each pixel, so that edges and textures are as smooth as a camera's

# x to the right, y down, z ahead, metres. A surface: photo, corner, sides along its width and height.
SURFACES = [
    ("gravel.png", (-4, 1.3, 0.5), (8, 0, 0), (0, 0, 7)),
    ("hubble_deep_field.jpg", (-4, -2.7, 7.5), (8, 0, 0), (0, 4, 0)),
    ("brick.png", (-4, -2.7, 0.5), (0, 0, 7), (0, 4, 0)),
    ("grass.png", (4, -2.7, 7.5), (0, 0, -7), (0, 4, 0)),
    ("coffee.png", (-2.4, -1.0, 6.0), (2.1, 0, 0.5), (0, 1.4, 0)),
    ("rocket.jpg", (0.6, -1.5, 6.6), (2.2, 0, -0.7), (0, 1.5, 0)),
    ("chelsea.png", (-0.7, 0.3, 4.3), (1.5, 0, 0.3), (0, 1.0, 0)),
    ("astronaut.png", (1.3, 0.1, 4.8), (1.2, 0, -0.4), (0, 1.2, 0)),
    ("camera.png", (-2.9, 0.2, 4.6), (1.0, 0, -0.6), (0, 1.1, 0)),
]


def render(textures: list[NDArray[np.uint8]], rotation: NDArray[np.float64], centre: NDArray[np.float64]):
    """One photo, H x W x 3, by a camera with this rotation (world to camera) at this place."""
    ticks = [(np.arange(n * SAMPLES) + 0.5) / SAMPLES - 0.5 for n in (WIDTH, HEIGHT)]
    x, y = np.meshgrid(*ticks)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    image = np.full((len(rays), 3), 90, np.uint8)
    nearest = np.full(len(rays), np.inf)
    for texture, (_, corner, along, down) in zip(textures, SURFACES, strict=True):
        plane = K @ rotation @ np.column_stack([along, down, np.array(corner) - centre])
        u, v, closeness = np.linalg.inv(plane) @ rays.T
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v, depth = u / closeness, v / closeness, 1 / closeness
        seen = (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1) & (depth > 0) & (depth < nearest)
        if not seen.any():
            continue
        height, width = texture.shape[:2]
        places = [(s[seen] * (n - 1)).astype(np.float32)[None] for s, n in ((u, width), (v, height))]
        # OpenCV samples at most 32767 places a row.
        parts = [cv2.remap(texture, *(p[:, k : k + 30000] for p in places), cv2.INTER_LINEAR)[0]
                 for k in range(0, places[0].shape[1], 30000)]  # fmt: skip
        image[seen] = np.concatenate(parts)
        nearest[seen] = depth[seen]
    image = image.reshape(HEIGHT * SAMPLES, WIDTH * SAMPLES, 3)
    return cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def looking(centre: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation, world to camera, of an upright camera that looks at a place."""
    ahead = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross([0.0, 1.0, 0.0], ahead)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(ahead, right), ahead])


def main(folder: str) -> None:
    textures = [cv2.imread(str(Path(folder) / name)) for name, *_ in SURFACES]
    target = np.array([0.0, 0.0, 5.5])
    # Large steps aside let points be placed well in depth.
    walk = [np.array([x, -0.2 + 0.1 * np.cos(3 * x), 0.6 * abs(x) - 0.4]) for x in np.linspace(-1.2, 1.2, 6)]
    turn = [np.array([np.sin(a), 0, np.cos(a)]) for a in np.deg2rad([-20, 0, 20])]
    series = {
        "room": [(centre, looking(centre, target)) for centre in walk],
        "turn": [(np.zeros(3), looking(np.zeros(3), ahead)) for ahead in turn],
    }
    for name, cameras in series.items():
        (HERE / name).mkdir(exist_ok=True)
        truth = {}
        for number, (centre, rotation) in enumerate(cameras, 1):
            noise = np.random.default_rng(number).normal(0, 1.5, (HEIGHT, WIDTH, 3))
            photo = np.clip(render(textures, rotation, centre) + noise, 0, 255).astype(np.uint8)
            cv2.imwrite(str(HERE / name / f"{number}.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, 75])
            truth[f"{number}.jpg"] = {"R": rotation.tolist(), "t": (-rotation @ centre).tolist()}
        text = json.dumps({"K": K.tolist(), "world_to_camera": truth}, indent=1)
        (HERE / name / "cameras.json").write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
