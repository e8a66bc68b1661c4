"""What two photos say of each other: a plane, a turn of the camera, or a scene seen from two places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcm.estimation.base import Mask, Matrix, Points, RelativePose, camera_matrix
from gcm.estimation.robust import estimate_fundamental, estimate_homography, estimate_relative_pose
from gcm.geometry import apply_homography, epipolar_distances, inverse

__all__ = ["KIND_TEXT", "TwoViewGeometry", "TwoViewKind", "estimate_focal", "two_view_geometry"]

TwoViewKind = Literal["general", "plane", "rotation", "plane or rotation", "unknown"]

KIND_TEXT: dict[TwoViewKind, str] = {
    "general": "a scene with depth, seen from two places",
    "plane": "one plane, seen from two places",
    "rotation": "the camera turned in its place",
    "plane or rotation": "one plane, or the camera turned in its place",
    "unknown": "unknown: too few matches agree",
}
"""In words."""

_FEWEST = 15
"""Matches that must agree for a geometry to be named."""

_ALL = 0.9
"""Share of the matches on their epipolar lines that a plane, or a turn, must explain to be all there is."""

_PARALLAX = 1.0
"""Degrees between the rays of a point below which the baseline is short: its direction is then unsure."""

_NO_TRANSLATION = "the camera only turned, or everything is far away: there is no translation to be found"

_FOCAL_RANGE = 0.3, 5.0
"""Focal lengths looked for, as a multiple of the longer side of a photo."""

_FOCAL_STEPS = 400
_FOCAL_SURE = 0.02
"""Difference of an essential matrix's two singular values, over their sum, that is small."""


@dataclass(frozen=True)
class TwoViewGeometry:
    """The geometry of two photos."""

    kind: TwoViewKind
    """``general``: a scene with depth, seen from two places. ``plane``: all on one plane. ``rotation``: the
    camera only turned (or everything is far away). ``plane or rotation``: one of the two, which nobody can
    tell without intrinsics. ``unknown``: too few matches agree."""
    inliers: Mask
    """N, the matches on their epipolar lines; of a plane or a rotation those it explains."""
    fundamental: Matrix | None
    """3 x 3, ``x1^T F x0 = 0``; None where a plane or a rotation leaves it open."""
    homography: Matrix | None
    """3 x 3, ``h_0_to_1`` of the plane that explains most; None where there is none."""
    plane_share: float
    """Of the matches on their epipolar lines, those that this plane explains as well."""
    pose: RelativePose | None = None
    """Of camera 1 seen from camera 0; of a rotation with a translation of 0. None without intrinsics."""
    parallax: float = math.nan
    """Degrees between the two rays of a point, median; how well depth and translation are determined."""
    weaknesses: tuple[str, ...] = ()
    """What makes the pose less sure than its numbers look, a line each."""

    @property
    def explained_by(self) -> Literal["epipolar lines", "homography"] | None:
        """What says where a match must lie: epipolar lines of a scene with depth, else the homography."""
        if self.kind == "general" and self.fundamental is not None:
            return "epipolar lines"
        return None if self.homography is None else "homography"

    def residuals(self, points0: Points, points1: Points) -> NDArray[np.float64] | None:
        """How far matches lie from where this geometry says they do, pixels; None where it is unknown.

        Of a scene with depth the larger distance of the two points from their epipolar lines (inf or nan
        where a line is none), else the distance in image 1 from where the homography takes the point.

        Args:
            points0, points1: N x 2, pixels.

        Returns:
            N.
        """
        if self.explained_by == "epipolar lines":
            assert self.fundamental is not None
            return np.maximum(*epipolar_distances(self.fundamental, points0, points1))
        if self.homography is None:
            return None
        off: NDArray[np.float64] = np.linalg.norm(
            apply_homography(self.homography, points0) - points1, axis=1
        )
        return off


def two_view_geometry(
    points0: NDArray[np.float64],
    points1: NDArray[np.float64],
    intrinsics0: ArrayLike | None = None,
    intrinsics1: ArrayLike | None = None,
    *,
    threshold: float = 1.5,
    library: str = "opencv",
    seed: int = 0,
) -> TwoViewGeometry:
    """Name the geometry of two photos, and find it.

    Args:
        points0, points1: N x 2 matched points, pixels.
        intrinsics0, intrinsics1: 3 x 3 camera matrices; without both there is no pose.
        threshold: pixels off its epipolar line at which a match still agrees; twice that off where a plane or
            a turn takes it. The pose is searched for at the finer one of
            :func:`gcm.estimation.estimate_relative_pose`, whatever is given here: it errs less so.
        library, seed: see :func:`gcm.estimation.estimate_homography`.

    Raises:
        UsageError: no such library, or intrinsics that are no 3 x 3 matrix.
        DependencyError: the library is not installed.
    """
    nothing = np.zeros(len(points0), dtype=bool)
    fundamental = estimate_fundamental(points0, points1, threshold=threshold, seed=seed, library=library)
    h_0_to_1 = estimate_homography(points0, points1, threshold=2 * threshold, seed=seed).matrix
    on_plane = on_lines = nothing
    if h_0_to_1 is not None:
        on_plane = _within(apply_homography(h_0_to_1, points0), points1, 2 * threshold)
    if fundamental.matrix is not None:
        on_lines = np.maximum(*epipolar_distances(fundamental.matrix, points0, points1)) < threshold
    total = max(int(on_lines.sum()), int(on_plane.sum()))
    if total < _FEWEST:
        return TwoViewGeometry("unknown", nothing, None, None, 0.0)
    share = float(on_plane.sum() / total)
    if intrinsics0 is None or intrinsics1 is None:
        if share >= _ALL:
            return TwoViewGeometry("plane or rotation", on_plane, None, h_0_to_1, share)
        return TwoViewGeometry("general", on_lines, fundamental.matrix, h_0_to_1, share)
    k0, k1 = camera_matrix(intrinsics0, "intrinsics0"), camera_matrix(intrinsics1, "intrinsics1")
    turn = None if h_0_to_1 is None else _turn(points0[on_plane], points1[on_plane], k0, k1)
    if turn is not None:
        turned = _within(apply_homography(k1 @ turn @ inverse(k0), points0), points1, 2 * threshold)
        if turned.sum() >= _ALL * total:
            still = RelativePose(turn, np.zeros(3), turned)
            return TwoViewGeometry("rotation", turned, None, h_0_to_1, share, still, 0.0, (_NO_TRANSLATION,))
    pose = estimate_relative_pose(points0, points1, k0, k1, seed=seed, library=library)
    kind: TwoViewKind = "plane" if share >= _ALL else "general"
    inliers = on_plane if kind == "plane" else on_lines
    parallax = math.nan if pose is None else _parallax(pose, points0, points1, k0, k1)
    return TwoViewGeometry(
        kind, inliers, fundamental.matrix, h_0_to_1, share, pose, parallax, _weaknesses(kind, pose, parallax)
    )


def estimate_focal(fundamental: ArrayLike, size0: tuple[int, int], size1: tuple[int, int]) -> float | None:
    """The focal length of two photos of one camera, pixels of the larger photo; None where it stays open.

    The one with which the matrix becomes most nearly an essential one, whose two singular values are equal;
    pixels are square and principal points in the middle. Turning about the principal axis, and looking at
    the same point from as far, leave it open.

    Args:
        fundamental: 3 x 3, ``x1^T F x0 = 0``.
        size0, size1: width and height.
    """
    f = np.asarray(fundamental, np.float64)
    longest = max(*size0, *size1)
    tried = np.geomspace(*_FOCAL_RANGE, _FOCAL_STEPS) * longest
    differing = []
    for focal in tried:
        k0, k1 = (_camera(focal * max(size) / longest, size) for size in (size0, size1))
        first, second, _ = np.linalg.svd(k1.T @ f @ k0, compute_uv=False)
        differing.append((first - second) / (first + second + 1e-300))
    costs = np.array(differing)
    best = int(costs.argmin())
    # At the ends it is still falling; a broad valley says little.
    broad = (costs < costs[best] + _FOCAL_SURE).mean() > 0.25
    if best in (0, len(tried) - 1) or costs[best] > _FOCAL_SURE or broad:
        return None
    return float(tried[best])


def _camera(focal: float, size: tuple[int, int]) -> Matrix:
    return np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1.0]])


def _within(points: Points, others: Points, threshold: float) -> Mask:
    result: Mask = np.linalg.norm(points - others, axis=1) < threshold
    return result


def _rays(points: Points, intrinsics: Matrix) -> Points:
    """N x 3 unit rays of N x 2 pixels."""
    rays = np.column_stack([points, np.ones(len(points))]) @ np.linalg.inv(intrinsics).T
    result: Points = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    return result


def _turn(points0: Points, points1: Points, k0: Matrix, k1: Matrix) -> Matrix | None:
    """The rotation that brings rays together best, 3 x 3; None with too few (Kabsch, 1976)."""
    if len(points0) < _FEWEST:
        return None
    first, second = _rays(points0, k0), _rays(points1, k1)
    u, _, vt = np.linalg.svd(second.T @ first)
    turn: Matrix = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return turn


def _parallax(pose: RelativePose, points0: Points, points1: Points, k0: Matrix, k1: Matrix) -> float:
    if not pose.inliers.any():
        return math.nan
    first, second = _rays(points0[pose.inliers], k0) @ pose.rotation.T, _rays(points1[pose.inliers], k1)
    sine = np.linalg.norm(np.cross(first, second), axis=1)
    return float(np.median(np.degrees(np.arctan2(sine, (first * second).sum(axis=1)))))


def _weaknesses(kind: TwoViewKind, pose: RelativePose | None, parallax: float) -> tuple[str, ...]:
    if pose is None:
        return ("no pose agrees with enough matches",)
    weak = []
    if kind == "plane":
        weak.append("everything lies on one plane: a second pose may explain it as well")
    if parallax < _PARALLAX:
        weak.append(f"short baseline: rays meet at {parallax:.2f} degrees, so the translation is unsure")
    return tuple(weak)
