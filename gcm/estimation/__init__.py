"""Robust estimation of homographies, fundamental matrices and relative poses; a file a library.

>>> from gcm.estimation import estimate_homography
>>> estimate_homography(points0, points1, threshold=3.0)                      # OpenCV
>>> estimate_homography(points0, points1, threshold=3.0, library="poselib")   # pip install ".[poselib]"
"""

from gcm.estimation.base import (
    Estimator,
    FundamentalEstimate,
    HomographyEstimate,
    RelativePose,
    RobustOptions,
)
from gcm.estimation.registry import estimator, list_estimators
from gcm.estimation.robust import estimate_fundamental, estimate_homography, estimate_relative_pose
from gcm.estimation.settling import settle_fundamental, settle_homography
from gcm.estimation.two_view import TwoViewGeometry, estimate_focal, two_view_geometry

__all__ = [
    "Estimator",
    "FundamentalEstimate",
    "HomographyEstimate",
    "RelativePose",
    "RobustOptions",
    "TwoViewGeometry",
    "estimate_focal",
    "estimate_fundamental",
    "estimate_homography",
    "estimate_relative_pose",
    "estimator",
    "list_estimators",
    "settle_fundamental",
    "settle_homography",
    "two_view_geometry",
]
