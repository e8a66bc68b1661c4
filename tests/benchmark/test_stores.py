"""Stores of matches: what was saved comes back, whatever happens to the process, the disk or the files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from benchmark.made_matches import SIZE0, SIZE1, equal, made, pair_name

from gcm.benchmark.extract import Extraction
from gcm.benchmark.extract import extract as run_extraction
from gcm.benchmark.hpatches import organise_hpatches
from gcm.benchmark.pairs import Pair, read_pairs
from gcm.benchmark.stores import MatchStore, convert_store, open_store, packed, store_for_writing
from gcm.benchmark.stores.precision import decode_points, encode_points, rounded
from gcm.benchmark.workers import Outcome
from gcm.errors import (
    ConfigError,
    DatasetError,
    DependencyError,
    InputError,
    OutputError,
    UsageError,
    to_install,
)
from gcm.matchers import matcher_spec
from gcm.matches import Matches

pytest.importorskip("h5py")
pytest.importorskip("pyarrow")

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("npz", "h5", "parquet")
PACKED = ("h5", "parquet")
ERRORS = {"float64": 0.0, "float32": 0.00013, "uint16": 4002 / 131070 + 1e-9}
"""Pixels that a position may be off in an image of 4000."""
SPEC = matcher_spec("orb", {"max_keypoints": 300})


def extract(pairs: list[Pair], folder: Path, **options: Any) -> Extraction:
    return run_extraction(pairs, SPEC, folder, workers=1, **options)


FullDisk = Callable[[int], AbstractContextManager[None]]


def filled(folder: Path, kind: str, seeds: range, precision: str = "float64") -> MatchStore:
    """A store with made-up pairs in their final form."""
    store = store_for_writing(folder, kind, precision)
    store.begin([])
    for seed in seeds:
        store.save(pair_name(seed), made(seed))
    store.settle()
    return store


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "original_outputs").glob("part-*"))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four pairs make a part, and two parts a larger one."""
    monkeypatch.setattr(packed, "PACKED_PAIRS", 4)
    monkeypatch.setattr(packed, "_ALIKE", 2)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_comes_back(tmp_path: Path, kind: str) -> None:
    filled(tmp_path, kind, range(30))
    with open_store(tmp_path) as store:
        assert (store.kind, store.precision) == (kind, "float64")
        assert store.names() == sorted(pair_name(seed) for seed in range(30))
        for seed in reversed(range(30)):
            assert store.has(pair_name(seed))
            assert equal(store.load(pair_name(seed)), made(seed))
        assert not store.has("another")
        with pytest.raises(InputError, match="another"):
            store.load("another")
        with pytest.raises(InputError, match="another"):
            store.modified("another")
    files = len(list((tmp_path / "original_outputs").iterdir()))
    assert files == (30 if kind == "npz" else 2)  # the part, and what says what it is


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_of_no_pairs(tmp_path: Path, kind: str) -> None:
    assert filled(tmp_path, kind, range(0)).names() == []
    filled(tmp_path, kind, range(5, 6))  # whose only pair has no matches
    assert len(open_store(tmp_path).load(pair_name(5))) == 0


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("precision", ERRORS)
def test_positions_are_as_exact_as_is_said(tmp_path: Path, kind: str, precision: str) -> None:
    filled(tmp_path, kind, range(12), precision)
    store = open_store(tmp_path)
    assert store.precision == precision
    for seed in range(12):
        there, exact = store.load(pair_name(seed)), made(seed)
        for a, b in ((there.points0, exact.points0), (there.points1, exact.points1)):
            assert np.abs(a - b).max(initial=0) <= ERRORS[precision]
        np.testing.assert_allclose(there.scores, exact.scores, atol=1e-7)
        assert there.confidence == exact.confidence
        assert equal(there, rounded(exact, precision))
        assert equal(rounded(there, precision), there)


@pytest.mark.parametrize("precision", ERRORS)
def test_other_tools_read_the_files(tmp_path: Path, precision: str) -> None:
    """As docs/stores.md says."""
    import h5py
    import pandas as pd

    for kind in PACKED:
        filled(tmp_path / kind, kind, range(1, 9), precision)
    step = (np.array(SIZE0) + 2) / 65535 if precision == "uint16" else 1
    origin = -1.5 if precision == "uint16" else 0
    with h5py.File(*parts(tmp_path / "h5")) as file:
        for pair in file["pairs"][:]:
            exact = made(int(pair["name"].decode().split("_")[2]))
            rows = slice(pair["first"], pair["first"] + pair["count"])
            assert file["keypoints0"].dtype == precision
            points0 = file["keypoints0"][rows] * step + origin
            np.testing.assert_allclose(points0, exact.points0, atol=ERRORS[precision] + 1e-9)
            np.testing.assert_allclose(file["scores"][rows], exact.scores, atol=1e-7)
            assert pair["size0"].tolist() == list(SIZE0)
    frame = pd.read_parquet(parts(tmp_path / "parquet")[0]).set_index("name")
    for seed in range(1, 9):
        row, exact = frame.loc[pair_name(seed)], made(seed)
        points0 = np.column_stack([row["x0"], row["y0"]]) * step + origin
        np.testing.assert_allclose(points0, exact.points0, atol=ERRORS[precision] + 1e-9)
        assert (row["inlier"] is None) == (exact.inliers is None)
        assert (row["count"], row["width1"], row["height1"]) == (len(exact), *SIZE1)


def test_positions_beyond_the_image() -> None:
    points = np.array([[-1.5, 479.4], [-0.7, 480.4], [-9, 500.0]])
    kept = decode_points(encode_points(points, SIZE1, "uint16"), SIZE1)
    np.testing.assert_allclose(kept[:2], points[:2], atol=642 / 131070)
    np.testing.assert_allclose(kept[2], [-1.5, 480.5], atol=1e-9)  # a pixel outside at most
    assert encode_points(np.zeros((0, 2)), SIZE0, "uint16").shape == (0, 2)


@pytest.mark.parametrize("kind", PACKED)
def test_a_pair_is_the_same_before_and_after_it_is_packed(tmp_path: Path, kind: str) -> None:
    store = store_for_writing(tmp_path, kind, "uint16")
    store.begin([])
    store.save(pair_name(1), made(1))
    before = open_store(tmp_path).load(pair_name(1))
    store.settle()
    assert equal(open_store(tmp_path).load(pair_name(1)), before)


@pytest.mark.parametrize("kind", PACKED)
def test_packing_does_not_change_what_is_there(tmp_path: Path, kind: str, small_parts: None) -> None:
    store, reader = store_for_writing(tmp_path, kind), open_store(tmp_path)
    store.begin([])
    reader = open_store(tmp_path)
    for seed in range(40):
        store.save(pair_name(seed), made(seed))
        assert reader.names() == sorted(pair_name(k) for k in range(seed + 1))
        for k in (seed, seed // 2, 0):
            assert equal(reader.load(pair_name(k)), made(k))
        assert len(list((tmp_path / "original_outputs").iterdir())) < 12
    stamp = max(reader.modified(pair_name(k)) for k in range(40))
    store.settle()
    assert len(parts(tmp_path)) == 1
    assert all(reader.modified(pair_name(k)) >= stamp for k in range(40))
    before = parts(tmp_path)[0].stat()
    store.settle()
    assert parts(tmp_path)[0].stat() == before


def open_files() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_stays_open(tmp_path: Path, kind: str) -> None:
    store = filled(tmp_path, kind, range(6))
    store.load(pair_name(1))  # what is imported on the way may open files of its own
    before = open_files()
    for seed in range(6):
        store.load(pair_name(seed))
    store.save(pair_name(7), made(7))
    store.settle()
    with pytest.raises(InputError):
        store.load("another")
    assert open_files() == before


@pytest.mark.parametrize("kind", PACKED)
def test_several_threads_read_one_store(tmp_path: Path, kind: str) -> None:
    filled(tmp_path, kind, range(24))
    store, wrong = open_store(tmp_path), []

    def read(start: int) -> None:
        for seed in [*range(start, 24), *range(start)]:
            if not equal(store.load(pair_name(seed)), made(seed)):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(6 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_a_part_that_was_cut_short(tmp_path: Path, kind: str, share: float, small_parts: None) -> None:
    store = store_for_writing(tmp_path, kind)
    store.begin([])
    for seed in range(6):  # a part of four, and two single ones
        store.save(pair_name(seed), made(seed))
    (part,) = parts(tmp_path)
    os.truncate(part, int(share * part.stat().st_size))
    reader = open_store(tmp_path)
    with pytest.raises(InputError, match=r"part-0001\.\w+: damaged .*run again, mends it"):
        reader.load(pair_name(0))
    with pytest.raises(InputError, match="damaged"):
        reader.names()
    again = store_for_writing(tmp_path, kind)
    missing = [seed for seed in range(6) if not again.has(pair_name(seed))]
    assert missing == [0, 1, 2, 3]
    again.begin([])
    for seed in missing:
        again.save(pair_name(seed), made(seed))
    again.settle()
    assert all(equal(open_store(tmp_path).load(pair_name(seed)), made(seed)) for seed in range(6))


@pytest.mark.parametrize("kind", PACKED)
def test_a_changed_byte_is_told(tmp_path: Path, kind: str) -> None:
    store = filled(tmp_path, kind, range(1, 3))
    (part,) = parts(tmp_path)
    value = made(1).scores[3].tobytes()
    content = part.read_bytes()
    assert content.count(value) == 1
    part.write_bytes(content.replace(value, bytes([value[0] ^ 1]) + value[1:]))
    with pytest.raises(InputError, match="damaged"):
        open_store(tmp_path).load(pair_name(1))
    assert store.has(pair_name(1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_file_that_was_cut_short_is_not_there(tmp_path: Path, kind: str) -> None:
    store = store_for_writing(tmp_path, kind)
    store.begin([])
    store.save(pair_name(1), made(1))
    file = tmp_path / "original_outputs" / f"{pair_name(1)}_matches.npz"
    whole = file.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert not store.has(pair_name(1))
    with pytest.raises(InputError, match=r"_matches\.npz: not a file of matches"):
        open_store(tmp_path).load(pair_name(1))


@pytest.mark.parametrize("kind", PACKED)
def test_killed_between_writing_a_part_and_removing_what_it_holds(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, kind, range(4))
    store.save(pair_name(5), made(5))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *a, **k: None)
        store.settle()
    assert len(parts(tmp_path)) == 2
    assert (tmp_path / "original_outputs" / f"{pair_name(5)}_matches.npz").exists()
    assert open_store(tmp_path).names() == sorted(pair_name(seed) for seed in (0, 1, 2, 3, 5))
    store_for_writing(tmp_path, kind).begin([])
    assert [path.stem for path in parts(tmp_path)] == ["part-0002"]
    assert not list((tmp_path / "original_outputs").glob("*.npz"))
    assert all(equal(open_store(tmp_path).load(pair_name(seed)), made(seed)) for seed in (0, 1, 2, 3, 5))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, tiny_release: Path) -> list[Pair]:
    folder = tmp_path_factory.mktemp("data set") / "hpatches"
    organise_hpatches(tiny_release, folder)
    return read_pairs(folder / "image_pairs.txt")


@pytest.fixture(scope="module", params=PACKED)
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair]
) -> Path:
    """The results of an extraction that nothing disturbed; to be read only."""
    folder = tmp_path_factory.mktemp("whole") / request.param
    extract(pairs, folder, store=request.param)
    return folder


def the_part(folder: Path) -> bytes:
    (part,) = parts(folder)
    assert {path.name for path in (folder / "original_outputs").iterdir()} == {part.name, "store.json"}
    return part.read_bytes()


class Stop(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("after", [1, 6, 15])
def test_an_extraction_goes_on_to_the_same_file(
    tmp_path: Path, pairs: list[Pair], whole: Path, after: int, small_parts: None
) -> None:
    seen: list[Outcome] = []

    def stop(outcome: Outcome) -> None:
        seen.append(outcome)
        if len(seen) == after:
            raise Stop

    with pytest.raises(Stop):
        extract(pairs, tmp_path, store=whole.name, on_pair=stop)
    half = tmp_path / f"original_outputs/.part-0001.0123abcd.{whole.name}"
    half.write_bytes(b"half")  # what a kill in the middle of writing leaves
    report = extract(pairs, tmp_path)  # the folder says what it is
    assert (report.skipped, report.done) == (after, 15 - after)
    assert the_part(tmp_path) == the_part(whole)
    assert (tmp_path / "pairs.json").read_bytes() == (whole / "pairs.json").read_bytes()
    assert (extract(pairs, tmp_path, store=whole.name)).skipped == 15


@pytest.mark.parametrize("room", [700, 3_000, 9_000])
def test_a_full_disk_ends_in_the_same_file(
    tmp_path: Path, pairs: list[Pair], whole: Path, full_disk: FullDisk, room: int, small_parts: None
) -> None:
    assert max(path.stat().st_size for path in whole.rglob("*") if path.is_file()) > room
    done: list[str] = []
    with full_disk(room), pytest.raises(OutputError, match="cannot be written"):
        extract(pairs, tmp_path, store=whole.name, on_pair=lambda outcome: done.append(outcome.pair.name))
    report = extract(pairs, tmp_path, store=whole.name)
    assert len(done) <= report.skipped <= len(done) + 1  # but for the one whose packing failed
    assert report.done == 15 - report.skipped
    assert the_part(tmp_path) == the_part(whole)


def test_a_damaged_file_is_matched_anew(tmp_path: Path, pairs: list[Pair], whole: Path) -> None:
    extract(pairs, tmp_path, store=whole.name)
    (part,) = parts(tmp_path)
    os.truncate(part, part.stat().st_size // 2)
    report = extract(pairs, tmp_path)
    assert (report.skipped, report.done) == (0, 15)
    assert the_part(tmp_path) == the_part(whole)


def test_another_store_is_refused_but_for_overwriting(tmp_path: Path, pairs: list[Pair], whole: Path) -> None:
    extract(pairs[:2], tmp_path, store=whole.name, precision="float32")
    for kind, precision in (("npz", None), (whole.name, "float64"), (None, "uint16")):
        with pytest.raises(ConfigError, match="in float32, not as"):
            extract(pairs, tmp_path, store=kind, precision=precision)
    assert extract(pairs[:3], tmp_path, precision="float32").done == 1
    assert extract(pairs[:1], tmp_path, overwrite=True).done == 1
    assert [path.suffix for path in (tmp_path / "original_outputs").iterdir()] == [".npz"]
    extract(pairs, tmp_path, overwrite=True, store=whole.name)
    assert the_part(tmp_path) == the_part(whole)


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no store 'parket' .did you mean 'parquet'"):
        store_for_writing(tmp_path, "parket")
    with pytest.raises(UsageError, match="no precision 'float16'"):
        store_for_writing(tmp_path, "h5", "float16")
    with pytest.raises(UsageError, match="npz keeps positions as float64"):
        store_for_writing(tmp_path, None, "float32")
    filled(tmp_path, "h5", range(2))
    (tmp_path / "original_outputs/store.json").write_text("{")
    with pytest.raises(InputError, match=r"store\.json: damaged"):
        open_store(tmp_path)
    (tmp_path / "original_outputs/store.json").unlink()
    with pytest.raises(InputError, match=r"store\.json: is missing"):
        open_store(tmp_path)


@pytest.mark.parametrize(("kind", "package"), [("h5", "h5py"), ("parquet", "pyarrow")])
def test_a_missing_package_is_told_by_its_extra(
    tmp_path: Path, kind: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=rf"need {package} .*{re.escape(to_install(kind))}"):
        store_for_writing(tmp_path, kind)


# -- other processes ------------------------------------------------------------------------------


@contextmanager
def writer(
    folder: Path, kind: str, count: int, *waiting: str
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A process that saves made-up pairs, and what it says: the number of each when it is there."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-m", "benchmark.made_matches", str(folder), kind, str(count), *waiting]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout
        finally:
            process.kill()


@pytest.mark.e2e
@pytest.mark.parametrize("kind", PACKED)
def test_it_is_read_while_another_process_writes(tmp_path: Path, kind: str) -> None:
    with writer(tmp_path, kind, 60, "waiting") as (process, said):
        assert process.stdin is not None
        for last in range(60):
            assert int(said.readline()) == last
            process.stdin.write("\n")  # so that it saves the next one while this one is read here
            process.stdin.flush()
            with open_store(tmp_path) as store:
                assert {pair_name(seed) for seed in range(last + 1)} <= set(store.names())
                for seed in {0, last // 2, last}:
                    assert equal(store.load(pair_name(seed)), made(seed))
        assert process.wait() == 0


@pytest.mark.e2e
@pytest.mark.parametrize("kind", PACKED)
def test_killed_in_the_middle_it_loses_nothing(tmp_path: Path, kind: str) -> None:
    filled(tmp_path / "whole", kind, range(200))
    matched: list[int] = []
    for kill_after in (3, 8, 17, 40, 41):
        with writer(tmp_path / "killed", kind, 200) as (process, said):
            matched += [int(said.readline()) for _ in range(kill_after)]
            process.send_signal(signal.SIGKILL)
            matched += [int(line) for line in said]
            assert process.wait() == -signal.SIGKILL
        there = open_store(tmp_path / "killed")
        assert all(equal(there.load(pair_name(seed)), made(seed)) for seed in matched)
    with writer(tmp_path / "killed", kind, 200) as (_, said):
        matched += [int(line) for line in said]
    assert len(set(matched)) == len(matched)  # none twice
    assert the_part(tmp_path / "killed") == the_part(tmp_path / "whole")


# -- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PACKED)
def test_there_and_back_is_the_same_to_the_last_byte(tmp_path: Path, kind: str, pairs: list[Pair]) -> None:
    extract(pairs, tmp_path / "npz")
    first = convert_store(tmp_path / "npz", tmp_path / kind, kind)
    assert (first.pairs, first.done, first.skipped) == (15, 15, 0)
    assert first.bytes < first.source_bytes
    convert_store(tmp_path / kind, tmp_path / "back", "npz")
    files = [
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "npz", tmp_path / "back")
    ]
    assert files[0] == files[1]
    other = "parquet" if kind == "h5" else "h5"
    assert convert_store(tmp_path / kind, tmp_path / other, other, "uint16").precision == "uint16"
    exact, coarse = open_store(tmp_path / kind), open_store(tmp_path / other)
    assert all(equal(coarse.load(name), rounded(exact.load(name), "uint16")) for name in exact.names())


def test_a_copy_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    filled(tmp_path / "source", "npz", range(10))
    seen: list[str] = []

    def stop(name: str) -> None:
        seen.append(name)
        if len(seen) == 4:
            raise Stop

    with pytest.raises(Stop):
        convert_store(tmp_path / "source", tmp_path / "copy", "h5", on_pair=stop)
    report = convert_store(tmp_path / "source", tmp_path / "copy", "h5")
    assert (report.skipped, report.done) == (4, 6)
    filled(tmp_path / "source", "npz", range(12))  # more was matched meanwhile
    assert convert_store(tmp_path / "source", tmp_path / "copy", "h5").done == 2
    convert_store(tmp_path / "source", tmp_path / "straight", "h5")
    assert the_part(tmp_path / "copy") == the_part(tmp_path / "straight")


def test_copies_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="holds no matches"):
        convert_store(tmp_path / "none", tmp_path / "copy", "h5")
    filled(tmp_path / "source", "npz", range(3))
    with pytest.raises(UsageError, match="is the folder itself"):
        convert_store(tmp_path / "source", tmp_path / "source", "h5")
    filled(tmp_path / "other", "h5", range(3, 6))
    with pytest.raises(OutputError, match=r"holds matches that .* has not"):
        convert_store(tmp_path / "source", tmp_path / "other", "h5")
    wrong = made(7)
    load = packed.PackedStore.load
    monkeypatch.setattr(packed.PackedStore, "load", lambda self, name: _shifted(load(self, name), wrong))
    with pytest.raises(OutputError, match="its copy differs from the source"):
        convert_store(tmp_path / "source", tmp_path / "copy", "parquet")


def _shifted(matches: Matches, other: Matches) -> Matches:
    """Other matches, where there are any."""
    return other if len(matches) else matches
