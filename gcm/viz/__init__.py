"""Pictures for people: matches, epipolar lines, photos laid over each other, curves of an evaluation."""

from __future__ import annotations

from gcm.viz.curves import plot_curves, plot_pose_curves
from gcm.viz.epipolar import draw_epipolar_lines
from gcm.viz.matches import draw_matches
from gcm.viz.overlay import overlay_photos
from gcm.viz.panorama import join_photos, stitch

__all__ = [
    "draw_epipolar_lines",
    "draw_matches",
    "join_photos",
    "overlay_photos",
    "plot_curves",
    "plot_pose_curves",
    "stitch",
]
