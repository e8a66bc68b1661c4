"""Batches: what is done once stays, what fails is told, what is killed goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from gcm.benchmark import workers
from gcm.benchmark.extract import extract
from gcm.benchmark.hpatches import organise_hpatches
from gcm.benchmark.pairs import Pair, read_pairs
from gcm.benchmark.workers import Outcome, default_workers, match_pairs
from gcm.errors import ConfigError, DatasetError, OutputError, UsageError
from gcm.matchers import matcher_spec
from gcm.storage.locks import only_writer
from gcm_cli.app import app

SPEC = matcher_spec("orb", {"max_keypoints": 300})


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, tiny_release: Path) -> list[Pair]:
    folder = tmp_path_factory.mktemp("data set") / "hpatches"
    organise_hpatches(tiny_release, folder)
    return read_pairs(folder / "image_pairs.txt")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair]) -> Path:
    """The results of an extraction that nothing disturbed; to be read only."""
    folder = tmp_path_factory.mktemp("whole")
    extract(pairs, SPEC, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but those with times in them, and locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in {".lock", "config.yml", "times.csv"}
    }


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.rglob("*")}


def test_writes_what_ime_reads(tmp_path: Path, pairs: list[Pair]) -> None:
    seen: list[Outcome] = []
    report = extract(pairs, SPEC, tmp_path, on_pair=seen.append)
    assert (report.pairs, report.done, report.skipped, report.failed) == (15, 15, 0, {})
    assert len(seen) == 15
    with np.load(tmp_path / "original_outputs/v_boat_1_v_boat_4_matches.npz") as file:
        n = len(file["keypoints0"])
        assert n > 5
        assert file["keypoints0"].shape == file["keypoints1"].shape == (n, 2)
        assert np.array_equal(file["matches"], np.stack([np.arange(n)] * 2, axis=1))
        assert np.median(file["keypoints0"] - file["keypoints1"], axis=0) == pytest.approx([4, 4], abs=0.5)
    config = yaml.safe_load((tmp_path / "config.yml").read_text())
    assert config["algorithm"] == "orb"
    assert config["configuration"] == {"ratio": 0.8, "max_keypoints": 300}
    assert config["mean_time"] == pytest.approx(config["total_time"] / 15, abs=1e-3)
    assert config["total_time"] == pytest.approx(sum(outcome.seconds for outcome in seen), abs=1e-2)


def test_a_second_run_does_nothing(
    tmp_path: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = extract(pairs, SPEC, tmp_path)
    before = stamps(tmp_path)
    monkeypatch.setattr("gcm.benchmark.extract.match_pairs", lambda *a, **k: pytest.fail("work was done"))
    second = extract(pairs, SPEC, tmp_path)
    assert (second.done, second.skipped) == (0, 15)
    assert second.total_seconds == pytest.approx(first.total_seconds)
    assert stamps(tmp_path) == before


class Stop(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize(
    "after", [pytest.param(1, marks=pytest.mark.e2e), 7, pytest.param(15, marks=pytest.mark.e2e)]
)
def test_goes_on_where_it_was_stopped(tmp_path: Path, pairs: list[Pair], whole: Path, after: int) -> None:
    seen = []

    def stop(outcome: Outcome) -> None:
        seen.append(outcome)
        if len(seen) == after:
            raise Stop

    with pytest.raises(Stop):
        extract(pairs, SPEC, tmp_path / "stopped", on_pair=stop)
    # What a kill in the middle of writing leaves:
    results = tmp_path / "stopped/original_outputs"
    (results / ".v_wall_1_v_wall_6_matches.0123abcd.npz").write_bytes(b"half")
    with (tmp_path / "stopped/times.csv").open("a") as file:
        file.write("v_wall_1_v_wa")
    report = extract(pairs, SPEC, tmp_path / "stopped")
    assert (report.skipped, report.done) == (after, 15 - after)
    assert contents(tmp_path / "stopped") == contents(whole)
    names = [line.split(",")[0] for line in (tmp_path / "stopped/times.csv").read_text().splitlines()]
    assert names == sorted(pair.name for pair in pairs)
    assert "total_time" in yaml.safe_load((tmp_path / "stopped/config.yml").read_text())


@pytest.mark.e2e
def test_more_workers_give_the_same_files(tmp_path: Path, pairs: list[Pair], whole: Path) -> None:
    report = extract(pairs, SPEC, tmp_path / "two", workers=2)
    assert report.done == 15
    assert contents(tmp_path / "two") == contents(whole)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.e2e)])
def test_a_bad_pair_is_told_and_the_rest_go_on(tmp_path: Path, pairs: list[Pair], workers: int) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    bad = [
        Pair(pairs[0].image0, broken, None, "bad_a"),
        Pair(tmp_path / "none.png", broken, None, "bad_b"),
    ]
    report = extract([bad[0], *pairs[:3], bad[1]], SPEC, tmp_path / "out", workers=workers)
    assert report.done == 3
    assert set(report.failed) == {"bad_a", "bad_b"}
    assert str(broken) in report.failed["bad_a"]
    assert "no such file" in report.failed["bad_b"]
    shutil.copy(pairs[1].image1, broken)  # mended: the next run does what is left
    again = extract([bad[0], *pairs[:3], bad[1]], SPEC, tmp_path / "out", workers=workers)
    assert (again.done, again.skipped, set(again.failed)) == (1, 3, {"bad_b"})


def test_configurations_are_not_mixed(tmp_path: Path, pairs: list[Pair]) -> None:
    extract(pairs[:2], SPEC, tmp_path)
    before = contents(tmp_path)
    other = matcher_spec("orb", {"max_keypoints": 200})
    with pytest.raises(ConfigError, match="max_keypoints: 300 there, 200 now"):
        extract(pairs[:2], other, tmp_path)
    with pytest.raises(ConfigError, match="algorithm: 'orb' there, 'sift' now"):
        extract(pairs[:2], matcher_spec("sift"), tmp_path)
    assert contents(tmp_path) == before
    report = extract(pairs[:1], other, tmp_path, overwrite=True)
    assert report.done == 1
    assert len(list((tmp_path / "original_outputs").iterdir())) == 1
    assert contents(tmp_path) != before


def test_a_file_is_no_folder_for_matches(tmp_path: Path, pairs: list[Pair]) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"a photo")
    with pytest.raises(OutputError, match=r"photo\.jpg: is a file; give a folder"):
        extract(pairs, SPEC, tmp_path / "photo.jpg", overwrite=True)
    assert (tmp_path / "photo.jpg").read_bytes() == b"a photo"


def test_results_of_unknown_origin_are_left_alone(tmp_path: Path, pairs: list[Pair]) -> None:
    (tmp_path / "original_outputs").mkdir()
    (tmp_path / "original_outputs/x_y_matches.npz").write_bytes(b"?")
    with pytest.raises(ConfigError, match=r"no config\.yml"):
        extract(pairs[:1], SPEC, tmp_path)


def test_a_longer_list_adds_to_the_folder(tmp_path: Path, pairs: list[Pair], whole: Path) -> None:
    extract(pairs[:3], SPEC, tmp_path / "grown")
    report = extract(pairs, SPEC, tmp_path / "grown")
    assert (report.skipped, report.done) == (3, 12)
    assert contents(tmp_path / "grown") == contents(whole)


def test_a_name_keeps_its_images(tmp_path: Path, pairs: list[Pair]) -> None:
    extract(pairs[:1], SPEC, tmp_path)
    other = Pair(pairs[5].image0, pairs[5].image1, None, pairs[0].name)
    with pytest.raises(DatasetError, match="already stands for"):
        extract([other], SPEC, tmp_path)


def test_a_name_keeps_its_files(tmp_path: Path, photo: np.ndarray) -> None:
    """Photos of the same names, in folders of the same names, that lie elsewhere; and one that was edited."""
    for k, place in enumerate(("left", "right")):
        folder = tmp_path / place / "2024" / "day1"
        folder.mkdir(parents=True)
        for j, name in enumerate(("a.png", "b.png")):
            cv2.imwrite(str(folder / name), np.roll(photo, (3 * k, 8 * j), axis=(0, 1))[: 240 - 20 * k])
        (tmp_path / f"{place}.txt").write_text("2024/day1/a.png 2024/day1/b.png\n")

    def run(place: str, *more: str) -> Result:
        listed = ["--pairs", str(tmp_path / f"{place}.txt"), "--root", str(tmp_path / place)]
        out = ["--output-dir", str(tmp_path / "out"), "--algorithm", "orb", *more]
        return CliRunner().invoke(app, ["extract", *listed, *out], env={"COLUMNS": "80", "NO_COLOR": "1"})

    assert run("left").exit_code == 0
    assert run("left").exit_code == 0
    done = run("right")
    assert done.exit_code == 1
    assert "'a_b' was matched when 2024/day1/a.png and 2024/day1/b.png had another size" in done.stderr
    assert "use another folder, or --overwrite to match again" in done.stderr
    cv2.imwrite(str(tmp_path / "left/2024/day1/b.png"), photo[::-1, :200])
    done = run("left")
    assert done.exit_code == 1
    assert "'a_b' was matched when 2024/day1/b.png had another size" in done.stderr
    assert run("left", "--overwrite").exit_code == 0
    places = tmp_path / "out/pairs.json"
    noted = json.loads(places.read_text())["a_b"]
    assert int(noted["bytes1"]) == (tmp_path / "left/2024/day1/b.png").stat().st_size
    places.write_text(json.dumps({"a_b": {k: told for k, told in noted.items() if "bytes" not in k}}))
    assert run("right").exit_code == 0  # in a folder of an earlier version nobody knows


def test_two_at_once_are_refused(tmp_path: Path, pairs: list[Pair]) -> None:
    with only_writer(tmp_path), pytest.raises(OutputError, match="another gcm is writing there"):
        extract(pairs[:1], SPEC, tmp_path)


def test_an_algorithm_that_cannot_be_made_writes_nothing(tmp_path: Path, pairs: list[Pair]) -> None:
    with pytest.raises(UsageError):
        extract(pairs, matcher_spec("orb", {"ratio": 7}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    extract(pairs[:2], SPEC, tmp_path / "kept")
    before = contents(tmp_path / "kept")
    with pytest.raises(UsageError):
        extract(pairs, matcher_spec("orb", {"ratio": 7}), tmp_path / "kept", overwrite=True)
    assert contents(tmp_path / "kept") == before


@pytest.mark.e2e
def test_an_algorithm_that_workers_cannot_make_is_told(pairs: list[Pair]) -> None:
    with pytest.raises(UsageError, match="ratio must lie"):
        list(match_pairs(matcher_spec("orb", {"ratio": 7}), pairs, workers=2))


@pytest.mark.e2e
def test_a_worker_that_dies_costs_one_pair(
    tmp_path: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly_package.py").write_text(
        "import os\n"
        "from gcm.matchers import MatcherSpec, matcher_spec\n"
        "class Deadly:\n"
        "    name = 'deadly'\n"
        "    inner = matcher_spec('orb', {'max_keypoints': 300}).create()\n"
        "    def match(self, a, b):\n"
        "        if b.name == 'i_fog_3.ppm':\n"
        "            os._exit(9)\n"
        "        return self.inner.match(a, b)\n"
        "class Spec(MatcherSpec):\n"
        "    def create(self):\n"
        "        return Deadly()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import deadly_package  # type: ignore[import-not-found]

    outcomes = {o.pair.name: o for o in match_pairs(deadly_package.Spec("deadly"), pairs, workers=2)}
    assert len(outcomes) == len(pairs)
    failed = [name for name, outcome in outcomes.items() if outcome.matches is None]
    assert failed == ["i_fog_1_i_fog_3"]
    assert "exit code 9" in str(outcomes["i_fog_1_i_fog_3"].error)


def test_what_is_matched_later_is_computed_as_the_rest(
    tmp_path: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last digits depend on how many threads a process has, and these on how many processes there are."""
    asked: list[tuple[int, int]] = []

    class Pool(workers.WorkerPool):
        def run(self) -> Iterator[Outcome | None]:
            asked.append((self.size, self.threads))
            yield None
            for group in self.groups:
                yield from (Outcome(pair, None, 0.0, "not matched") for pair in group)

    monkeypatch.setattr(workers, "WorkerPool", Pool)
    monkeypatch.setattr(workers, "default_workers", lambda total: min(2, total // 4))
    monkeypatch.setattr(workers, "usable_cores", lambda: 6)
    extract(pairs, SPEC, tmp_path / "all")
    list(match_pairs(SPEC, pairs[:1], total=len(pairs)))
    assert asked == [(2, 3), (1, 3)]


def test_as_many_processes_as_the_machine_and_the_list_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(workers.sys, "platform", "linux")
    monkeypatch.setattr(workers.os, "sysconf", lambda name: 2**24 if "PAGES" in name else 4096)
    monkeypatch.setattr(workers.Path, "exists", lambda _: False)
    assert [default_workers(n) for n in (1, 7, 8, 540)] == [1, 1, 2, 4]
    monkeypatch.setattr(workers.os, "sysconf", lambda name: 2**20 if "PAGES" in name else 4096)  # 4 GiB free
    assert default_workers(540) == 2
    monkeypatch.setattr(workers.Path, "exists", lambda _: True)  # a GPU
    assert default_workers(540) == 1
