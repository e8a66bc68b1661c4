"""Folders of several machines put into one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_list import PAIRS, SPEC, contents, timed
from typer.testing import CliRunner, Result

from gcm.benchmark.extract import extract
from gcm.benchmark.pairs import Pair
from gcm.errors import ConfigError, DatasetError, UsageError
from gcm.matchers import matcher_spec
from gcm.scale.merge import merge
from gcm.scale.shards import cut_shards, run_shard
from gcm_cli.app import app


def gcm(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair]) -> list[Path]:
    """The folders of three machines that share nothing, a shard each; to be read only."""
    folders = [tmp_path_factory.mktemp(f"machine {k}") for k in range(3)]
    for shard, folder in zip(cut_shards(pairs, 3)[0], folders, strict=True):
        run_shard(shard, SPEC, folder, workers=1, listed=pairs)
    return folders


def test_three_machines_are_one(tmp_path: Path, machines: list[Path], whole: Path) -> None:
    before = [contents(folder) for folder in machines]
    report = merge(tmp_path / "out", machines)
    assert (report.folders, report.pairs, report.copied, report.there) == (3, PAIRS, PAIRS, 0)
    assert (report.missing, report.damaged) == ([], {})
    assert contents(tmp_path / "out") == contents(whole)
    assert timed(tmp_path / "out") == timed(whole)
    assert [contents(folder) for folder in machines] == before
    again = merge(tmp_path / "out", machines)
    assert (again.copied, again.there, again.pairs) == (0, PAIRS, PAIRS)
    assert contents(tmp_path / "out") == contents(whole)


def test_photos_may_lie_elsewhere_on_each_machine(tmp_path: Path, pairs: list[Pair], whole: Path) -> None:
    """Machines that share nothing seldom call their folders the same."""
    photos = pairs[0].image0.parent
    folders = []
    for number in (1, 2):
        there = tmp_path / f"machine {number}" / "deep" / f"photos of {number}"
        shutil.copytree(photos, there)
        listed = [replace(p, image0=there / p.image0.name, image1=there / p.image1.name) for p in pairs]
        folder = tmp_path / f"results {number}"
        run_shard(cut_shards(listed, 2)[0][number - 1], SPEC, folder, workers=1, listed=listed)
        folders.append(folder)
    done = gcm("merge", tmp_path / "out", *folders)
    assert done.exit_code == 0
    merged, alone = contents(tmp_path / "out"), contents(whole)
    said = [json.loads(files.pop("pairs.json")) for files in (merged, alone)]
    assert merged == alone
    assert said[0].keys() == said[1].keys()
    assert {Path(place["image0"]).parent for place in said[0].values()} == {Path("deep/photos of 1")}


class Stop(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("after", [1, 70, PAIRS])
def test_a_stopped_merge_goes_on(tmp_path: Path, machines: list[Path], whole: Path, after: int) -> None:
    copied = []

    def stop() -> None:
        copied.append(1)
        if len(copied) == after:
            raise Stop

    with pytest.raises(Stop):
        merge(tmp_path, machines, on_copied=stop)
    report = merge(tmp_path, machines)
    assert (report.copied, report.there, report.pairs) == (PAIRS - after, after, PAIRS)
    assert contents(tmp_path) == contents(whole)
    assert timed(tmp_path) == timed(whole)


def test_what_is_missing_is_told(tmp_path: Path, machines: list[Path], list_file: Path) -> None:
    done = gcm("merge", tmp_path / "out", *machines[:2], "--json")
    assert done.exit_code == 3
    document = json.loads(done.stdout)
    gone = {path.name.removesuffix("_matches.npz") for path in machines[2].rglob("*.npz")}
    assert set(document["missing"]) == gone
    assert f"{len(gone)} pairs without a result" in done.stderr
    assert gcm("merge", tmp_path / "out", machines[2], "--pairs", list_file).exit_code == 0


def test_a_damaged_result_is_left_out_and_told(tmp_path: Path, machines: list[Path], whole: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(machines[0], broken)
    victim = sorted(broken.rglob("*.npz"))[0]
    victim.write_bytes(victim.read_bytes()[:-50])
    name = victim.name.removesuffix("_matches.npz")
    done = gcm("merge", tmp_path / "out", broken, *machines[1:])
    assert done.exit_code == 3
    assert f"{name}: " in done.stderr
    assert "left out" in done.stderr
    assert not (tmp_path / "out/original_outputs" / victim.name).exists()
    # Another folder has it whole; and one that is damaged in the folder itself is replaced, too.
    other = next((tmp_path / "out/original_outputs").glob("*.npz"))
    other.write_bytes(b"")
    report = merge(tmp_path / "out", [broken, *machines])
    assert (report.copied, report.damaged, report.missing) == (2, {}, [])
    assert contents(tmp_path / "out") == contents(whole)


def test_contradictions_are_refused_before_anything_is_copied(
    tmp_path: Path, machines: list[Path], pairs: list[Pair]
) -> None:
    other = tmp_path / "other"
    extract(pairs[:3], matcher_spec("orb", {"max_keypoints": 100}), other, workers=1)
    with pytest.raises(ConfigError, match=r"max_keypoints: 100 there, 200 in .*; put together those of one"):
        merge(tmp_path / "out", [*machines, other])
    differs = tmp_path / "differs"
    shutil.copytree(machines[1], differs)
    shutil.copy(*sorted(differs.rglob("*.npz"))[:2])
    with pytest.raises(DatasetError, match="1 of its results are not those of"):
        merge(tmp_path / "out", [*machines, differs])
    renamed = tmp_path / "renamed"
    swapped = [Pair(pair.image1, pair.image0, None, pair.name) for pair in pairs[:2]]
    extract(swapped, SPEC, renamed, workers=1)
    with pytest.raises(DatasetError, match="in another folder"):
        merge(tmp_path / "out", [*machines, renamed])
    assert not (tmp_path / "out").exists()


def test_what_is_no_folder_of_results(tmp_path: Path, machines: list[Path]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no such folder"):
        merge(tmp_path / "out", [tmp_path / "none"])
    with pytest.raises(DatasetError, match="no folder of results"):
        merge(tmp_path / "out", [tmp_path / "empty"])
    with pytest.raises(UsageError, match="no results there"):
        merge(tmp_path / "out", [])
    with pytest.raises(UsageError, match="leave it out"):
        merge(machines[0], [machines[0]])
    (tmp_path / "empty/config.yml").write_text("algorithm: orb\n")
    with pytest.raises(ConfigError, match="does not say"):
        merge(tmp_path / "out", [tmp_path / "empty"])


def test_stopped_shards_are_merged_too(tmp_path: Path, pairs: list[Pair]) -> None:
    """Of the folder itself and of another machine's; what that has stays as it is."""
    shards, _ = cut_shards(pairs[:40], 2)
    extract(pairs[:40], SPEC, tmp_path / "whole", workers=1)

    for shard, folder in zip(shards, ("a", "b"), strict=True):
        run_shard(shard, SPEC, tmp_path / folder, workers=1)
        # As a kill before the results were moved leaves it:
        own = tmp_path / folder / "shards" / shard.number.folder
        shutil.copytree(tmp_path / folder, tmp_path / "kept")
        shutil.rmtree(tmp_path / folder)
        own.parent.mkdir(parents=True)
        shutil.move(tmp_path / "kept", own)
    before = contents(tmp_path / "b")
    report = merge(tmp_path / "a", [tmp_path / "b"])
    assert (report.folders, report.copied, report.pairs) == (2, 20, 40)
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")
    assert contents(tmp_path / "b") == before
