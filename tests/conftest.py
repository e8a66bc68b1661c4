"""Fixtures used throughout the tests."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from textures import texture

# On the tests' small images a second thread costs more than it brings, and far more on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images, published weights and golden files; tests that need it skip without it."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("GCM_SHARED", default))
    if not folder.is_dir():
        pytest.skip(
            f"no real data at {folder}; set GCM_SHARED to the folder that holds data/, weights/ and golden/"
        )
    return folder


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache or dials out."""
    monkeypatch.setenv("GCM_HOME", str(tmp_path_factory.getbasetemp() / "gcm-home"))
    monkeypatch.setenv("GCM_OFFLINE", "1")
    monkeypatch.delenv("GCM_DEBUG", raising=False)


@pytest.fixture(scope="session")
def photo() -> NDArray[np.uint8]:
    """A textured synthetic "photo", 240 x 320 RGB, the same every time."""
    return texture(7)


@pytest.fixture(scope="session")
def student_weights(tmp_path_factory: pytest.TempPathFactory, photo: NDArray[np.uint8]) -> str:
    """A file of seeded random weights for the patch network: enough to test structure, not accuracy.

    Biases are zero and batch norm is calibrated on `photo`, so that descriptors differ from place to place.
    """
    import torch
    from safetensors.torch import save_file

    from gcm.backbones.r2d2 import PatchNetwork
    from gcm.images.network_input import network_input

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PatchNetwork()
    for op in network.ops:
        if isinstance(op, torch.nn.Conv2d) and op.bias is not None:
            torch.nn.init.zeros_(op.bias)
        if isinstance(op, torch.nn.BatchNorm2d):
            op.momentum = None  # the plain average over what it sees
    with torch.no_grad():
        network.train()(network_input(photo, 16))
    path = tmp_path_factory.mktemp("weights") / "random_student.safetensors"
    save_file(network.state_dict(), path)
    return str(path)


@pytest.fixture(scope="session")
def make_matcher(student_weights: str) -> Callable[..., Any]:
    """Build a matcher on the random student in all levels; keywords change the configuration."""
    from gcm.config import MatcherConfig
    from gcm.matcher import Matcher

    def make(**changes: Any) -> Matcher:
        values: dict[str, Any] = {
            "model": "R2D2_STU",
            "ratio_th": (0.9, 1.0, 1.0, 1.0, 1.0, 1.0),
            "weights_path": student_weights,
            "device": "cpu",
            "compat": False,
        }
        return Matcher(MatcherConfig(**{**values, **changes}))

    return make


@pytest.fixture(scope="session")
def tiny_release(tmp_path_factory: pytest.TempPathFactory, photo: NDArray[np.uint8]) -> Path:
    """A release like HPatches, but small: three sequences of 128 x 96 images and one of high resolution.

    Image k is image 1 shifted left and up by k pixels (crops of one photo), so the homographies are exact.
    """
    import cv2

    folder = tmp_path_factory.mktemp("release") / "hpatches-sequences-release"
    for offset, name in enumerate(("i_fog", "v_boat", "v_wall", "v_talent")):
        sequence = folder / name
        sequence.mkdir(parents=True)
        for k in range(1, 7):
            shift = 0 if k == 1 else k
            crop = photo[shift : shift + 96, 40 * offset + shift : 40 * offset + shift + 128]
            cv2.imwrite(str(sequence / f"{k}.ppm"), crop[..., ::-1])
            if k > 1:
                rows = [[1, 0, -shift], [0, 1, -shift], [0, 0, 1]]
                (sequence / f"H_1_{k}").write_text("\n".join(" ".join(map(str, row)) for row in rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser in which pages are looked at; tests that need it skip without it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium; on Debian: apt-get install chromium")
    return found


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """``with full_disk(1000):`` no file can grow beyond 1000 bytes; what writes on finds the disk full."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        previous = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, previous[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, previous)
            signal.signal(signal.SIGXFSZ, handler)

    return limited
