"""Maps kept in a folder: the same results, computed once, within a bound."""

from __future__ import annotations

import copy
import json
import os
import pickle
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from typer.testing import CliRunner

from gcm.benchmark.pairs import Pair
from gcm.benchmark.workers import match_pairs
from gcm.config import load_config
from gcm.errors import OutputError
from gcm.features.batching import Request
from gcm.features.folder import FeatureFolder
from gcm.images.files import write_image
from gcm.matcher import Matcher
from gcm.matchers import matcher_spec
from gcm.matches import Matches
from gcm_cli.app import app

Photo = NDArray[np.uint8]
KEYS = [f"{letter * 64}" for letter in "abcdef"]


def same(a: Matches, b: Matches) -> bool:
    """To the last bit."""
    first, second = a.to_arrays(), b.to_arrays()
    return first.keys() == second.keys() and all(
        first[key].tobytes() == second[key].tobytes() for key in first
    )


@pytest.fixture(scope="module")
def photos(photo: Photo) -> tuple[Photo, Photo]:
    return photo[:, :300], np.ascontiguousarray(photo[6:, 12:])


def make(folder: Path, **changes: Any) -> Matcher:
    return Matcher("fast", device="cpu", features=folder, **changes)


def count_computed(matcher: Matcher, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requests that a matcher computes from now on, but for warped images."""
    computed: list[Any] = []
    compute = matcher.features._compute

    def counted(requests: Any) -> Any:
        computed.extend(request for request in requests if request.original is None)
        return compute(requests)

    monkeypatch.setattr(matcher.features, "_compute", counted)
    return computed


@pytest.mark.parametrize("preset", ["fast", "default"])
def test_the_same_to_the_last_bit_and_nothing_computed_twice(
    tmp_path: Path, photos: tuple[Photo, Photo], preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Matcher(preset, device="cpu").match(*photos)
    assert len(expected) > 100
    assert same(Matcher(preset, device="cpu", features=tmp_path).match(*photos), expected)
    again = Matcher(preset, device="cpu", features=tmp_path)
    computed = count_computed(again, monkeypatch)
    assert same(again.match(*photos), expected)
    assert not computed
    again.features.cache.clear()
    assert same(again.match(photos[1], photos[0]), Matcher(preset, device="cpu").match(photos[1], photos[0]))


def test_networks_of_others_and_patch_descriptors(
    tmp_path: Path, photos: tuple[Photo, Photo], make_matcher: Callable[..., Matcher], student_weights: str
) -> None:
    changes: dict[str, Any] = {"fine_model": "R2D2_STU", "fine_weights_path": student_weights}
    small = [photo[:96, :128] for photo in photos]
    expected = make_matcher(**changes).match(*small)
    assert len(expected)
    for _ in range(2):
        matcher = make_matcher(**changes)
        matcher.features.folder = FeatureFolder(tmp_path, 2**30)
        assert same(matcher.match(*small), expected)
    assert len(list(tmp_path.rglob("*.maps"))) == 2


def test_other_weights_precisions_and_sizes_have_entries_of_their_own(
    tmp_path: Path, photos: tuple[Photo, Photo]
) -> None:
    small = [photo[:96, :128] for photo in photos]

    def entries(matcher: Matcher, *images: Photo) -> int:
        requests = [Request(image) for image in images or small]
        with torch.inference_mode():
            matcher.features.answer(requests)
            matcher.features.answer([Request(image, "coarsest") for image in images or small])
        return len(list(tmp_path.rglob("*.maps")))

    plain = {"precision": "float32"}
    assert entries(make(tmp_path, **plain)) == 2  # the coarsest is remembered with the rest
    assert entries(make(tmp_path, **plain)) == 2
    assert entries(make(tmp_path, **plain), small[0][:80]) == 3
    assert entries(make(tmp_path, precision="bfloat16")) == 5
    changed = make(tmp_path, **plain)
    with torch.no_grad():
        next(changed.features.backbone.parameters()).mul_(1.01)
    assert entries(changed) == 7
    assert entries(make(tmp_path, model="GCM_CONTEXT", **plain)) == 9
    other = small[0].copy()
    other[0, 0, 0] ^= 1
    assert entries(make(tmp_path, **plain), other) == 10
    with torch.inference_mode():
        make(tmp_path, **plain).features.answer(
            [Request(small[1], original=small[0])]
        )  # warped: of one pair alone
    assert len(list(tmp_path.rglob("*.maps"))) == 10


def tensors(seed: int, rows: int = 50) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn(8, rows, 20, generator=generator)
    return [data, data[:3].to(torch.bfloat16).permute(0, 2, 1), data.permute(1, 2, 0)]


def test_tensors_come_back_as_they_lay_in_memory(tmp_path: Path) -> None:
    folder = FeatureFolder(tmp_path, 2**20)
    assert folder.get(KEYS[0]) is None
    folder.put(KEYS[0], tensors(0))
    for there, expected in zip(FeatureFolder(tmp_path, 2**20).get(KEYS[0]) or [], tensors(0), strict=True):
        assert torch.equal(there, expected)
        assert (there.dtype, there.stride()) == (expected.dtype, expected.stride())


@pytest.mark.parametrize("damage", ["", "nonsense", "half", "bit"])
def test_what_is_damaged_is_computed_anew(
    tmp_path: Path, photos: tuple[Photo, Photo], damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make(tmp_path).match(*photos)
    files = list(tmp_path.rglob("*.maps"))
    for file in files:
        content = file.read_bytes()
        middle = len(content) // 2
        changed = {"half": content[:middle], "bit": content[:middle] + b"\x5a\xa5" + content[middle + 2 :]}
        file.write_bytes(changed.get(damage, damage.encode()))
    again = make(tmp_path)
    computed = count_computed(again, monkeypatch)
    assert same(again.match(*photos), expected)
    assert len(computed) == len(files)
    third = make(tmp_path)
    computed = count_computed(third, monkeypatch)
    assert same(third.match(*photos), expected)
    assert not computed


def test_the_folder_stays_within_its_bound(tmp_path: Path) -> None:
    size = len(b"".join(t.contiguous().view(torch.uint8).numpy().tobytes() for t in tensors(0)))
    folder = FeatureFolder(tmp_path, int(3.6 * size))
    leftover = tmp_path / "aa/.bb.0123abcd.maps"
    for number, key in enumerate(KEYS):
        folder.put(key, tensors(number))
        if number == 2:
            leftover.write_bytes(b"half")
            os.utime(leftover, (1, 1))  # of a process killed long ago
        os.utime(next(tmp_path.glob(f"{key[:2]}/{key[2:]}*")), (number + 1, number + 1))
        if number >= 1:
            assert folder.get(KEYS[0]) is not None  # used all the time
            os.utime(next(tmp_path.glob(f"{KEYS[0][:2]}/{KEYS[0][2:]}*")), (100, 100))
        assert sum(file.stat().st_size for file in tmp_path.rglob("*.maps")) <= 3.6 * size
    assert [folder.get(key) is not None for key in KEYS] == [True, False, False, False, True, True]
    assert not leftover.exists()
    FeatureFolder(tmp_path / "tiny", size // 2).put(KEYS[0], tensors(0))  # too large at all
    assert not list((tmp_path / "tiny").rglob("*.maps"))


def test_use_counts_as_new(tmp_path: Path) -> None:
    folder = FeatureFolder(tmp_path, 2**20)
    folder.put(KEYS[0], tensors(0))
    (file,) = tmp_path.rglob("*.maps")
    os.utime(file, (1, 1))
    folder.get(KEYS[0])
    assert time.time() - file.stat().st_mtime < 100


def test_a_full_disk_stops_no_match(
    tmp_path: Path, photos: tuple[Photo, Photo], full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    expected = Matcher("fast", device="cpu").match(*photos)
    matcher = make(tmp_path)
    with full_disk(1000):
        found = matcher.match(*photos)
    assert same(found, expected)
    assert any("features are not kept any more" in note for note in found.info["notes"])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_maps_that_another_process_put_there_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses to replace a file that somebody reads; that is no reason to keep no more maps."""
    folder, other = (FeatureFolder(tmp_path, 2**20) for _ in range(2))

    def refuse(source: Path, target: Path) -> Path:
        monkeypatch.undo()
        other.put(KEYS[0], tensors(0))
        raise PermissionError(13, "it is being used by another process")

    monkeypatch.setattr(Path, "replace", refuse)
    folder.put(KEYS[0], tensors(0))
    assert folder.problem is None
    assert folder.get(KEYS[0]) is not None
    folder.put(KEYS[1], tensors(1))
    assert folder.get(KEYS[1]) is not None


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be made"):
        Matcher("fast", device="cpu", features=tmp_path / "file")


def test_copies_share_the_folder(tmp_path: Path) -> None:
    matcher = Matcher("fast", device="cpu", features=tmp_path, features_size=0.5)
    for other in (copy.deepcopy(matcher), pickle.loads(pickle.dumps(matcher))):
        assert other.features.folder.path == tmp_path
        assert other.features.folder.max_bytes == 2**29


def test_the_command_keeps_maps(tmp_path: Path, photos: tuple[Photo, Photo]) -> None:
    names = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for name, photo in zip(names, photos, strict=True):
        write_image(Path(name), photo)
    common = ["match", *names, "--config", "fast", "--device", "cpu", "--json", "--quiet"]
    kept = [*common, "--features", str(tmp_path / "maps")]
    documents = []
    for arguments in (common, kept, kept):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.stderr
        documents.append({key: value for key, value in json.loads(done.stdout).items() if key != "seconds"})
    assert documents[0] == documents[1] == documents[2]
    assert list((tmp_path / "maps").rglob("*.maps"))
    small = CliRunner().invoke(app, [*common, "--features", str(tmp_path / "s"), "--features-size", "0.001"])
    assert small.exit_code == 0
    assert sum(file.stat().st_size for file in (tmp_path / "s").rglob("*.maps")) <= 0.001 * 2**30


@pytest.mark.e2e
def test_several_processes_share_a_folder(tmp_path: Path, photo: Photo) -> None:
    paths = []
    for k in range(4):
        paths.append(tmp_path / f"{k}.png")
        write_image(paths[-1], np.ascontiguousarray(photo[4 * k :, 5 * k :]))
    pairs = [Pair(a, b, name=f"{a.stem}_{b.stem}") for a in paths for b in paths if a < b]
    config = load_config("fast", device="cpu")
    plain = {o.pair.name: o.matches for o in match_pairs(matcher_spec("gcm", {"config": config}), pairs)}
    options = {"config": config, "features": str(tmp_path / "maps")}
    for _ in range(2):
        for outcome in match_pairs(matcher_spec("gcm", options), pairs, workers=2):
            matches, expected = outcome.matches, plain[outcome.pair.name]
            assert matches is not None
            assert expected is not None
            assert same(matches, expected)
    assert not [path for path in (tmp_path / "maps").rglob(".*") if path.is_file()]
