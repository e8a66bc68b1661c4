"""Sparse matches: when they are believed, and what is returned beside them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gcm import Matcher, Matches
from gcm.config import load_config
from gcm.errors import ConfigError
from gcm.estimation import estimate_fundamental
from gcm.features.seeds import SeedMatcher, Seeds
from gcm.geometry import apply_homography, epipolar_distances
from gcm.method.pair import Pair
from gcm.method.seed_evidence import epipolar_significance, fundamental_of, share_adrift
from gcm.method.seeding import Seeded, beside, find_seeds
from gcm.method.steps import Clock, matching_steps
from gcm.method.working_matches import WorkingMatches
from gcm.options import GuidedOptions, SeedOptions

SIZE = 640, 480


def two_views(rng: np.random.Generator, number: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of a scene with depth, in two views."""
    points = rng.uniform([-3, -2, 4], [3, 2, 12], (number, 3))
    turn, _ = cv2.Rodrigues(np.array([0.02, 0.15, 0.03]))
    views = []
    for rotation, shift in ((np.eye(3), np.zeros(3)), (turn, np.array([1.0, 0.1, 0.2]))):
        seen = points @ rotation.T + shift
        views.append(
            seen[:, :2] / seen[:, 2:] * 400 + np.array(SIZE) / 2 + noise * rng.standard_normal((number, 2))
        )
    return views[0], views[1]


def significance(points0: np.ndarray, points1: np.ndarray) -> float:
    matrix = fundamental_of(points0, points1, 3.0)
    assert matrix is not None
    return epipolar_significance(epipolar_distances(matrix, points0, points1), (SIZE, SIZE), 3.0)


def test_matches_of_one_scene_are_significant() -> None:
    rng = np.random.default_rng(0)
    points0, points1 = two_views(rng, 60, 0.5)
    wrong = rng.random(60) < 0.3
    points1[wrong] = rng.uniform(0, SIZE, (wrong.sum(), 2))
    assert significance(points0, points1) > 30


@pytest.mark.parametrize("seed", range(10))
def test_matches_of_nothing_are_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points0, points1 = (rng.uniform(0, SIZE, (60, 2)) for _ in range(2))
    assert significance(points0, points1) < 5


def test_too_few_matches_have_no_geometry() -> None:
    rng = np.random.default_rng(0)
    assert fundamental_of(*two_views(rng, 8, 0.1), 3.0) is None


def test_dense_matches_stay_beside_the_seeds_where_they_agree() -> None:
    rng = np.random.default_rng(1)
    points0, points1 = two_views(rng, 200, 0.3)
    matrix = fundamental_of(points0, points1, 3.0)
    assert matrix is not None
    seeds = WorkingMatches(None, points0[:100], points1[:100], points1[:100], np.full(100, 0.9))
    away = points1[100:] + np.array([0.0, 60.0])
    dense = WorkingMatches(
        None,
        np.repeat(points0[100:], 2, axis=0),
        np.stack([points1[100:], away], axis=1).reshape(-1, 2),
        np.stack([points1[100:], away], axis=1).reshape(-1, 2),
        np.full(200, 0.8),
    )
    options = SeedOptions(near_cells=40.0)
    kept = beside(Seeded(seeds, 99.0, matrix), [dense], options, 8)
    assert kept.scores[-100:] == pytest.approx(0.9 * options.score)  # the seeds, all of them
    np.testing.assert_array_equal(kept.points0[-100:], seeds.points0)
    off = np.linalg.norm(kept.points1[:-100, None] - away[None], axis=2).min(axis=1)
    assert (off > 1).all()


def test_an_unknown_seed_matcher_is_named_and_the_known_ones() -> None:
    method = {"guided": {"seeds": {"matchers": ["atention"]}}}
    with pytest.raises(ConfigError, match=r"no 'atention' \(did you mean 'attention'\?\)"):
        Matcher("fast", method=method)
    with pytest.raises(ConfigError, match="xfeat:speed=3"):
        Matcher("fast", method={"guided": {"seeds": {"matchers": ["xfeat:speed=3"]}}})


class Told:
    """A seed matcher that finds so many matches of one scene, and so many where image 1 is mirrored."""

    def __init__(self, upright: int, mirrored: int) -> None:
        self.counts = upright, mirrored
        self.asked: list[bool] = []
        """Of each look, whether it was at the mirror image."""

    def match(self, image0: np.ndarray, image1: np.ndarray) -> Seeds:
        self.asked.append(bool(image1[0, 0, 0]))
        points = two_views(np.random.default_rng(1), self.counts[self.asked[-1]], 0.3)
        return WorkingMatches(None, points[0], points[1], points[1], np.ones(len(points[0])))


class Glimpsed(Told):
    """The same, and it can look at little cost."""

    def __init__(self, upright: int, mirrored: int, small: tuple[int, int]) -> None:
        super().__init__(upright, mirrored)
        self.small = Told(*small)

    def glimpse(self, image0: np.ndarray, image1: np.ndarray) -> Seeds:
        return self.small.match(image0, image1)


def seeds_of(matcher: SeedMatcher) -> tuple[Seeded | None, list[str]]:
    config = load_config("fast")
    assert isinstance(config.method, GuidedOptions)
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    right = image.copy()
    right[0, -1] = 255  # so that its mirror image is told from it
    pair = Pair(image, right, matching_steps(config), config.method, Clock(), [matcher])
    return find_seeds(pair, SeedOptions()), pair.trace


def test_where_the_mirror_image_has_far_more_nothing_is_in_common() -> None:
    found, trace = seeds_of(Told(60, 300))
    assert found is None
    assert trace == ["seeds: the mirror image has more"]
    found, trace = seeds_of(Told(60, 70))
    assert found is not None
    assert len(found.matches) > 50


def test_the_mirror_image_is_looked_at_small_first() -> None:
    """To look at all of it costs as much as the match itself."""
    clear, doubtful = Glimpsed(60, 70, (40, 12)), Glimpsed(60, 300, (40, 60))
    assert seeds_of(clear)[0] is not None
    assert clear.asked == [False]
    assert clear.small.asked == [False, True]
    assert seeds_of(doubtful)[0] is None
    assert doubtful.asked == [False, True]


class OnlySlanted:
    """Finds a scene where image 1 is tilted as told; a glimpse of that expects so many right matches."""

    def __init__(self, shape: tuple[int, int], expected: float) -> None:
        self.shape, self.expected = shape, expected
        self.glimpses = 0
        self.looks: list[tuple[int, int]] = []

    def glimpse(self, image0: np.ndarray, image1: np.ndarray) -> Seeds:
        self.glimpses += 1
        return self.seen(image0, image1, self.expected / 60)

    def match(self, image0: np.ndarray, image1: np.ndarray) -> Seeds:
        self.looks.append(image1.shape[:2])
        return self.seen(image0, image1, 0.9)

    def seen(self, image0: np.ndarray, image1: np.ndarray, score: float) -> Seeds:
        points0, points1 = two_views(np.random.default_rng(1), 60, 0.3)
        here = image1.shape[:2] == self.shape and image0.shape[:2] == SIZE[::-1]
        points1 = (points1 + 0.5) * np.array(image1.shape[1::-1]) / SIZE - 0.5
        matches = WorkingMatches(None, points0, points1, points1, np.full(60, score))
        return matches.take(np.full(60, here))


def test_an_image_is_tilted_where_a_glimpse_of_that_shows_enough() -> None:
    slanted = (SIZE[1], SIZE[0] // 5)
    matcher = OnlySlanted(slanted, 15)
    found, trace = seeds_of(matcher)
    assert trace == ["seeds: image 1 tilted, 0 degrees"]
    assert matcher.glimpses >= 4  # and two more for the mirror image
    assert matcher.looks[:2] == [SIZE[::-1], slanted]
    assert found is not None
    np.testing.assert_allclose(found.matches.points1, two_views(np.random.default_rng(1), 60, 0.3)[1])


def test_no_tilted_image_is_looked_at_where_glimpses_show_little() -> None:
    matcher = OnlySlanted((SIZE[1], SIZE[0] // 5), 8)
    assert seeds_of(matcher)[0] is None
    assert matcher.glimpses == 4
    assert matcher.looks == [SIZE[::-1]]


def facade(rng: np.random.Generator, windows: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a wall seen at a slant, some of them taken for what is so many windows on."""
    points = np.column_stack([rng.uniform(0, 8, 120), rng.uniform(-2, 2, 120)])
    views = []
    for slant, step in ((np.deg2rad(60), 0), (np.deg2rad(25), windows)):
        along = points[:, 0] + rng.integers(-step, step + 1, 120)
        seen = np.column_stack([np.cos(slant) * along - 3, points[:, 1], 5 + np.sin(slant) * along])
        views.append(
            seen[:, :2] / seen[:, 2:] * 400 + np.array(SIZE) / 2 + 0.3 * rng.standard_normal((120, 2))
        )
    return views[0], views[1]


def test_matches_that_slide_along_a_facade_are_of_one_geometry_and_adrift() -> None:
    """Their lines meet in the vanishing point of its floors, so that epipolar geometry cannot tell."""
    options = SeedOptions()
    for windows, slide in ((0, False), (3, True)):
        points0, points1 = facade(np.random.default_rng(0), windows)
        found = significance(points0, points1)
        assert found > 60
        adrift = share_adrift(points0, points1, options.tolerance)
        assert (adrift > 0.9) if slide else (adrift < 0.2)
        matches = WorkingMatches(None, points0, points1, points1, np.ones(len(points0)))
        assert Seeded(matches, found, np.eye(3), adrift=adrift).slide(options) is slide


def test_few_matches_are_not_said_to_be_adrift() -> None:
    points0, points1 = (np.random.default_rng(k).uniform(0, SIZE, (39, 2)) for k in range(2))
    assert share_adrift(points0, points1, 3.0) == 0


def test_a_slanted_plane_is_not_said_to_be_adrift() -> None:
    """From the image that shows it a tenth as wide, its points tell little of the other."""
    rng = np.random.default_rng(0)
    points0 = rng.uniform(0, SIZE, (60, 2))
    points1 = points0 * [0.05, 1] + rng.normal(0, 1, (60, 2))
    assert share_adrift(points0, points1, 3.0) < 0.5
    assert share_adrift(points1, points0, 3.0) < 0.5


def slanted(shared: Path, name: str) -> tuple[Matches, np.ndarray]:
    """The matches of a pair of EVD, and how many pixels each is off."""
    folder = shared / "data/evd-dev" / name
    matches = Matcher("default").match(folder / "1.jpg", folder / "2.jpg")
    truth = np.loadtxt(folder / "H_1_2")
    return matches, np.linalg.norm(apply_homography(truth, matches.points0) - matches.points1, axis=1)


@pytest.mark.slow
def test_a_facade_that_is_only_like_itself_has_no_matches(shared: Path) -> None:
    matches, off = slanted(shared, "cafe")
    assert matches.confidence is not None
    assert np.mean(off < 10) > 0.8 if len(matches) else matches.confidence < 0.5


@pytest.mark.slow
def test_a_plane_at_an_extreme_slant_is_found(shared: Path) -> None:
    matches, off = slanted(shared, "shop")
    assert len(matches) > 500
    assert np.mean(off < 10) > 0.8


@pytest.mark.slow
def test_what_seeds_are_sure_of_is_not_looked_at_larger(shared: Path) -> None:
    """The maps have matches that do not convince; those that agree with the seeds are returned."""
    photos = [shared / f"data/fmat-dev/elderhalla{which}.jpg" for which in "AB"]
    marked = np.loadtxt(shared / "data/fmat-dev/elderhalla_points.txt")
    matches = Matcher("default").match(*photos)
    trace = " ".join(matches.info["trace"])
    assert "seeds: " in trace
    assert "in full size" not in trace
    assert matches.confidence is not None
    assert matches.confidence > 0.95
    assert len(matches) > 2000
    found = estimate_fundamental(matches.points0, matches.points1)
    assert found.matrix is not None
    distances = epipolar_distances(found.matrix, marked[:, :2], marked[:, 2:4])
    assert np.mean(np.maximum(*distances) < 5) >= 0.8
