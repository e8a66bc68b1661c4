"""Shards end with the results of one machine, whatever becomes of them on the way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import yaml
from made_list import PAIRS, SPEC, contents, timed

from gcm.benchmark.extract import Extraction, extract, results_folder
from gcm.benchmark.pairs import Pair
from gcm.benchmark.workers import Outcome
from gcm.errors import ConfigError, DatasetError, OutputError
from gcm.matchers import matcher_spec
from gcm.scale.merge import merge
from gcm.scale.number import ShardNumber
from gcm.scale.shards import Shard, collect_shards, cut_shards, known_names, run_shard, shard_folders
from gcm.storage.locks import exclusive_lock


class Stop(BaseException):
    """Stands for a kill."""


def match_some(shard: Shard, folder: Path, count: int, **how: str) -> list[str]:
    """A shard that is stopped after so many pairs; their names."""
    seen: list[str] = []

    def stop(outcome: Outcome) -> None:
        seen.append(outcome.pair.name)
        if len(seen) == count:
            raise Stop

    with pytest.raises(Stop):
        run_shard(shard, SPEC, folder, workers=1, on_pair=stop, **how)
    return seen


def match_all(shards: list[Shard], folder: Path) -> list[Extraction]:
    return [run_shard(shard, SPEC, folder, workers=1) for shard in shards]


def test_four_shards_one_after_the_other_are_one_machine(
    tmp_path: Path, pairs: list[Pair], whole: Path
) -> None:
    shards, cut = cut_shards(pairs, 4)
    assert sum(len(shard.pairs) for shard in shards) == PAIRS
    assert [shard.images for shard in shards] == list(cut.part_images)
    reports = match_all(shards, tmp_path)
    assert [(report.done, report.skipped, report.failed) for report in reports] == [(50, 0, {})] * 4
    assert contents(tmp_path) == contents(whole)
    assert timed(tmp_path) == timed(whole)
    config, expected = (yaml.safe_load((path / "config.yml").read_text()) for path in (tmp_path, whole))
    assert list(config) == list(expected)
    assert (config["pairs"], config["configuration"]) == (PAIRS, expected["configuration"])
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize("store", ["h5", "parquet"])
def test_shards_of_a_store_are_one_machine(tmp_path: Path, pairs: list[Pair], store: str) -> None:
    pytest.importorskip({"h5": "h5py", "parquet": "pyarrow"}[store])
    few, how = pairs[:40], {"store": store, "precision": "uint16"}
    extract(few, SPEC, tmp_path / "whole", workers=1, **how)
    shards, _ = cut_shards(few, 3)
    match_some(shards[1], tmp_path / "out", 5, **how)
    for shard in shards:
        run_shard(shard, SPEC, tmp_path / "out", workers=1, **how)
    # Packed in other moments, and yet one file, the same to the byte.
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert [path.suffix for path in (tmp_path / "out/original_outputs").glob("part-*")] == [f".{store}"]
    with pytest.raises(ConfigError, match=f"keeps matches as {store}"):
        run_shard(shards[0], SPEC, tmp_path / "out", store="npz")
    merged = merge(tmp_path / "merged", [tmp_path / "out"])
    assert (merged.pairs, merged.missing) == (40, [])
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")


def test_a_second_start_does_nothing(
    tmp_path: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, _ = cut_shards(pairs[:20], 2)
    match_all(shards, tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr("gcm.benchmark.extract.match_pairs", lambda *a, **k: pytest.fail("work was done"))
    assert [(report.done, report.skipped) for report in match_all(shards, tmp_path)] == [(0, 10), (0, 10)]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == stamps


@pytest.mark.parametrize("after", [1, 9, 10])
def test_a_stopped_shard_goes_on(tmp_path: Path, pairs: list[Pair], after: int) -> None:
    shards, _ = cut_shards(pairs[:40], 4)
    extract(pairs[:40], SPEC, tmp_path / "whole", workers=1)
    folder = tmp_path / "out"
    seen = match_some(shards[1], folder, after)
    own = shard_folders(folder)[ShardNumber(2, 4)]
    # What a kill in the middle of writing leaves, a crash of the file system, and a copy cut short:
    (own / "original_outputs/.x_matches.0123abcd.npz").write_bytes(b"half")
    with (own / "times.csv").open("a") as file:
        file.write("05_0")
    half = own / f"original_outputs/{seen[0]}_matches.npz"
    half.write_bytes(half.read_bytes()[:-100])
    reports = match_all(shards, folder)
    assert [report.done for report in reports] == [10, 10 - after + 1, 10, 10]
    assert contents(folder) == contents(tmp_path / "whole")
    assert timed(folder) == timed(tmp_path / "whole")


def test_what_was_stopped_in_another_cut_is_not_matched_again(tmp_path: Path, pairs: list[Pair]) -> None:
    few = pairs[:40]
    seen = match_some(cut_shards(few, 4)[0][2], tmp_path / "out", 7)
    shards, _ = cut_shards(few, 2)
    assert sum(report.done for report in match_all(shards, tmp_path / "out")) == 40 - len(seen)
    assert known_names(tmp_path / "out") == {pair.name for pair in few}
    assert (
        collect_shards(results_folder(tmp_path / "out", SPEC)) == []
    )  # as any run of all pairs does, or gcm merge
    extract(few, SPEC, tmp_path / "whole", workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_full_disk(
    tmp_path: Path, pairs: list[Pair], whole: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    shards, _ = cut_shards(pairs, 4)
    with full_disk(2000), pytest.raises(OutputError, match="File too large"):
        match_all(shards, tmp_path)
    assert all(path.stat().st_size <= 2000 for path in tmp_path.rglob("*") if path.is_file())
    match_all(shards, tmp_path)
    assert contents(tmp_path) == contents(whole)


def test_a_shard_is_matched_by_one_at_a_time(tmp_path: Path, pairs: list[Pair]) -> None:
    shards, _ = cut_shards(pairs[:20], 2)
    with exclusive_lock(tmp_path / "shards/1-of-2.lock", wait=False):
        with pytest.raises(OutputError, match="another gcm is at shard 1/2"):
            run_shard(shards[0], SPEC, tmp_path)
        assert run_shard(shards[1], SPEC, tmp_path, workers=1).done == 10
        with pytest.raises(OutputError, match="another gcm is at shard 1/2"):
            collect_shards(results_folder(tmp_path, SPEC))
        with pytest.raises(OutputError, match=r"shard 1/2 is being matched there; cut into 2"):
            run_shard(cut_shards(pairs[:20], 3)[0][0], SPEC, tmp_path)
    assert run_shard(shards[0], SPEC, tmp_path, workers=1).done == 10


def test_a_lock_that_a_kill_left_holds_nobody_up(tmp_path: Path, pairs: list[Pair]) -> None:
    (tmp_path / "shards").mkdir()
    for name in ("1-of-2.lock", "1-of-3.lock"):
        (tmp_path / "shards" / name).touch()
    assert run_shard(cut_shards(pairs[:20], 2)[0][0], SPEC, tmp_path, workers=1).done == 10


def test_configurations_and_images_are_not_mixed(tmp_path: Path, pairs: list[Pair]) -> None:
    shards, _ = cut_shards(pairs[:20], 2)
    other = matcher_spec("orb", {"max_keypoints": 100})
    match_some(shards[0], tmp_path, 3)
    with pytest.raises(ConfigError, match="max_keypoints: 200 there, 100 now"):
        run_shard(shards[1], other, tmp_path)
    run_shard(shards[0], SPEC, tmp_path, workers=1)
    with pytest.raises(ConfigError, match="max_keypoints"):
        run_shard(shards[1], other, tmp_path)
    swapped = Pair(pairs[0].image1, pairs[0].image0, None, pairs[0].name)
    with pytest.raises(DatasetError, match="already stands for"):
        run_shard(Shard(ShardNumber(2, 2), (swapped,), 2), SPEC, tmp_path)


def test_a_bad_pair_is_told_and_remembered(tmp_path: Path, pairs: list[Pair]) -> None:
    bad = Pair(pairs[0].image0, tmp_path / "none.png", None, "bad")
    shards, _ = cut_shards([*pairs[:9], bad], 2)
    reports = match_all(shards, tmp_path / "out")
    assert sum(report.done for report in reports) == 9
    assert [name for report in reports for name in report.failed] == ["bad"]
    extract([*pairs[:9], bad], SPEC, tmp_path / "whole", workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    only_bad = Shard(ShardNumber(1, 2), (bad,), 2)
    assert run_shard(only_bad, SPEC, tmp_path / "nothing", workers=1).failed.keys() == {"bad"}
    assert not contents(tmp_path / "nothing")


def test_a_file_is_no_folder_for_shards(tmp_path: Path, pairs: list[Pair]) -> None:
    (tmp_path / "file").write_bytes(b"a file")
    with pytest.raises(OutputError, match="is a file"):
        run_shard(cut_shards(pairs, 2)[0][0], SPEC, tmp_path / "file")


def test_importing_shards_costs_nothing() -> None:
    code = (
        "import sys, gcm.scale.shards, gcm.scale.engines, gcm.scale.merge, gcm.scale.slurm\n"
        "import gcm.scale.ray_cluster, gcm.scale.local, gcm.scale.cost\n"
        "assert not {'torch', 'ray', 'submitit'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
