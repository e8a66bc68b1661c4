"""Weights are found, fetched, checked and brought in; never made up."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gcm.backbones.registry import check_weights, create_backbone, create_fine_model
from gcm.errors import DownloadError, WeightsError
from gcm.storage.atomic import sha256_of
from gcm.weights.catalogue import CATALOGUE, WeightEntry
from gcm.weights.store import (
    bring_weights,
    cache_folder,
    fetch_weights,
    find_weights,
    resolve_weights,
    verify_weights,
)

CONTENT = bytes(range(256)) * 4096


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCM_HOME", str(tmp_path / "home"))


def _entry(url: str, **changes: object) -> WeightEntry:
    return replace(WeightEntry("some", "some.pth", (url,), licence="MIT"), **changes)  # type: ignore[arg-type]


def test_resumes_after_a_dropped_connection(weight_server) -> None:
    weight_server.content, weight_server.drops = CONTENT, [300_000]
    entry = _entry(weight_server.url, sha256=hashlib.sha256(CONTENT).hexdigest())
    path = fetch_weights(entry)
    assert path.read_bytes() == CONTENT
    assert weight_server.ranges[0] is None
    assert len(weight_server.ranges) == 2
    assert 0 < int(weight_server.ranges[1].removeprefix("bytes=").removesuffix("-")) <= 300_000


@pytest.mark.parametrize("key", ["sha256", "sha256_prefix"])
def test_wrong_hash_is_refused_and_nothing_stays(weight_server, key: str) -> None:
    weight_server.content = CONTENT
    wrong = hashlib.sha256(b"another file").hexdigest()
    entry = _entry(weight_server.url, **{key: wrong if key == "sha256" else wrong[:8]})
    with pytest.raises(DownloadError, match="sha256"):
        fetch_weights(entry)
    assert not cache_folder().exists()


def test_offline_never_dials(weight_server, monkeypatch: pytest.MonkeyPatch) -> None:
    weight_server.content = CONTENT
    monkeypatch.setenv("GCM_OFFLINE", "1")
    with pytest.raises(DownloadError, match="GCM_OFFLINE"):
        resolve_weights(_entry(weight_server.url))
    assert weight_server.ranges == []


def test_offline_uses_what_is_here(weight_server, monkeypatch: pytest.MonkeyPatch) -> None:
    weight_server.content = CONTENT
    entry = _entry(weight_server.url, sha256=hashlib.sha256(CONTENT).hexdigest())
    path = fetch_weights(entry)
    monkeypatch.setenv("GCM_OFFLINE", "1")
    assert fetch_weights(entry) == path == resolve_weights(entry)
    assert len(weight_server.ranges) == 1


def test_damaged_file_is_fetched_again(weight_server) -> None:
    weight_server.content = CONTENT
    entry = _entry(weight_server.url, sha256=hashlib.sha256(CONTENT).hexdigest())
    path = fetch_weights(entry)
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="is not the file 'some' should be"):
        verify_weights(entry, path)
    assert fetch_weights(entry).read_bytes() == CONTENT


def test_unverified_file_is_pinned_at_its_first_use(weight_server) -> None:
    weight_server.content = CONTENT
    asked: list[Path] = []
    entry = _entry(weight_server.url)
    path = fetch_weights(entry, check=asked.append)
    assert asked == [path]
    assert verify_weights(entry, path) == "first use"
    path.write_bytes(b"another file")
    with pytest.raises(WeightsError, match="is not the file 'some' should be"):
        fetch_weights(entry)


def test_unverified_file_of_another_network_does_not_stay(weight_server) -> None:
    """Such as the web page a file host shows in place of the file."""
    weight_server.content = b"<html>Sorry, too many people have downloaded this file</html>"
    entry = replace(CATALOGUE["psmnet_kitti2015"], urls=(weight_server.url,))
    with pytest.raises(WeightsError, match=r"not a weight file.*the download was removed"):
        fetch_weights(entry, check=lambda path: check_weights(CATALOGUE["psmnet_kitti2015"], path))
    assert find_weights(entry) is None
    assert not list(cache_folder().glob("*.json"))


def test_non_commercial_weights_are_not_fetched_on_the_side(weight_server) -> None:
    entry = _entry(weight_server.url, non_commercial=True, licence="CC BY-NC-SA 3.0 (non-commercial)")
    with pytest.raises(WeightsError, match=r"CC BY-NC-SA 3\.0.*gcm fetch-weights some"):
        resolve_weights(entry)
    assert weight_server.ranges == []


def test_licence_is_logged_before_a_fetch_on_the_side(
    weight_server, caplog: pytest.LogCaptureFixture
) -> None:
    weight_server.content = CONTENT
    resolve_weights(_entry(weight_server.url))
    assert "fetching the weights 'some'" in caplog.text
    assert "licence: MIT" in caplog.text


def test_missing_weights_never_become_random_ones() -> None:
    with pytest.raises(DownloadError, match="GCM_OFFLINE"):
        create_backbone("RESNET50")
    with pytest.raises(DownloadError, match="GCM_OFFLINE"):
        create_fine_model("VGG19")
    with pytest.raises(WeightsError, match="gcm fetch-weights r2d2_student --from FILE"):
        create_backbone("R2D2_STU")


def test_brings_a_file_in_by_hand(shared: Path) -> None:
    entry = CATALOGUE["r2d2_student"]
    source = shared / "weights" / entry.filename
    path = bring_weights(entry, source, check=lambda p: check_weights(entry, p))
    assert path == cache_folder() / entry.filename == find_weights(entry)
    assert verify_weights(entry, path) == "sha256"
    assert create_backbone("R2D2_STU").info.name == "R2D2_STU"


def test_a_file_brought_by_hand_must_be_the_published_one(tmp_path: Path, shared: Path) -> None:
    source = shared / "weights" / "resnet18_imagenet1k_v1_bnfolded_to_layer3.pth"
    with pytest.raises(WeightsError, match="is not the published file of 'resnet18'"):
        bring_weights(CATALOGUE["resnet18"], source)
    assert find_weights(CATALOGUE["resnet18"]) is None


def test_a_file_brought_by_hand_must_load(tmp_path: Path) -> None:
    torch.save({"fnet.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "cre.pth")
    entry = CATALOGUE["crestereo_eth3d"]
    with pytest.raises(WeightsError, match=r"lacks 'fnet\.conv1\.bias'"):
        bring_weights(entry, tmp_path / "cre.pth", check=lambda p: check_weights(entry, p))
    assert find_weights(entry) is None


def test_hash_of_an_unverified_file_brought_by_hand_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(CONTENT)
    path = bring_weights(CATALOGUE["crestereo_eth3d"], tmp_path / "mine.pth")
    record = json.loads(path.with_name(path.name + ".sha256.json").read_text())
    assert record == {"file": "crestereo_eth3d.pth", "sha256": sha256_of(path)}
    assert verify_weights(CATALOGUE["crestereo_eth3d"], path) == "first use"


def test_packaged_weights_cannot_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match="cannot be replaced"):
        bring_weights(CATALOGUE["disk"], tmp_path / "mine.pth")


def test_checkpoints_that_could_run_code_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}, "run": print}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="could run code"):
        create_backbone("RESNET18", weights=tmp_path / "evil.pth")
