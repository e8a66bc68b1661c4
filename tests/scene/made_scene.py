"""A made scene of which everything is known: a relief seen by cameras around it, and matches of all pairs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from gcm.matches import Matches

SIZE = 320, 240
TURNED = 3
"""The photo that lies on its side in its file, as EXIF says."""

K = np.array([[300.0, 0, 158.0], [0, 302.0, 121.0], [0, 0, 1]])


@dataclass(frozen=True)
class MadeScene:
    """Where the photos and the results of matching lie, and the truth."""

    images: Path
    results: Path
    cameras: list[np.ndarray]
    """3 x 4 each, world to pixels of the upright photo."""

    def residuals(self, observations: list[tuple[int, np.ndarray]]) -> np.ndarray:
        """Pixels by which a point, triangulated with the true cameras, misses where photos show it."""
        rows = [
            row
            for k, (x, y) in observations
            for row in (
                x * self.cameras[k][2] - self.cameras[k][0],
                y * self.cameras[k][2] - self.cameras[k][1],
            )
        ]
        point = np.linalg.svd(np.array(rows))[2][-1]
        return np.array(
            [np.linalg.norm(project(self.cameras[k], point[None])[0] - p) for k, p in observations]
        )


def project(camera: np.ndarray, points: np.ndarray) -> np.ndarray:
    """N x 2 pixels of N x 4 homogeneous points."""
    seen = points @ camera.T
    return seen[:, :2] / seen[:, 2:]


def relief(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the surface, smooth and of no plane."""
    return 0.4 * np.sin(1.7 * x) * np.cos(1.3 * y) + 0.1 * x


def make_scene(folder: Path, *, photos: int = 5, noise: float = 0.1) -> MadeScene:
    """Write photos, and matches of all their pairs that lie at places of their own in each."""
    rng = np.random.default_rng(3)
    cameras = []
    for k in range(photos):
        angle = 0.16 * (k - photos // 2)
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        away = np.array([0.0, 0.1 * (k % 2), 4.0 + 0.1 * k])
        cameras.append(K @ np.column_stack([turn, away]))
    images, results = folder / "photos", folder / "results"
    images.mkdir(parents=True)
    (results / "original_outputs").mkdir(parents=True)
    for k in range(photos):
        # Upright 320 x 240; the turned one lies in its file as 240 x 320.
        pixels = rng.integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        exif = Image.Exif()
        if k == TURNED:
            exif[0x0112] = 6
            pixels = np.rot90(pixels)
        Image.fromarray(np.ascontiguousarray(pixels)).save(images / f"photo {k}.png", exif=exif)
    places = {}
    for i, j in combinations(range(photos), 2):
        grid = np.stack(np.meshgrid(np.arange(-1.9, 1.9, 0.05), np.arange(-1.4, 1.4, 0.05)), -1).reshape(
            -1, 2
        )
        grid += rng.uniform(-0.02, 0.02, grid.shape)
        points = np.column_stack([grid, relief(*grid.T), np.ones(len(grid))])
        ends = [project(cameras[k], points) for k in (i, j)]
        inside = np.all([(p >= 2).all(axis=1) & (p <= np.array(SIZE) - 3).all(axis=1) for p in ends], axis=0)
        ends = [p[inside] + rng.normal(0, noise, p[inside].shape) for p in ends]
        names = [f"photo {k}" for k in (i, j)]
        order = (0, 1) if (i + j) % 2 else (1, 0)  # lists name pairs in either order
        name = "_".join(names[k] for k in order)
        matches = Matches(ends[order[0]], ends[order[1]], np.ones(inside.sum()), SIZE, SIZE, confidence=0.99)
        matches.save(results / "original_outputs" / f"{name}_matches.npz")
        paths = ["/".join((images / f"{names[k]}.png").absolute().parts[-3:]) for k in order]
        places[name] = {"image0": paths[0], "image1": paths[1], "subset": "s", "sequence": "s"}
    (results / "pairs.json").write_text(json.dumps(places))
    return MadeScene(images, results, cameras)
