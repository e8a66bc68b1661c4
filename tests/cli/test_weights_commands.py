"""``gcm fetch-weights`` and ``gcm backbones`` as people run them."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from gcm.backbones.cost import backbone_cost
from gcm.weights.catalogue import CATALOGUE, WeightEntry
from gcm_cli.app import app

ROOT = Path(__file__).parents[2]

TINY = """
import torch
from gcm.backbones.base import Backbone, BackboneInfo
from gcm.weights.catalogue import WeightEntry

class Tiny(Backbone):
    def __init__(self, info):
        super().__init__()
        self.info = info
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=4, padding=1)
    def forward(self, x):
        return [self.conv(x)]

ENTRY = WeightEntry("tiny", "tiny.pth", ({url!r},), licence="MIT", sha256={sha256!r})
BACKBONES = ((BackboneInfo("TINY", ("conv",), (4,), (8,), ENTRY),), Tiny)
"""
"""A backbone of another package, whose weights the test's server has."""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """A checkpoint that fits TINY."""
    torch.save({"conv.weight": torch.ones(8, 3, 3, 3), "conv.bias": torch.zeros(8)}, tmp_path / "tiny.pth")
    return (tmp_path / "tiny.pth").read_bytes()


@pytest.fixture
def gcm(tmp_path: Path, weight_server, content: bytes) -> Start:
    """Starts ``gcm`` where TINY is installed."""
    weight_server.content = content
    about = tmp_path / "site" / "tiny-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[gcm.backbones]\ntiny = tiny_backbone:BACKBONES\n")
    path = os.pathsep.join([str(ROOT), str(tmp_path / "site")])
    fixed = {"PYTHONPATH": path, "GCM_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}

    text = TINY.format(url=weight_server.url, sha256=hashlib.sha256(content).hexdigest())
    (tmp_path / "site" / "tiny_backbone.py").write_text(text)

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "gcm_cli", "fetch-weights", *arguments],
            env=os.environ | fixed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def _end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.e2e
def test_two_processes_fetch_once(gcm: Start, weight_server, tmp_path: Path, content: bytes) -> None:
    weight_server.delay = 1.0
    weight_server.drops = [len(content) // 2]
    both = [gcm("TINY", "--json"), gcm("tiny", "--json")]
    ends = [_end(process) for process in both]
    assert [code for code, _, _ in ends] == [0, 0], ends
    path = tmp_path / "home" / "weights" / "tiny.pth"
    assert path.read_bytes() == content
    # One fetch in all: from the start, and on from where the connection was dropped.
    assert weight_server.ranges == [None, f"bytes={len(content) // 2}-"]
    for _, out, err in ends:
        row = json.loads(out)["weights"][0]
        assert row["path"] == str(path)
        assert row["error"] is None
        assert "licence MIT" in err or row["status"] == "present"


# -- in this process ----------------------------------------------------------------------------


def _run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def tiny(weight_server, content: bytes, monkeypatch: pytest.MonkeyPatch) -> WeightEntry:
    """An entry the test's server has; its licence is non-commercial, its hash unknown."""
    weight_server.content = content
    entry = WeightEntry("tiny", "tiny.pth", (weight_server.url,), licence="CC BY-NC 4.0", non_commercial=True)
    monkeypatch.setitem(CATALOGUE, "tiny", entry)
    return entry


def test_non_commercial_licence_must_be_accepted(tiny: WeightEntry, weight_server, tmp_path: Path) -> None:
    code, _, err = _run("fetch-weights", "tiny")
    assert code == 1
    assert "NOT for commercial use" in err
    assert "--accept-licence" in err
    assert weight_server.ranges == []
    code, out, err = _run("fetch-weights", "tiny", "--accept-licence", "--dest", str(tmp_path / "there"))
    assert code == 0, err
    assert "licence CC BY-NC 4.0" in err
    assert "NOT for commercial use" in err
    assert (tmp_path / "there" / "tiny.pth").is_file()
    assert (tmp_path / "there" / "tiny.pth.sha256.json").is_file()
    assert "tiny: fetched" in out
    assert _run("fetch-weights", "tiny", "--verify", "--dest", str(tmp_path / "there"))[0] == 0


def test_offline_never_dials(tiny: WeightEntry, weight_server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCM_OFFLINE", "1")
    code, out, err = _run("fetch-weights", "tiny", "--accept-licence")
    assert code == 1
    assert weight_server.ranges == []
    assert out == ""
    assert "GCM_OFFLINE=1 forbids" in err


def test_list_shows_every_entry_within_80_columns() -> None:
    code, out, _ = _run("fetch-weights", "--list")
    assert code == 0
    lines = out.splitlines()
    assert {line.split()[0] for line in lines[1:]} == set(CATALOGUE)
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.startswith("psmnet_kitti2015"))
    assert "unverified" in row
    assert "non-commercial" in row


def test_list_as_json() -> None:
    code, out, err = _run("fetch-weights", "--list", "r2d2", "resnet50", "--json", "--quiet")
    assert (code, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)["weights"]}
    assert rows["r2d2"]["non_commercial"] is True
    assert rows["r2d2"]["size"] == 1950677
    assert rows["r2d2"]["proof"] == "sha256"
    assert rows["resnet50"]["proof"] == "sha256 prefix"
    assert rows["resnet50"]["how"] == "url"
    assert rows["resnet50"]["present"] is False
    assert rows["resnet50"]["urls"][0].startswith("https://download.pytorch.org/")


def test_part_of_a_batch_failing_exits_with_3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home" / "weights").mkdir(parents=True)
    good = tmp_path / "home" / "weights" / "good.pth"
    good.write_bytes(b"good")
    entry = replace(CATALOGUE["resnet18"], name="good", filename="good.pth", sha256_prefix=None, sha256=None)
    monkeypatch.setitem(
        CATALOGUE, "good", replace(entry, sha256_prefix=hashlib.sha256(b"good").hexdigest()[:8])
    )
    code, out, err = _run("fetch-weights", "good", "resnet50")
    assert code == 3
    assert "good: present" in out
    assert "gcm: error: resnet50: " in err
    assert "GCM_OFFLINE" in err


def test_what_is_part_of_the_package_is_not_called_unverified() -> None:
    code, out, err = _run("fetch-weights", "--verify", "GCM_COMPACT")
    assert code == 0, err
    assert "gcm_compact: part of the package" in out


def test_verify_finds_a_damaged_file(shared: Path, tmp_path: Path) -> None:
    source = shared / "weights" / "dstl_r2d2.pt"
    code, out, err = _run("fetch-weights", "r2d2_stu", "--from", str(source))
    assert code == 0, err
    assert "NOT for commercial use" in err
    assert "r2d2_student: brought in" in out
    assert _run("fetch-weights", "--verify", "r2d2_student")[0] == 0
    path = tmp_path / "home" / "weights" / "dstl_r2d2.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    code, _, err = _run("fetch-weights", "--verify", "r2d2_student")
    assert code == 1
    assert "is not the file 'r2d2_student' should be" in err
    path.unlink()
    code, _, err = _run("fetch-weights", "--verify", "r2d2_student")
    assert code == 1
    assert "gcm: error: r2d2_student: is not here" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name the weights to fetch, or --all"),
        (("resnet18", "--all"), "give names or --all, not both"),
        (("--from", "x.pth"), "--from FILE takes exactly one NAME"),
        (("resnet99",), "no weights named 'resnet99'"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str) -> None:
    code, out, err = _run("fetch-weights", *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


_cost_once = functools.cache(backbone_cost)


@pytest.fixture
def _costs_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All backbones take seconds."""
    monkeypatch.setattr("gcm.backbones.cost.backbone_cost", _cost_once)


@pytest.mark.e2e
@pytest.mark.usefixtures("_costs_are_counted_once")
def test_backbones_table_fits_80_columns() -> None:
    code, out, err = _run("backbones")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    row = next(line for line in out.splitlines() if line.startswith("VGG19 ")).split()
    assert row == ["VGG19", "1", "2", "4", "8", "16", "16", "-", "575", "MB", "17.7", "116.6", "BSD-3-Clause"]
    assert "gcm fetch-weights NAME" in err


@pytest.mark.e2e
@pytest.mark.usefixtures("_costs_are_counted_once")
def test_backbones_counts_what_the_network_does() -> None:
    """Against a count by hand of RESNET18 up to layer3 at 480 x 640."""
    _, out, _ = _run("backbones", "--json")
    document = json.loads(out)
    row = next(row for row in document["backbones"] if row["name"] == "RESNET18")
    per_pixel = {
        2: 3 * 64 * 49,
        4: 4 * 64 * 64 * 9,
        8: 64 * 128 * 9 + 3 * 128 * 128 * 9 + 64 * 128,
        16: 128 * 256 * 9 + 3 * 256 * 256 * 9 + 128 * 256,
    }
    assert row["multiply_adds"] == sum(
        weights * 480 * 640 // stride**2 for stride, weights in per_pixel.items()
    )
    norms = 2 * (64 + 4 * 64 + 5 * 128 + 5 * 256)
    assert row["parameters"] == sum(per_pixel.values()) + norms
    assert row["weights"]["present"] is False
    assert row["taps"] == ["relu", "layer1", "layer2", "layer3"]
    assert {row["name"] for row in document["fine_models"]} >= {"R2D2", "VGG19", "DISK", "ALIKED"}
