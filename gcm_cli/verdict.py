"""What is said of two photos in words: by ``gcm match``, and on the page of ``gcm demo``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gcm.estimation import TwoViewGeometry
    from gcm.matches import Matches

__all__ = ["no_matches", "summary_rows"]

_NOTHING = 1e-12
"""An entry of a homography below this is a rounding error; the smallest that count are near 1e-8."""


def summary_rows(
    name0: str, name1: str, matches: Matches, geometry: TwoViewGeometry
) -> list[tuple[str, str]]:
    """A word and what there is to say of it, a row each; the last but one is the homography, in three lines.

    Args:
        name0, name1: of the photos.
        matches: of :meth:`gcm.Matcher.match`.
        geometry: of these matches.
    """
    from gcm.estimation.two_view import KIND_TEXT

    rows = [
        (label, f"{name} ({size[0]} x {size[1]})")
        for label, name, size in (("A", name0, matches.size0), ("B", name1, matches.size1))
    ]
    info = matches.info
    rows.append(("preset", f"{info['preset']} ({info['model']}) on {info['device']}"))
    rows.append(("matches", str(len(matches))))
    if matches.confidence is not None:
        rows.append(("confidence", f"{matches.confidence:.2f} that both show the same"))
    if geometry.kind != "unknown":
        # Of a scene with depth no homography explains much, however good its matches are.
        share = 100 * geometry.inliers.sum() / len(matches)
        rows.append(("geometry", f"{KIND_TEXT[geometry.kind]}; {share:.0f} % of the matches agree"))
    if matches.h_0_to_1 is None:
        rows.append(("homography", "none found"))
    else:
        share = 100 * matches.inlier_count / max(1, len(matches))
        rows.append(("inliers", f"{matches.inlier_count} ({share:.0f} %) of the homography A to B"))
        lines = ["  ".join(f"{_rounded(v):>11.6g}" for v in row) for row in matches.h_0_to_1.tolist()]
        rows.append(("homography", "\n".join(lines)))
    seconds = info["seconds"]
    stages = ", ".join(f"{stage} {spent:.2f}" for stage, spent in seconds.items())
    rows.append(("seconds", f"{sum(seconds.values()):.2f} ({stages})"))
    return rows


def no_matches(matches: Matches, *, found: int = 0) -> str:
    """What is said where there are none.

    Args:
        matches: of :meth:`gcm.Matcher.match`, or those that were chosen of them.
        found: how many there were to choose from.
    """
    if found:
        return f"no matches: none of the {found} found scores as much as was asked for"
    if hidden := matches.info.get("hidden"):
        return f"no matches: all of the {hidden} found start or end where a photo is masked"
    if matches.confidence:
        # Never rounded up: 0.9999 is not enough where 1 is asked for.
        sure = math.floor(100 * matches.confidence) / 100
        return f"no matches: it is only {sure:.2f} sure that the photos show the same thing"
    return "no matches; do the photos show the same thing, and at a similar angle and scale?"


def _rounded(value: float) -> float:
    """An entry of a homography as people read it: what moves no pixel of any photo is 0."""
    return 0.0 if abs(value) < _NOTHING else value
