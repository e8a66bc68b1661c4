"""A list of 200 pairs of small photos of one scene, matched once without shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_list import PAIRS, PHOTOS, SPEC, WINDOW

from gcm.benchmark.extract import extract
from gcm.benchmark.pairs import Pair, read_pairs


@pytest.fixture(scope="session")
def list_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of each photo with those that follow it."""
    import cv2

    rng = np.random.default_rng(3)
    scene = np.zeros((200, 1000, 3), np.float32)
    for scale in (4, 8, 16, 40):
        noise = rng.uniform(0, 1, (200 // scale + 2, 1000 // scale + 2, 3)).astype(np.float32)
        scene += cv2.resize(noise, (1000, 200), interpolation=cv2.INTER_CUBIC)
    scene = 255 * (scene - scene.min()) / np.ptp(scene)
    folder = tmp_path_factory.mktemp("photos of the scene")
    for k in range(PHOTOS):
        cv2.imwrite(str(folder / f"{k:02}.png"), scene[2 * k : 2 * k + 120, 30 * k : 30 * k + 160])
    lines = [
        f"{i:02}.png {j:02}.png\n" for i in range(PHOTOS) for j in range(i + 1, min(i + 1 + WINDOW, PHOTOS))
    ]
    (folder / "pairs.txt").write_text("".join(lines[:PAIRS]))
    return folder / "pairs.txt"


@pytest.fixture(scope="session")
def pairs(list_file: Path) -> list[Pair]:
    """The list, read."""
    listed = read_pairs(list_file)
    assert len(listed) == PAIRS
    return listed


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair]) -> Path:
    """The results of one machine; to be read only."""
    folder = tmp_path_factory.mktemp("whole")
    extract(pairs, SPEC, folder, workers=1)
    return folder
