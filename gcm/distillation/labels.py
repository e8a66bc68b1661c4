"""Sparse correspondences of photos without truth, by two teachers that must agree; made once, kept on disk.

The first teacher matches; where it finds little it also looks at the first photo turned by quarters. A match
counts where it lies on its epipolar line and a match of the other teacher nearby goes the same way. What the
other teacher finds counts alike.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from gcm.distillation.data import Image, read_photo
from gcm.distillation.real_pairs import Array, Mask
from gcm.distillation.recipe import CollectionsRecipe
from gcm.errors import ConfigError
from gcm.estimation import estimate_fundamental
from gcm.geometry import epipolar_distances
from gcm.matchers import MatcherSpec, PairMatcher, matcher_spec
from gcm.storage.atomic import sha256_of, whole_file
from gcm.storage.yaml_files import split_spec
from gcm.weights.store import cache_folder

__all__ = ["Labeller", "Labels", "agreeing", "teacher_specs"]

_VERSION = 1
"""Of how labels are made; labels of another version are made anew."""

_CONVINCING = 100
"""Matches on their epipolar lines from which on no other turn is tried."""

_GROWS, _SLACK = 2.5, 3.0
"""Two matches go the same way when they end at most so many times as far from each other as they begin, and
so many pixels more."""

_SHARE_ON_LINES = 0.5
"""Of the second teacher's matches, the least that the first teacher's epipolar lines must explain."""


@dataclass(frozen=True)
class Labels:
    """What two photos share."""

    turns: int
    """Quarter turns, counter-clockwise, of the first photo before it is compared."""
    points0: Array
    """N x 2 (x, y), pixels of the first photo, so turned, as :func:`read_photo` gives it."""
    points1: Array
    """N x 2, pixels of the second."""

    def __len__(self) -> int:
        return len(self.points0)


_NONE = Labels(0, np.zeros((0, 2)), np.zeros((0, 2)))


def teacher_specs(recipe: CollectionsRecipe) -> list[MatcherSpec]:
    """The teachers, with options as in ``disk-lightglue:resize=704``.

    Raises:
        ConfigError: an option that cannot be read.
        UsageError: no such matcher, or it has no such option.
    """
    specs = []
    for text in recipe.teachers:
        name, options = split_spec(text)
        try:
            specs.append(matcher_spec(name, {key: yaml.safe_load(value) for key, value in options.items()}))
        except yaml.YAMLError as error:
            raise ConfigError(f"collections.teachers: {text}: the options cannot be read") from error
    return specs


class Labeller:
    """Labels of pairs of photos: from disk, or made and put there, a file a pair.

    Files are named by what photos contain and by how labels are made, so a photo may be renamed, and what was
    made before the work was interrupted is not made again.

    Args:
        recipe: the teachers and what they must agree in.

    Raises:
        UsageError: no such teacher, or it has no such option.
    """

    def __init__(self, recipe: CollectionsRecipe) -> None:
        self.recipe = recipe
        self.folder = recipe.labels or cache_folder().parent / "labels"
        self._specs = teacher_specs(recipe)
        self._teachers: list[PairMatcher] = []
        self._hashes: dict[Path, str] = {}
        how = {
            "version": _VERSION,
            "teachers": [spec.describe() for spec in self._specs],
            **recipe.model_dump(include={"turned", "epipolar", "nearby", "fewest"}),
        }
        self._how = json.dumps(how, sort_keys=True)

    def kept(self, first: Path, second: Path) -> Labels | None:
        """The labels of two photos, where they are on disk, whole."""
        try:
            content = self._file(first, second).read_bytes()
        except FileNotFoundError:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return _as_kept(int(arrays["turns"]), arrays["points0"], arrays["points1"])
        except Exception:  # damaged, of whatever kind: made anew
            return None

    def label(self, first: Path, second: Path) -> Labels:
        """Label two photos and keep that.

        Raises:
            DependencyError: what a teacher needs is not installed.
            DatasetError: a photo cannot be read.
            OutputError: the labels cannot be written.
        """
        if not self._teachers:
            self._teachers = [spec.create() for spec in self._specs]
        found = label_photos(read_photo(first), read_photo(second), self._teachers, self.recipe)
        labels = _as_kept(found.turns, found.points0, found.points1)
        with whole_file(self._file(first, second)) as path, path.open("wb") as file:
            np.savez(
                file,
                turns=np.int64(labels.turns),
                points0=labels.points0.astype(np.float32),
                points1=labels.points1.astype(np.float32),
            )
        return labels

    def _file(self, first: Path, second: Path) -> Path:
        for photo in (first, second):
            if photo not in self._hashes:
                self._hashes[photo] = sha256_of(photo)
        content = "\n".join((self._how, self._hashes[first], self._hashes[second]))
        key = hashlib.sha256(content.encode()).hexdigest()
        return self.folder / key[:2] / f"{key[2:]}.npz"


def _as_kept(turns: int, points0: Array, points1: Array) -> Labels:
    """In single precision, as on disk: what was just labelled gives the same views as what is read again."""
    kept0, kept1 = (np.asarray(points, np.float32).reshape(-1, 2) for points in (points0, points1))
    if len(kept0) != len(kept1):
        raise ValueError("two lists of one length")
    return Labels(turns, kept0.astype(np.float64), kept1.astype(np.float64))


def label_photos(
    first: Image, second: Image, teachers: Sequence[PairMatcher], recipe: CollectionsRecipe
) -> Labels:
    """What two teachers agree that two photos share; nothing where that is too little."""
    turns, points0, points1 = 0, np.zeros((0, 2)), np.zeros((0, 2))
    matrix: Array | None = None
    for tried in range(4 if recipe.turned else 1):
        matches = teachers[0].match(_turned(first, tried), second)
        estimate = estimate_fundamental(matches.points0, matches.points1, threshold=recipe.epipolar)
        if int(estimate.inliers.sum()) > len(points0):
            turns, matrix = tried, estimate.matrix
            points0, points1 = matches.points0[estimate.inliers], matches.points1[estimate.inliers]
        if len(points0) >= _CONVINCING:
            break
    if matrix is None or len(points0) < recipe.fewest:
        return _NONE
    others = teachers[1].match(_turned(first, turns), second)
    off = np.maximum(*epipolar_distances(matrix, others.points0, others.points1))
    on_lines = off <= recipe.epipolar
    if on_lines.sum() < _SHARE_ON_LINES * len(off):
        return _NONE
    others0, others1 = others.points0[on_lines], others.points1[on_lines]
    ours = agreeing(points0, points1, others0, others1, recipe.nearby)
    theirs = agreeing(others0, others1, points0, points1, recipe.nearby)
    kept0 = np.concatenate([points0[ours], others0[theirs]])
    kept1 = np.concatenate([points1[ours], others1[theirs]])
    return Labels(turns, kept0, kept1) if len(kept0) >= recipe.fewest else _NONE


def _turned(image: Image, turns: int) -> Image:
    return np.ascontiguousarray(np.rot90(image, turns))


def agreeing(points0: Array, points1: Array, others0: Array, others1: Array, nearby: float) -> Mask:
    """Which of N matches have one of M others nearby, in the first photo, that goes the same way.

    Args:
        points0, points1: N x 2 each, pixels.
        others0, others1: M x 2 each.
        nearby: pixels.
    """
    if not len(others0):
        return np.zeros(len(points0), bool)
    begin, end = (
        np.linalg.norm(points[:, None] - others[None], axis=2)
        for points, others in ((points0, others0), (points1, others1))
    )
    # Both ways, lest everything may shrink into one place.
    alike = (end <= _GROWS * begin + _SLACK) & (begin <= _GROWS * end + _SLACK)
    return np.asarray(((begin <= nearby) & alike).any(axis=1))
