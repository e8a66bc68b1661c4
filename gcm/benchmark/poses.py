"""Benchmarks of relative poses: the lists of pairs that everybody uses, and how well poses are recovered.

Lists are SuperGlue's (Sarlin et al., CVPR 2020; ScanNet-1500, YFCC, MegaDepth-1500 in that form): a line
``name0 name1 rot0 rot1 K0 K1 T_0to1`` of 38 fields; or the scene files of LoFTR (Sun et al., CVPR 2021) and
D2-Net for MegaDepth-1500: ``.npz`` with ``image_paths``, ``intrinsics``, ``poses`` and ``pair_infos``.
Matches are those of ``gcm extract --pairs`` with the same list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcm.benchmark.layout import CONFIG_FILE
from gcm.benchmark.pairs import Pair, name_pairs, read_pairs
from gcm.benchmark.stores import open_store
from gcm.errors import DatasetError
from gcm.images.sizes import working_size
from gcm.matches import Matches
from gcm.metrics.bootstrap import SAMPLES, SEED, interval
from gcm.metrics.pose import FAILED, pose_auc, score_relative_pose
from gcm.storage.text import decode_text, lines_that_count
from gcm.storage.yaml_files import read_yaml

__all__ = [
    "LIMITS",
    "PosePair",
    "PoseScores",
    "evaluate_poses",
    "is_pose_list",
    "read_any_pairs",
    "read_pose_pairs",
]

LIMITS = 5.0, 10.0, 20.0
"""Degrees, of the areas under the curve."""

THRESHOLDS = {"opencv": 0.5, "poselib": 1.0}
"""Pixels off its epipolar line at which a match agrees, by estimator: those in use with these lists."""

_FIELDS = 38
_NPZ_KEYS = ("image_paths", "intrinsics", "poses", "pair_infos")

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class PosePair:
    """Two photos, their cameras and the true pose."""

    pair: Pair
    intrinsics0: Matrix
    """3 x 3."""
    intrinsics1: Matrix
    pose_0_to_1: Matrix
    """4 x 4, camera 0 to camera 1."""


@dataclass(frozen=True)
class PoseScores:
    """How well one algorithm recovers poses."""

    name: str
    estimator: str
    size: str
    """At what size images were matched."""
    errors: dict[str, float]
    """Degrees, the larger of rotation and translation, by pair; :data:`gcm.metrics.pose.FAILED` for none."""

    @property
    def auc(self) -> list[float]:
        """At :data:`LIMITS`, 0 to 1."""
        areas: list[float] = pose_auc(list(self.errors.values()), LIMITS).tolist()
        return areas

    @property
    def failed(self) -> int:
        """Pairs without a pose."""
        return sum(error >= FAILED for error in self.errors.values())

    def intervals(self) -> list[tuple[float, float]]:
        """Of each area, when pairs are drawn with replacement (95 %)."""
        errors = np.array(list(self.errors.values()))
        rng = np.random.default_rng(SEED)
        drawn = rng.integers(0, len(errors), size=(min(SAMPLES, 1000), len(errors)))
        areas = np.array([pose_auc(errors[rows], LIMITS) for rows in drawn])
        low, high = interval(areas)
        return list(zip(low.tolist(), high.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        limits = [f"auc_{limit:.0f}" for limit in LIMITS]
        return {
            "name": self.name,
            "estimator": self.estimator,
            "size": self.size,
            "pairs": len(self.errors),
            "failed": self.failed,
            **dict(zip(limits, self.auc, strict=True)),
            **{f"{key}_interval": list(ends) for key, ends in zip(limits, self.intervals(), strict=True)},
            "errors": self.errors,
        }


def is_pose_list(file: Path) -> bool:
    """Whether a list tells poses: a scene file, or lines of 38 fields."""
    if file.suffix.lower() == ".npz":
        return True
    try:
        text = decode_text(file.read_bytes())
    except (OSError, UnicodeDecodeError):
        return False
    return next((len(line.split()) == _FIELDS for _, line in lines_that_count(text)), False)


def read_any_pairs(file: Path, root: Path | None = None) -> list[Pair]:
    """The pairs of a list of any kind, see :func:`gcm.benchmark.pairs.read_pairs`.

    Args:
        file: the list.
        root: where relative paths start in place of the list's own folder.
    """
    if is_pose_list(file):
        return [entry.pair for entry in read_pose_pairs(file, root)]
    return read_pairs(file, root)


def read_pose_pairs(file: Path, root: Path | None = None) -> list[PosePair]:
    """Read a list of pairs with poses.

    The quarter turns that SuperGlue's lists name are for methods that need upright photos; the poses are
    those of the photos as they are, which is how they are matched and scored here.

    Args:
        file: SuperGlue's text or a scene file.
        root: where the photos' paths start; the list's own folder unless given.

    Raises:
        DatasetError: no such list, or a line or a file that is none.
    """
    root = file.parent if root is None else root
    entries = _from_scene(file, root) if file.suffix.lower() == ".npz" else _from_lines(file, root)
    if not entries:
        raise DatasetError(f"{file}: lists no pairs")
    named = {(pair.image0, pair.image1): pair for pair in name_pairs([entry.pair for entry in entries])}
    unique: dict[str, PosePair] = {}
    for entry in entries:
        pair = named[entry.pair.image0, entry.pair.image1]
        unique.setdefault(pair.name, PosePair(pair, entry.intrinsics0, entry.intrinsics1, entry.pose_0_to_1))
    return list(unique.values())


def _from_lines(file: Path, root: Path) -> list[PosePair]:
    try:
        text = decode_text(file.read_bytes())
    except FileNotFoundError as error:
        raise DatasetError(f"{file}: no such list of pairs") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read as a list of pairs ({error})") from error
    entries = []
    for number, line in lines_that_count(text):
        fields = line.split()
        try:
            if len(fields) != _FIELDS:
                raise ValueError(f"{len(fields)} fields")
            values = np.array([float(field) for field in fields[4:]])
        except ValueError as error:
            raise DatasetError(
                f"{file}, line {number}: no pair with a pose ({error}); such a line has {_FIELDS} fields: "
                "name0 name1 rot0 rot1 K0[9] K1[9] T_0to1[16]"
            ) from error
        k0, k1, pose = values[:9].reshape(3, 3), values[9:18].reshape(3, 3), values[18:].reshape(4, 4)
        entries.append(PosePair(Pair(root / fields[0], root / fields[1]), k0, k1, pose))
    return entries


def _from_scene(file: Path, root: Path) -> list[PosePair]:
    try:
        # Lists of tuples, which numpy writes as objects: a scene file is trusted as code is.
        with np.load(file, allow_pickle=True) as scene:
            paths, intrinsics, poses, infos = (scene[key] for key in _NPZ_KEYS)
    except FileNotFoundError as error:
        raise DatasetError(f"{file}: no such scene file") from error
    except Exception as error:  # numpy and pickle report damage in many ways
        raise DatasetError(f"{file}: not a scene file with {', '.join(_NPZ_KEYS)} ({error})") from error
    entries = []
    for info in infos:
        i, j = (int(k) for k in info[0])
        pose = np.asarray(poses[j], float) @ np.linalg.inv(np.asarray(poses[i], float))
        pair = Pair(root / str(paths[i]), root / str(paths[j]))
        entries.append(
            PosePair(pair, np.asarray(intrinsics[i], float), np.asarray(intrinsics[j], float), pose)
        )
    return entries


def evaluate_poses(
    pairs: Sequence[PosePair],
    folder: Path,
    *,
    estimator: str = "opencv",
    on_pair: Callable[[], object] | None = None,
) -> PoseScores:
    """Score the poses that a folder of matches leads to.

    Args:
        pairs: of the list that was matched.
        folder: that ``gcm extract`` wrote into.
        estimator: ``opencv`` (RANSAC, 0.5 px over the mean focal length) or ``poselib`` (LO-RANSAC, 1 px);
            pixels of the photos as they were matched, as is the custom.
        on_pair: called after each.

    Raises:
        DatasetError: pairs that have not been matched.
        InputError: damaged matches.
        DependencyError: PoseLib, or what the folder's store needs, is not installed.
    """
    store = open_store(folder)
    there = set(store.names())
    missing = [entry.pair.name for entry in pairs if entry.pair.name not in there]
    if missing:
        raise DatasetError(
            f"{folder}: {len(missing)} of {len(pairs)} pairs have not been matched, beginning with "
            f"{missing[0]}; run gcm extract with the same list"
        )
    sizes = _sizes(folder)
    errors = {}
    for entry in pairs:
        matches = store.load(entry.pair.name)
        error = score_relative_pose(
            matches.points0,
            matches.points1,
            entry.intrinsics0,
            entry.intrinsics1,
            entry.pose_0_to_1,
            threshold=THRESHOLDS[estimator] / _shrunk(matches, sizes),
            library=estimator,
        )
        errors[entry.pair.name] = error.worst
        if on_pair is not None:
            on_pair()
    return PoseScores(folder.name, f"{estimator}, {THRESHOLDS[estimator]:g} px", _text(sizes), errors)


def _sizes(folder: Path) -> dict[str, Any]:
    """How a folder's images were resized to be matched, as its configuration tells."""
    file = folder / CONFIG_FILE
    configuration = read_yaml(file).get("configuration") if file.is_file() else None
    if not isinstance(configuration, dict):
        return {}
    config = configuration.get("config", configuration)
    if not isinstance(config, dict):  # a preset by its name, which resizes nothing, or none
        return {}
    resize = config.get("resize")
    told = {
        "resize": tuple(resize) if isinstance(resize, list) else resize,
        "down_sample": config.get("down_sample"),
        "max_side": config.get("max_side"),
    }
    return {key: value for key, value in told.items() if value}


def _shrunk(matches: Matches, sizes: dict[str, Any]) -> float:
    """By which the photos of a pair were resized to be matched, on average."""
    factors = [working_size(size, **sizes)[0] / size[0] for size in (matches.size0, matches.size1)]
    return sum(factors) / 2


def _text(sizes: dict[str, Any]) -> str:
    texts = {"resize": "{}", "down_sample": "1 / {}", "max_side": "up to {}"}
    return ", ".join(texts[key].format(value) for key, value in sizes.items()) or "as given"
