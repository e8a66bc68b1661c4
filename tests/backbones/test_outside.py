"""The template's example, added from outside the package by one file and one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision import models

from gcm.backbones import TEMPLATE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """An installed package of somebody else's: the template under another name, and its one line."""
    folder = tmp_path / "site"
    about = folder / "shuffle_backbone-1.0.dist-info"
    about.mkdir(parents=True)
    shutil.copyfile(TEMPLATE.__file__, folder / "shuffle_backbone.py")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shuffle-backbone\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[gcm.backbones]\nshufflenet = shuffle_backbone:BACKBONES\n")
    return folder


def _python(outside: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(outside)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=outside,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.e2e
def test_template_works_from_outside(outside: Path, photo: NDArray[np.uint8], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = models.shufflenet_v2_x1_0(weights=None).eval()  # seeded: this tests structure
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    np.save(tmp_path / "photo.npy", photo)
    (tmp_path / "config.yml").write_text(
        "model: shufflenetv2\nratio_th: [1, 1, 1, 1, 1]\ndevice: cpu\n"
        f"weights_path: {tmp_path / 'weights.pth'}\n"
    )
    script = (
        "import sys, numpy, gcm; photo = numpy.load(sys.argv[1]);"
        "matches = gcm.Matcher(sys.argv[2]).match(photo, photo);"
        "print(len(matches), abs(matches.points0 - matches.points1).max())"
    )
    done = _python(outside, "-c", script, str(tmp_path / "photo.npy"), str(tmp_path / "config.yml"))
    assert done.returncode == 0, done.stderr
    count, worst = done.stdout.split()
    assert int(count) > 100
    assert float(worst) < 1e-9


@pytest.mark.e2e
def test_template_is_listed(outside: Path) -> None:
    done = _python(outside, "-m", "gcm_cli", "backbones", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["backbones"]}
    assert rows["SHUFFLENETV2"]["ratio_th_length"] == 5
    assert rows["SHUFFLENETV2"]["weights"]["licence"].startswith("BSD-3-Clause")
    assert "RESNET18" in rows


def test_template_equals_hooks_on_torchvision() -> None:
    torch.manual_seed(0)
    network = models.shufflenet_v2_x1_0(weights=None).eval()
    with torch.device("meta"):
        backbone = TEMPLATE.ShuffleNet(TEMPLATE.INFOS[0]).eval()
    backbone.load_weights(network.state_dict(), "seeded")
    seen: list[torch.Tensor] = []
    for tap in TEMPLATE.INFOS[0].taps:
        network.get_submodule(tap).register_forward_hook(lambda m, i, output: seen.append(output.clone()))
    x = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        network(x)
        maps = backbone(x)
    for found, expected in zip(maps, seen, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_template_address_is_torchvisions() -> None:
    weights = models.ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1
    assert weights.url == TEMPLATE.WEIGHTS.urls[0]


@pytest.mark.e2e
def test_broken_package_is_named(outside: Path) -> None:
    (outside / "shuffle_backbone.py").write_text("raise RuntimeError('half installed')\n")
    done = _python(outside, "-m", "gcm_cli", "backbones")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'shufflenet' of another package (shuffle_backbone:BACKBONES)" in done.stderr
