"""In what precision networks compute where none is asked for."""

from __future__ import annotations

import pytest
import torch

from gcm.features.device import choose_precision


@pytest.mark.parametrize(("has_bfloat16", "precision"), [(True, "float32"), (False, "float16")])
def test_the_fastest_precision_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool, precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert choose_precision("auto", torch.device("cuda")) == precision
    assert choose_precision("bfloat16", torch.device("cuda")) == "bfloat16"
