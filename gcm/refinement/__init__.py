"""The matching kernels: pure tensor functions that know no network, no image and no configuration.

matches = dense_match(map0, map1, threshold=0.9)         # mutual nearest neighbours of two maps
matches = refine(matches, finer0, finer1, threshold=0.9) # level by level
points0, points1 = matches.points()                      # pixels of the networks' input
"""

from gcm.refinement.dense import CellMatches, dense_match, mutual_match
from gcm.refinement.hierarchical import refine
from gcm.refinement.maps import DenseMap, FeatureMap, gather
from gcm.refinement.motion import fit_motion, local_support, smooth_motion
from gcm.refinement.photometric import align_patches
from gcm.refinement.subpixel import similarity_peaks
from gcm.refinement.windowed import windowed_match

__all__ = [
    "CellMatches",
    "DenseMap",
    "FeatureMap",
    "align_patches",
    "dense_match",
    "fit_motion",
    "gather",
    "local_support",
    "mutual_match",
    "refine",
    "similarity_peaks",
    "smooth_motion",
    "windowed_match",
]
