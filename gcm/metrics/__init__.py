"""Measures of matches against ground truth, and the protocols that combine them; numpy and OpenCV only."""

from gcm.metrics.bootstrap import bootstrap_means, interval
from gcm.metrics.comparison import MEASURES, Interval, compare, confidence_intervals
from gcm.metrics.homography import HomographyScore, auc_terms, corner_error, score_homography
from gcm.metrics.matching import THRESHOLDS, count_within, transfer_errors
from gcm.metrics.pose import PoseError, pose_auc, relative_pose_error, score_relative_pose
from gcm.metrics.protocols import (
    AUC_LIMITS,
    Group,
    PairScore,
    Protocol,
    Summary,
    group_pairs,
    group_sequences,
    homography_rows,
    matching_rows,
    summarise,
)

__all__ = [
    "AUC_LIMITS",
    "MEASURES",
    "THRESHOLDS",
    "Group",
    "HomographyScore",
    "Interval",
    "PairScore",
    "PoseError",
    "Protocol",
    "Summary",
    "auc_terms",
    "bootstrap_means",
    "compare",
    "confidence_intervals",
    "corner_error",
    "count_within",
    "group_pairs",
    "group_sequences",
    "homography_rows",
    "interval",
    "matching_rows",
    "pose_auc",
    "relative_pose_error",
    "score_homography",
    "score_relative_pose",
    "summarise",
    "transfer_errors",
]
