"""Checkpoints are read without running anything they contain, and say clearly what is wrong with them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from gcm.backbones.registry import create_backbone, create_fine_model
from gcm.errors import WeightsError
from gcm.weights.loading import load_checkpoint

STATE = {"ops.0.weight": torch.arange(6.0).reshape(2, 3), "ops.0.bias": torch.tensor([1.0, 2.0])}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


def one_line(error: pytest.ExceptionInfo[WeightsError], path: Path) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE},
        {"state_dict": STATE, "epoch": 3, "net": "Quad_L2Net()"},
        {"model": STATE},
        {"model": {"state_dict": STATE}},
        {f"module.{key}": value for key, value in STATE.items()},
        {"model_state_dict": {f"module.{key}": value for key, value in STATE.items()}},
    ],
    ids=["plain", "wrapped", "r2d2", "model", "twice", "module", "wrapped module"],
)
def test_wrappers_and_prefixes(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "w.pt"
    torch.save(content, path)
    assert_same(load_checkpoint(path), STATE)


def test_a_prefix_that_only_some_keys_have_stays(tmp_path: Path) -> None:
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(state, tmp_path / "w.pt")
    assert_same(load_checkpoint(tmp_path / "w.pt"), state)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    path = tmp_path / f"w{suffix}"
    half = {key: value.to(dtype) for key, value in STATE.items()} | {"count": torch.tensor(3)}
    if suffix == ".pt":
        torch.save(half, path)
    else:
        save_file(half, path)
    assert_same(load_checkpoint(path), {**STATE, "count": torch.tensor(3)})


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.safetensors")
    assert_same(load_checkpoint(str(tmp_path / "w.safetensors")), STATE)
    save_file({f"module.{key}": value for key, value in STATE.items()}, tmp_path / "w.safetensors")
    assert_same(load_checkpoint(tmp_path / "w.safetensors"), STATE)


def test_old_format(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert_same(load_checkpoint(tmp_path / "w.pt"), STATE)


# -- what must not run -----------------------------------------------------------------------------


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("form", ["torch", "torch, old format", "pickle", "wrapped"])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    path, victim = tmp_path / "w.pt", tmp_path / "victim"
    bomb = {"state_dict": {**STATE, "x": Bomb(victim)}} if form == "wrapped" else {**STATE, "x": Bomb(victim)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=form != "torch, old format")
    with pytest.raises(WeightsError) as error:
        load_checkpoint(path)
    assert "could run code" in one_line(error, path) or form == "pickle"
    assert not victim.exists()
    if form == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert victim.exists()  # so it would have run, had it been let


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(WeightsError) as error:
        load_checkpoint(path)
    assert "state_dict" in one_line(error, path)


# -- what is no checkpoint -------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.98])
def test_truncated(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"w{suffix}"
    big = {"a": torch.rand(100, 100)}
    if suffix == ".pt":
        torch.save(big, path)
    else:
        save_file(big, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(WeightsError) as error:
        load_checkpoint(path)
    assert "not a weight file (damaged" in one_line(error, path)


@pytest.mark.parametrize(
    "content", [b"hello, this is text\n", b"<html>not found</html>", b"PK\x03\x04", b"\x80\x02."]
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".pth"])
def test_not_a_checkpoint(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        load_checkpoint(path)
    assert "not a weight file" in one_line(error, path)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60), pickled=st.booleans())
def test_any_bytes_give_one_line(tmp_path: Path, content: bytes, pickled: bool) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes((b"\x80\x02" if pickled else b"") + content)
    with pytest.raises(WeightsError) as error:
        load_checkpoint(path)
    one_line(error, path)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as error:
        load_checkpoint(tmp_path / "none.pt")
    assert "no such weight file" in one_line(error, tmp_path / "none.pt")
    with pytest.raises(WeightsError) as error:
        load_checkpoint(tmp_path)
    assert "is a folder" in one_line(error, tmp_path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.ones(1)], torch.ones(1), 7], ids=str)
def test_no_named_tensors(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "w.pt"
    torch.save(content, path)
    with pytest.raises(WeightsError) as error:
        load_checkpoint(path)
    assert "holds no named tensors" in one_line(error, path)


# -- weights of another network --------------------------------------------------------------------


def test_a_checkpoint_of_another_network(tmp_path: Path, student_weights: str) -> None:
    other = tmp_path / "linear.pt"
    torch.save(torch.nn.Linear(3, 4).state_dict(), other)
    for build in (
        lambda path: create_backbone("RESNET18", weights=path),
        lambda path: create_backbone("COARSEVGG16", weights=path),
        lambda path: create_backbone("R2D2_STU", weights=path),
        lambda path: create_fine_model("R2D2", weights=path),
    ):
        with pytest.raises(WeightsError) as error:
            build(str(other))
        one_line(error, other)
    with pytest.raises(WeightsError) as error:
        create_backbone("RESNET18", weights=student_weights)
    assert "another network" in one_line(error, Path(student_weights))


def test_one_wrong_shape_is_named(tmp_path: Path, student_weights: str) -> None:
    state = load_file(student_weights)
    path = tmp_path / "w.safetensors"
    for change in ("shape", "missing", "surplus"):
        changed = dict(state)
        if change == "shape":
            changed["ops.3.weight"] = torch.zeros(64, 32, 5, 5)
        elif change == "missing":
            del changed["ops.3.weight"]
        else:
            changed["ops.99.weight"] = torch.zeros(1)
        save_file(changed, path)
        with pytest.raises(WeightsError) as error:
            create_fine_model("R2D2_STU", weights=str(path))
        one_line(error, path)


def test_weights_are_loaded_as_they_are(student_weights: str) -> None:
    state = load_file(student_weights)
    network = create_fine_model("R2D2_STU", weights=student_weights)
    assert_same(dict(network.state_dict()), state)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_missing_weights_never_become_random_ones(tmp_path: Path) -> None:
    """GCM_OFFLINE is set in all tests, and the cache is empty."""
    for build in (
        lambda: create_backbone("RESNET18", weights=str(tmp_path / "none.pth")),
        lambda: create_fine_model("R2D2_STU", weights=str(tmp_path / "none.pt")),
        lambda: create_fine_model("R2D2_STU"),
        lambda: create_backbone("R2D2_STU"),
    ):
        with pytest.raises(WeightsError) as error:
            build()
        assert "\n" not in str(error.value)
