"""Pictures for people: matches side by side, a warped image, curves of an evaluation."""

from __future__ import annotations

from gcm.viz.curves import plot_curves
from gcm.viz.matches import draw_matches

__all__ = ["draw_matches", "plot_curves"]
