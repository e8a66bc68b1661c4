"""What a match of two images gives."""

from __future__ import annotations

import csv
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcm.errors import InputError, UsageError, WrongTypeError
from gcm.storage.atomic import whole_file

if TYPE_CHECKING:
    from gcm.estimation import FundamentalEstimate, RelativePose, TwoViewGeometry

__all__ = ["Matches"]

_DAMAGED = (zipfile.BadZipFile, zlib.error)
_SUFFIXES = (".npz", ".json", ".csv")
_TENSORS = ("keypoints0", "keypoints1", "matches", "scores")


@dataclass(frozen=True, eq=False)
class Matches:
    """Point correspondences between image 0 and image 1.

    Points are (x, y) float64 in pixels of the upright images as given, pixel centres at integers.
    """

    points0: NDArray[np.float64]
    """N x 2, in image 0."""
    points1: NDArray[np.float64]
    """N x 2, in image 1; row k corresponds to row k of `points0`."""
    scores: NDArray[np.float64]
    """N, in [0, 1], higher is likelier to be right; see :class:`gcm.matcher.Matcher`."""
    size0: tuple[int, int]
    """Width and height of image 0."""
    size1: tuple[int, int]
    """Width and height of image 1."""
    h_0_to_1: NDArray[np.float64] | None = None
    """3 x 3, maps points of image 0 to image 1; None when no homography was found."""
    inliers: NDArray[np.bool_] | None = None
    """N, which matches agree with `h_0_to_1`; None without one."""
    h_1_to_0_initial: NDArray[np.float64] | None = None
    """The stage-0 homography, image 1 to image 0; the identity when stage 0 found none or was off."""
    confidence: float | None = None
    """In [0, 1], how sure it is that the images show the same; None where the matcher does not say."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """How the result came about: preset, device, working size, seconds by stage, notes."""

    def __post_init__(self) -> None:
        n = len(self.points0)
        if self.points0.shape != (n, 2) or self.points1.shape != (n, 2) or self.scores.shape != (n,):
            raise ValueError(
                f"points0 {self.points0.shape}, points1 {self.points1.shape} and scores {self.scores.shape} "
                "must be N x 2, N x 2 and N"
            )
        if self.inliers is not None and self.inliers.shape != (n,):
            raise ValueError(f"inliers {self.inliers.shape} must have one entry for each of {n} matches")
        if self.h_0_to_1 is not None and self.h_0_to_1.shape != (3, 3):
            raise ValueError(f"h_0_to_1 {self.h_0_to_1.shape} must be 3 x 3")
        if not (np.isfinite(self.points0).all() and np.isfinite(self.points1).all()):
            raise ValueError("points must be finite")
        if not ((self.scores >= 0) & (self.scores <= 1)).all():
            raise ValueError("scores must lie in [0, 1]")
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence {self.confidence} must lie in [0, 1]")

    def __len__(self) -> int:
        return len(self.points0)

    def __repr__(self) -> str:
        """In short; the arrays are named attributes."""
        (w0, h0), (w1, h1) = self.size0, self.size1
        homography = "no homography" if self.h_0_to_1 is None else f"{self.inlier_count} inliers"
        return f"Matches({len(self)} between {w0} x {h0} and {w1} x {h1}, {homography})"

    @property
    def homography(self) -> NDArray[np.float64] | None:
        """Another name of `h_0_to_1`, the one that files of matches use."""
        return self.h_0_to_1

    @property
    def h_1_to_0(self) -> NDArray[np.float64] | None:
        """3 x 3, maps points of image 1 to image 0, its last entry 1 where that can be; None without one."""
        from gcm.geometry import scaled_inverse  # brings OpenCV, which matches do without otherwise

        return None if self.h_0_to_1 is None else scaled_inverse(self.h_0_to_1)

    @property
    def inlier_count(self) -> int:
        """How many matches agree with the homography; 0 without one."""
        return 0 if self.inliers is None else int(self.inliers.sum())

    def fundamental(self, *, threshold: float = 1.0, library: str = "opencv") -> FundamentalEstimate:
        """The fundamental matrix of most matches; see :func:`gcm.estimation.estimate_fundamental`."""
        from gcm.estimation import estimate_fundamental

        return estimate_fundamental(self.points0, self.points1, threshold=threshold, library=library)

    def relative_pose(
        self,
        intrinsics0: ArrayLike,
        intrinsics1: ArrayLike,
        *,
        threshold: float = 0.5,
        library: str = "opencv",
    ) -> RelativePose | None:
        """The pose of camera 1 seen from camera 0; see :func:`gcm.estimation.estimate_relative_pose`.

        Args:
            intrinsics0, intrinsics1: 3 x 3 camera matrices for pixels of the images as given.
            threshold: pixels off its epipolar line at which a match still agrees.
            library: see :func:`gcm.estimation.list_estimators`.
        """
        from gcm.estimation import estimate_relative_pose

        return estimate_relative_pose(
            self.points0, self.points1, intrinsics0, intrinsics1, threshold=threshold, library=library
        )

    def two_view_geometry(
        self,
        intrinsics0: ArrayLike | None = None,
        intrinsics1: ArrayLike | None = None,
        *,
        library: str = "opencv",
    ) -> TwoViewGeometry:
        """What the images say of each other; see :func:`gcm.estimation.two_view_geometry`."""
        from gcm.estimation import two_view_geometry

        scale = max(1.0, max(*self.size0, *self.size1) / 1280)  # large photos are matched small
        return two_view_geometry(
            self.points0, self.points1, intrinsics0, intrinsics1, threshold=1.5 * scale, library=library
        )

    def subset(self, index: NDArray[Any]) -> Matches:
        """The matches an index array or boolean mask names, everything else unchanged."""
        return replace(
            self,
            points0=self.points0[index],
            points1=self.points1[index],
            scores=self.scores[index],
            inliers=None if self.inliers is None else self.inliers[index],
        )

    def best(self, *, top_k: int | None = None, min_score: float | None = None) -> Matches:
        """The matches of at least `min_score`, of them the `top_k` with the highest scores, order kept.

        Of equal scores, those that come first.

        Raises:
            UsageError: a negative `top_k`.
            WrongTypeError: one that is no whole number.
        """
        if top_k is not None and not hasattr(top_k, "__index__"):
            raise WrongTypeError(f"top_k is {top_k!r}; it must be a whole number")
        if top_k is not None and top_k < 0:
            raise UsageError(f"top_k is {top_k}; it must not be negative")
        keep = np.arange(len(self))
        if min_score is not None:
            keep = keep[self.scores[keep] >= min_score]
        if top_k is not None and len(keep) > top_k:
            order = np.argsort(-self.scores[keep], kind="stable")[:top_k]
            keep = np.sort(keep[order])
        return self.subset(keep)

    # -- other packages -----------------------------------------------------------------------

    def to_torch(self, device: str = "cpu") -> dict[str, Any]:
        """Tensors: `keypoints0`, `keypoints1` (N x 2 float32), `matches` (N x 2 int64), `scores` (N)."""
        import torch

        arrays = self.to_arrays()
        chosen = {key: torch.from_numpy(np.ascontiguousarray(arrays[key])) for key in _TENSORS}
        return {key: (t.float() if t.is_floating_point() else t).to(device) for key, t in chosen.items()}

    def to_lightglue(self, device: str = "cpu") -> dict[str, Any]:
        """What LightGlue gives for a batch of one, with the keypoints beside (B x N x 2)."""
        import torch

        tensors = self.to_torch(device)
        rows = torch.arange(len(self), device=device)[None]
        scores = tensors["scores"][None]
        return {
            "keypoints0": tensors["keypoints0"][None],
            "keypoints1": tensors["keypoints1"][None],
            "image_size0": torch.tensor([self.size0], device=device),
            "image_size1": torch.tensor([self.size1], device=device),
            "matches0": rows,
            "matches1": rows.clone(),
            "matching_scores0": scores,
            "matching_scores1": scores.clone(),
            "matches": [tensors["matches"]],
            "scores": [tensors["scores"]],
        }

    def to_transformers(self, device: str = "cpu") -> list[dict[str, Any]]:
        """What the keypoint matchers of Hugging Face's transformers give after post-processing, unrounded."""
        tensors = self.to_torch(device)
        keys = {"keypoints0": "keypoints0", "keypoints1": "keypoints1", "matching_scores": "scores"}
        return [{name: tensors[key] for name, key in keys.items()}]

    def to_colmap(self) -> dict[str, NDArray[Any]]:
        """What COLMAP's database takes of one pair: `keypoints0`, `keypoints1` from the corner of the first
        pixel (float32), `matches` (uint32). Pairs of more photos share no points: see ``gcm export``."""
        from gcm.geometry import CORNER  # brings OpenCV

        index = np.arange(len(self), dtype=np.uint32)
        return {
            "keypoints0": (self.points0 + CORNER).astype(np.float32),
            "keypoints1": (self.points1 + CORNER).astype(np.float32),
            "matches": np.stack([index, index], axis=1),
        }

    def to_hloc(self) -> dict[str, NDArray[np.float32]]:
        """The datasets of hloc's group of a densely matched pair: `keypoints0`, `keypoints1`, `scores`."""
        arrays = {"keypoints0": self.points0, "keypoints1": self.points1, "scores": self.scores}
        return {key: array.astype(np.float32) for key, array in arrays.items()}

    # -- files ---------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, under the names of the npz file; for JSON."""
        index = list(range(len(self)))
        return {
            "keypoints0": self.points0.tolist(),
            "keypoints1": self.points1.tolist(),
            "matches": [[k, k] for k in index],
            "scores": self.scores.tolist(),
            "homography": None if self.h_0_to_1 is None else self.h_0_to_1.tolist(),
            "inliers": None if self.inliers is None else self.inliers.tolist(),
            "size0": list(self.size0),
            "size1": list(self.size1),
            "confidence": self.confidence,
        }

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of the npz file; `homography`, `inliers` and `confidence` only where known."""
        index = np.arange(len(self), dtype=np.int64)
        arrays: dict[str, NDArray[Any]] = {
            "keypoints0": self.points0,
            "keypoints1": self.points1,
            "matches": np.stack([index, index], axis=1),
            "scores": self.scores,
            "size0": np.array(self.size0, dtype=np.int64),
            "size1": np.array(self.size1, dtype=np.int64),
        }
        if self.h_0_to_1 is not None:
            arrays["homography"] = self.h_0_to_1
        if self.inliers is not None:
            arrays["inliers"] = self.inliers
        if self.confidence is not None:
            arrays["confidence"] = np.array(self.confidence)
        return arrays

    @staticmethod
    def check_suffix(path: str | PathLike[str]) -> None:
        """Refuse a file name :meth:`save` could not serve, before any work is done.

        Raises:
            UsageError: unknown suffix.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in _SUFFIXES:
            told = f"unknown suffix '{suffix}'" if suffix else "no suffix, which tells the kind of file"
            raise UsageError(f"{path}: {told}; use one of {', '.join(_SUFFIXES)}")

    def save(self, path: str | PathLike[str]) -> None:
        """Write to .npz, .json or .csv, whole or not at all.

        Raises:
            UsageError: unknown suffix.
            OutputError: the file cannot be written.
        """
        path = Path(path)
        self.check_suffix(path)
        with whole_file(path) as temporary:
            suffix = path.suffix.lower()
            if suffix == ".npz":
                with temporary.open("wb") as file:  # given a name, numpy would add .npz to .NPZ
                    np.savez(file, **self.to_arrays())  # type: ignore[arg-type]
            elif suffix == ".json":
                temporary.write_text(json.dumps(self.to_dict()) + "\n", encoding="utf-8", newline="\n")
            else:
                self._write_csv(temporary)

    def _write_csv(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["x0", "y0", "x1", "y1", "score"])
            rows = np.column_stack([self.points0, self.points1, self.scores])
            writer.writerows(rows.tolist())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Matches:
        """Read what :meth:`save` wrote as .npz or .json.

        Raises:
            UsageError: another suffix (csv carries no image sizes).
            InputError: missing or damaged file.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in (".npz", ".json"):
            raise UsageError(f"{path}: matches are read from .npz or .json, not '{suffix}'")
        try:
            if suffix == ".npz":
                # Given a name, numpy would leave a damaged file open.
                with path.open("rb") as stream:
                    if not zipfile.is_zipfile(stream):  # numpy would speak of pickles
                        raise InputError(f"{path}: not a file of matches (no npz archive, or cut short)")
                    stream.seek(0)
                    with np.load(stream, allow_pickle=False) as file:
                        data: dict[str, Any] = {key: file[key] for key in file.files}
            else:
                data = json.loads(path.read_text(encoding="utf-8"))
            return cls._from_mapping(data)
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file") from error
        except KeyError as error:
            raise InputError(f"{path}: not a file of matches (lacks {error})") from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, *_DAMAGED) as error:
            raise InputError(f"{path}: not a file of matches ({error})") from error

    @classmethod
    def _from_mapping(cls, data: Mapping[str, Any]) -> Matches:
        index = np.asarray(data["matches"], dtype=np.int64).reshape(-1, 2)
        keypoints0 = np.asarray(data["keypoints0"], dtype=np.float64).reshape(-1, 2)
        keypoints1 = np.asarray(data["keypoints1"], dtype=np.float64).reshape(-1, 2)
        homography, inliers = data.get("homography"), data.get("inliers")
        size0, size1 = ([int(v) for v in data[key]] for key in ("size0", "size1"))
        return cls(
            keypoints0[index[:, 0]],
            keypoints1[index[:, 1]],
            np.asarray(data["scores"], dtype=np.float64).reshape(-1),
            (size0[0], size0[1]),
            (size1[0], size1[1]),
            None if homography is None else np.asarray(homography, dtype=np.float64),
            None if inliers is None else np.asarray(inliers, dtype=bool).reshape(-1),
            confidence=None if data.get("confidence") is None else float(data["confidence"]),
        )
