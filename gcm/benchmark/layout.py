"""Where everything lies in a data set and in a folder of results, and how predictions are read.

A folder of results holds a folder a data set, and that a folder an algorithm, with

- ``original_outputs/<name>_matches.npz``, a pair each: what ``gcm extract`` writes; in the stores ``h5`` and
  ``parquet`` only until they are packed into ``part-0001.h5`` and so on, of many pairs each, beside
  ``store.json`` (:mod:`gcm.benchmark.stores`);
- ``pairs.json``: which images each name stands for and how many bytes these have, its subset and sequence;
- ``config.yml``: the algorithm and its configuration, and at the end the total and mean time;
- ``times.csv``: seconds each pair took and, where the matcher says, how sure it is that both images show the
  same (its confidence);
- ``outputs/<subset>/<sequence>/<name>_matches.npz``: the same matches in the layout of Image Matching
  Evaluation (IME), where ``gcm convert`` has been at work or the algorithm is one of IME's own.

Imports nothing heavy.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gcm.errors import DatasetError
from gcm.storage.atomic import sha256_of
from gcm.storage.npz import Npz

if TYPE_CHECKING:
    from gcm.benchmark.pairs import Pair

__all__ = [
    "CONFIG_FILE",
    "CONVERTED_FOLDER",
    "MATCHES_FOLDER",
    "PAIRS_FILE",
    "PAIR_LIST",
    "SEQUENCE_FILES",
    "SUBSETS",
    "TIMES_FILE",
    "Place",
    "Places",
    "Prediction",
    "changed_files",
    "converted_path",
    "describe_places",
    "matched_index",
    "matches_name",
    "name_of_matches",
    "place_of",
    "prediction_path",
    "read_places",
    "read_prediction",
    "remembered",
    "same_pair",
]

PAIR_LIST = "image_pairs.txt"
"""The list of all pairs in an organised data set's folder, see :mod:`gcm.benchmark.pairs`."""
SUBSETS = {"i": "illumination", "v": "viewpoint"}
"""Folder of a sequence in an organised data set, by the first letter of the sequence's name."""
SEQUENCE_FILES = tuple([f"{k}.ppm" for k in range(1, 7)] + [f"H_1_{k}" for k in range(2, 7)])
"""What every sequence folder of the HPatches release holds."""

MATCHES_FOLDER = "original_outputs"
"""Matches as extracted, in an algorithm's folder."""
CONVERTED_FOLDER = "outputs"
"""Matches in IME's layout, in an algorithm's folder."""
PAIRS_FILE = "pairs.json"
CONFIG_FILE = "config.yml"
TIMES_FILE = "times.csv"

_MATCHES_END = "_matches.npz"
_HPATCHES = re.compile(r"(?P<sequence>(?P<kind>[iv])_\w+?)_(\d+)_(?P=sequence)_(\d+)")
_ARRAYS = ("pointsA", "pointsB", "keypoints0", "keypoints1", "matches")


class Place(NamedTuple):
    """Where a pair stands in a data set."""

    subset: str
    sequence: str


class Prediction(NamedTuple):
    """Matches of one pair as a file holds them."""

    points0: NDArray[Any]
    """N x 2 points of image 0, pixels."""
    points1: NDArray[Any]
    """M x 2 points of image 1, pixels."""
    rows: NDArray[np.int64]
    """K x 2: a row of `points0` and the row of `points1` it matches."""


Places = Mapping[str, Mapping[str, str]]
"""By a pair's name: `image0`, `image1`, `subset`, `sequence`."""


def matches_name(name: str) -> str:
    """File name of a pair's matches."""
    return f"{name}{_MATCHES_END}"


def name_of_matches(file: Path) -> str:
    """The pair whose matches a file holds, by its name; inverse of :func:`matches_name`."""
    return file.name.removesuffix(_MATCHES_END)


def converted_path(output_dir: Path, place: Place, name: str) -> Path:
    """Where the converted matches of a pair lie."""
    return Path(output_dir, CONVERTED_FOLDER, place.subset, place.sequence, matches_name(name))


def remembered(image: Path) -> str:
    """What a folder of results remembers of an image's path."""
    # The last two folders say enough, and stay the same when the data set is moved.
    return "/".join(Path(os.path.normpath(image.absolute())).parts[-3:])


def describe_places(pairs: Iterable[Pair]) -> dict[str, dict[str, str]]:
    """What ``pairs.json`` says of pairs, by their names; a photo of many pairs is looked at once."""
    size = cache(_bytes)
    return {pair.name: _described(pair, size) for pair in pairs}


def _described(pair: Pair, size: Callable[[Path], str]) -> dict[str, str]:
    image0, image1 = (remembered(image) for image in (pair.image0, pair.image1))
    place = {"image0": image0, "image1": image1, "subset": pair.subset, "sequence": pair.sequence}
    masks = {"mask0": pair.mask0, "mask1": pair.mask1}
    # Of a photo, the size of its file: other photos may lie in folders of the same names.
    files = {"bytes0": size(pair.image0), "bytes1": size(pair.image1)}
    place |= {key: told for key, told in files.items() if told}
    # By content: masks of any folder are named as the photos are, and may be edited.
    place |= {key: f"{mask.name} {_digest(mask)}" for key, mask in masks.items() if mask is not None}
    return place | {"alpha": "masked"} if pair.alpha else place


def _bytes(file: Path) -> str:
    """How many a file has; empty of one that cannot be read, which its pair will tell."""
    try:
        return str(file.stat().st_size)
    except OSError:
        return ""


def _digest(file: Path) -> str:
    """Tells contents of files apart; empty of one that cannot be read, which its pair will tell."""
    try:
        state = file.stat()
        return _digest_of(file, state.st_mtime_ns, state.st_size)
    except OSError:
        return ""


@lru_cache(maxsize=1 << 16)
def _digest_of(file: Path, _changed: int, _size: int) -> str:
    return sha256_of(file)[:16]


def read_places(output_dir: Path) -> dict[str, dict[str, str]]:
    """What each name in an algorithm's folder stands for; empty where ``gcm extract`` has not been at work.

    Raises:
        DatasetError: the file that says so is damaged.
    """
    path = output_dir / PAIRS_FILE
    try:
        places = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): dict(place) for name, place in places.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: damaged ({error}); remove it, or extract with --overwrite") from error


def same_pair(place: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two descriptions of a pair say the same, but for the sizes of its files."""
    first, second = ({key: told for key, told in one.items() if key not in _FILES} for one in (place, other))
    return first == second


def changed_files(place: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The images of a pair whose files had other sizes once; an earlier version did not note them."""
    both = [key for key in _FILES if key in place and key in other]
    return [place[_FILES[key]] for key in both if place[key] != other[key]]


_FILES = {"bytes0": "image0", "bytes1": "image1"}


def place_of(name: str, places: Places) -> Place | None:
    """Where a pair belongs: as extraction noted it, or else as HPatches names its pairs; None if neither."""
    entry = places.get(name)
    if entry is not None and {"subset", "sequence"} <= entry.keys():
        return Place(entry["subset"], entry["sequence"])
    parts = _HPATCHES.fullmatch(name)
    return None if parts is None else Place(SUBSETS[parts["kind"]], parts["sequence"])


def prediction_path(output_dir: Path, pair: Pair, places: Places) -> Path:
    """The file with the matches of a pair: the extracted one, or the converted one.

    The converted one only where the extracted one is missing, older (something else was put in its place)
    or of a pair of the same name elsewhere in the data set.

    Args:
        output_dir: the algorithm's folder.
        pair: which pair.
        places: as :func:`read_places` gives them.
    """
    place = Place(pair.subset, pair.sequence)
    converted = converted_path(output_dir, place, pair.name)
    original = output_dir / MATCHES_FOLDER / matches_name(pair.name)
    try:
        modified = original.stat().st_mtime_ns
    except OSError:
        return converted
    if place_of(pair.name, places) != place:
        return converted
    try:
        return original if modified >= converted.stat().st_mtime_ns else converted
    except OSError:
        return original


def read_prediction(path: Path, archive: Npz | None = None) -> Prediction:
    """Read a file of matches, extracted or converted, of ours or of another IME algorithm.

    Args:
        path: the file.
        archive: its content, where it has been read already.

    Raises:
        DatasetError: missing, damaged, or its arrays do not fit together.
    """
    try:
        arrays = (archive or Npz(path.read_bytes())).arrays(_ARRAYS)
        names = ("pointsA", "pointsB") if "pointsA" in arrays else ("keypoints0", "keypoints1")
        points = [arrays[name] for name in names]
        matches = arrays["matches"]
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file") from error
    except KeyError as error:
        raise DatasetError(f"{path}: lacks {error.args[0]}") from error
    except Exception as error:  # numpy and zipfile report damage in many ways
        raise DatasetError(f"{path}: not a file of matches ({error})") from error
    for number, array in enumerate(points):
        if array.size == 0:
            points[number] = array.reshape(0, 2)
        elif array.ndim != 2 or array.shape[1] != 2:
            raise DatasetError(f"{path}: points of shape {array.shape} where N x 2 is expected")
        elif not np.all(np.isfinite(array)):
            raise DatasetError(f"{path}: holds points that are not finite numbers")
    try:
        index = matched_index(matches, len(points[0]), len(points[1]))
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error
    return Prediction(points[0], points[1], index)


def matched_index(matches: NDArray[Any], count0: int, count1: int) -> NDArray[np.int64]:
    """K x 2 rows of the two arrays of points that match.

    Args:
        matches: K x 2 already; or, for each of `count0` points, the row of its match, -1 for none.
        count0, count1: how many points there are.

    Raises:
        ValueError: another shape, or rows that are not there.
    """
    if matches.size == 0:
        return np.zeros((0, 2), dtype=np.int64)
    rows = matches.astype(np.int64, copy=False)
    if matches.dtype != np.int64 and not np.array_equal(rows, matches):
        raise ValueError("matches are not whole numbers")
    if rows.ndim == 1 and len(rows) == count0:
        rows = np.column_stack([np.arange(count0), rows])[rows >= 0]
    if rows.ndim != 2 or rows.shape[1] != 2:
        raise ValueError(f"matches of shape {matches.shape} for {count0} points; K x 2 or N is expected")
    if len(rows) and (rows.min() < 0 or rows[:, 0].max() >= count0 or rows[:, 1].max() >= count1):
        raise ValueError("matches name points that are not there")
    return rows
