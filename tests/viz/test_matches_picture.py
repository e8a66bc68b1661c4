"""Drawings: what a person must be able to tell from them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from gcm.matches import Matches
from gcm.viz.matches import draw_matches, even_sample


def _matches(n: int, inliers: NDArray[np.bool_] | None, size: tuple[int, int]) -> Matches:
    rng = np.random.default_rng(0)
    points0 = rng.uniform(0, 1, (n, 2)) * (np.array(size) - 1)
    return Matches(
        points0, points0[:, ::-1] % np.array(size), rng.uniform(0, 1, n), size, size, np.eye(3), inliers
    )


def test_draws_two_sizes_in_grey(photo: NDArray[np.uint8]) -> None:
    high = photo[:200, :100]
    drawn = draw_matches(photo, high, _matches(0, np.zeros(0, bool), (320, 240)))
    enlarged = cv2.resize(high, (160, 320), interpolation=cv2.INTER_LINEAR)  # to the other's longer side
    for part, image in ((drawn[:240, :320], photo), (drawn[:320, -160:], enlarged)):
        assert (np.ptp(part, axis=2) == 0).all()
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        assert np.corrcoef(part[..., 0].ravel(), grey.ravel())[0, 1] > 0.99


def test_a_tiny_photo_is_enlarged_four_times(photo: NDArray[np.uint8]) -> None:
    drawn = draw_matches(photo, photo[:20, :10], _matches(0, np.zeros(0, bool), (320, 240)))
    assert drawn.shape[1] == 320 + 12 + 40


def test_dark_photos_are_drawn_brighter(photo: NDArray[np.uint8]) -> None:
    drawn = draw_matches(photo // 8, photo, _matches(0, np.zeros(0, bool), (320, 240)))
    assert drawn[:240, :320].mean() > 2 * (photo // 8).mean()


def _coloured(drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels of the photos' part that something is drawn on, K x 3."""
    part = drawn[:240]
    return part[np.ptp(part, axis=2) > 20]


def test_inliers_and_others_differ(photo: NDArray[np.uint8]) -> None:
    yes = _coloured(draw_matches(photo, photo, _matches(50, np.ones(50, bool), (320, 240))))
    no = _coloured(draw_matches(photo, photo, _matches(50, np.zeros(50, bool), (320, 240))))
    assert (no.argmax(axis=1) == 0).mean() > 0.99  # red
    assert (yes.argmax(axis=1) == 0).mean() < 0.3


def test_colour_is_the_rank_and_no_score() -> None:
    """Scores crowd near 1: coloured by score, all would be of one colour."""
    n = 60
    matches = replace(_matches(n, np.ones(n, bool), (320, 240)), scores=np.linspace(0.98, 0.99, n))
    grey = np.full((240, 320, 3), 60, np.uint8)
    hues = cv2.cvtColor(_coloured(draw_matches(grey, grey, matches))[None], cv2.COLOR_RGB2HSV)[0, :, 0]
    assert np.ptp(np.quantile(hues, [0.05, 0.95])) > 40  # from yellow (30) to blue (105)


def test_lines_stand_for_all_matches_and_not_for_the_best() -> None:
    """Of matches half of which are wrong and have low scores, half of the lines are red."""
    n = 2000
    wrong = np.arange(n) % 2 == 1
    matches = replace(_matches(n, ~wrong, (320, 240)), scores=np.where(wrong, 0.1, 0.9))
    grey = np.full((240, 320, 3), 60, np.uint8)
    gap = draw_matches(grey, grey, matches)[:240, 322:330]
    gap = gap[np.ptp(gap, axis=2) > 40]
    assert 0.3 < (gap.argmax(axis=1) == 0).mean() < 0.7


def test_residuals_run_from_blue_to_red() -> None:
    grey = np.full((240, 320, 3), 60, np.uint8)
    matches = _matches(40, np.ones(40, bool), (320, 240))
    right, wrong = (
        _coloured(draw_matches(grey, grey, matches, residuals=np.full(40, off))) for off in (0.1, 9.0)
    )
    assert (right.argmax(axis=1) == 2).mean() > 0.99
    assert (wrong.argmax(axis=1) == 0).mean() > 0.99
    # What lies on no line at all is as bad as can be, and the picture is drawn.
    lost = _coloured(draw_matches(grey, grey, matches, residuals=np.full(40, np.nan)))
    assert (lost.argmax(axis=1) == 0).mean() > 0.99


def test_no_lines_are_dots_alone(photo: NDArray[np.uint8]) -> None:
    matches = _matches(50, np.ones(50, bool), (320, 240))
    assert (draw_matches(photo, photo, matches, lines=0)[:240, 324:328] == 24).all()
    assert (draw_matches(photo, photo, matches)[:240, 324:328] != 24).any()


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
