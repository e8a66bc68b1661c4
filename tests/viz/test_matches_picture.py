"""Drawings: what a person must be able to tell from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gcm.matches import Matches
from gcm.viz.matches import blend_warped, draw_matches, even_sample


def _matches(n: int, inliers: NDArray[np.bool_] | None, size: tuple[int, int]) -> Matches:
    rng = np.random.default_rng(0)
    points0 = rng.uniform(0, 1, (n, 2)) * (np.array(size) - 1)
    return Matches(
        points0, points0[:, ::-1] % np.array(size), rng.uniform(0, 1, n), size, size, np.eye(3), inliers
    )


def test_draws_two_sizes_and_keeps_the_images(photo: NDArray[np.uint8]) -> None:
    small = photo[:100, :80]
    drawn = draw_matches(photo, small, _matches(0, np.zeros(0, bool), (320, 240)))
    np.testing.assert_array_equal(drawn[:240, :320], photo)
    np.testing.assert_array_equal(drawn[:100, -80:], small)


def test_inliers_and_others_differ(photo: NDArray[np.uint8]) -> None:
    grey = np.full_like(photo, 60)
    yes = draw_matches(grey, grey, _matches(50, np.ones(50, bool), (320, 240)))[:240]
    no = draw_matches(grey, grey, _matches(50, np.zeros(50, bool), (320, 240)))[:240]
    changed = (no != 60).any(axis=2)
    assert np.all(no[changed][:, 0].astype(int) >= no[changed][:, 2])  # red
    assert yes[(yes != 60).any(axis=2)][:, 1].mean() > no[changed][:, 1].mean()


def test_many_matches_stay_readable(photo: NDArray[np.uint8]) -> None:
    n = 10_000
    drawn = draw_matches(photo, photo, _matches(n, np.ones(n, bool), (320, 240)))
    gap = drawn[:240, 320 : drawn.shape[1] - 320]
    assert np.mean((gap == 24).all(axis=2)) > 0.2, "lines fill the gap between the images"


def test_sample_is_even_and_prefers_the_best() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(0, 10, (5000, 2)), rng.uniform(0, 100, (500, 2))])
    scores = rng.uniform(0, 1, len(points))
    chosen = even_sample(points, scores, 200)
    assert len(set(chosen.tolist())) == 200
    assert np.sum((points[chosen] < 10).all(axis=1)) < 40  # not where most matches are
    assert scores[chosen].mean() > 0.6


def test_blend_is_half_of_each_where_both_are() -> None:
    a, b = np.full((40, 60, 3), 200, np.uint8), np.full((40, 60, 3), 100, np.uint8)
    shift = np.array([[1.0, 0, 30], [0, 1, 0], [0, 0, 1]])
    blended = blend_warped(a, b, shift)
    assert abs(int(blended[20, 50, 0]) - 150) <= 2
    assert blended[20, 5, 0] == 100  # image 0 alone, dimmed


def test_points_lie_on_what_they_show_when_images_are_shrunk() -> None:
    """A wide image is drawn at half its size: the dot must lie on the spot it belongs to."""
    image = np.zeros((600, 1800, 3), np.uint8)
    image[300:310, 1500:1510] = 255
    spot = np.array([[1504.5, 304.5]])
    matches = Matches(spot, spot, np.ones(1), (1800, 600), (1800, 600), np.eye(3), np.ones(1, bool))
    drawn = draw_matches(image, image, matches)
    yellow = np.argwhere((drawn[:300, :, 0] > 200) & (drawn[:300, :, 2] < 100))[:, ::-1]
    left = yellow[yellow[:, 0] < 900]
    assert np.abs(left - [751.75, 151.75]).max(axis=1).min() <= 1
