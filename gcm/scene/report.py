"""A page on which people judge the matches of many pairs: one file, which asks nobody for anything."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from gcm.estimation.two_view import KIND_TEXT, TwoViewGeometry
from gcm.images.files import read_image
from gcm.images.sizes import fit_within
from gcm.matches import Matches
from gcm.scene.photos import Photo
from gcm.storage.atomic import whole_file
from gcm.viz.matches import even_sample

__all__ = ["write_report"]

_SIDES = 640, 480, 320, 200, 120
"""Pixels of the longer side of pictures on a page, largest first: the first that fits is taken."""
_PICTURE_BYTES = 11 * 2**20
"""Of all pictures together, before they are written as text, which takes a third more."""
_QUALITY = 75

_SHOWN = 200
"""Matches of a pair that can be pointed at."""
_BARS, _END = 20, 5.0
"""Of the histogram of residuals, and the pixels at its end."""


def write_report(
    file: Path,
    title: str,
    algorithm: str,
    photos: Sequence[Photo],
    results: Iterable[tuple[str, int, int, Matches | None]],
    on_pair: Callable[[], object] | None = None,
) -> int:
    """Write a page about the pairs of a folder of results.

    Args:
        file: the page.
        title: its heading.
        algorithm: what made the matches.
        photos: those that the pairs are of.
        results: of :func:`gcm.scene.collection.read_results`.
        on_pair: called after each.

    Returns:
        How many pairs it shows.

    Raises:
        OutputError: the file cannot be written.
        ImageError: a photo that cannot be read.
    """
    pairs = []
    for name, i, j, matches in results:
        pairs.append({"name": name, "i": i, "j": j, **_pair(matches)})
        if on_pair is not None:
            on_pair()
    used = sorted({k for pair in pairs for k in (pair["i"], pair["j"])})
    place = {k: number for number, k in enumerate(used)}
    for pair in pairs:
        pair["i"], pair["j"] = place[pair["i"]], place[pair["j"]]
    pictures = _pictures([photos[k] for k in used])
    images = [
        {"name": photos[k].name, "size": list(photos[k].size), "src": source}
        for k, source in zip(used, pictures, strict=True)
    ]
    data = {"title": title, "algorithm": algorithm, "kinds": KIND_TEXT, "images": images, "pairs": pairs}
    # In a script no other character ends the text; what a browser reads is the same.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    template = (files("gcm.scene") / "report.html").read_text(encoding="utf-8")
    with whole_file(file) as temporary:
        temporary.write_text(template.replace("@DATA@", text), encoding="utf-8", newline="\n")
    return len(pairs)


def _pair(matches: Matches | None) -> dict[str, Any]:
    """What a page says of one pair."""
    if matches is None:
        return {"matches": None, "confidence": None}
    geometry = matches.two_view_geometry()
    residuals, measured = _residuals(matches, geometry)
    h = matches.h_1_to_0 if geometry.homography is not None else None
    shown = even_sample(matches.points0, matches.scores, _SHOWN)
    agree = geometry.inliers
    return {
        "matches": len(matches),
        "confidence": None if matches.confidence is None else round(matches.confidence, 4),
        "kind": geometry.kind,
        "agree": float(agree.mean()) if len(agree) else 0.0,
        "plane": round(geometry.plane_share, 4),
        "h_1_to_0": None if h is None else [float(f"{value:.9g}") for value in h.ravel()],
        "residuals": residuals,
        "measured": measured,
        "shown": [
            [round(float(v), 1) for v in (*matches.points0[k], *matches.points1[k])] + [int(agree[k])]
            for k in shown
        ],
    }


def _residuals(matches: Matches, geometry: TwoViewGeometry) -> tuple[list[int] | None, str]:
    """Counts of residuals, and what they are measured from; None without a geometry."""
    off = geometry.residuals(matches.points0, matches.points1)
    if off is None:
        return None, ""
    by_lines = geometry.explained_by == "epipolar lines"
    measured = "their epipolar lines" if by_lines else "where the homography takes them"
    counts, _ = np.histogram(np.minimum(off, _END - 1e-6), bins=_BARS, range=(0, _END))
    return counts.tolist(), measured


def _pictures(photos: Sequence[Photo]) -> list[str]:
    """Addresses that hold the pictures themselves, as large as a page bears."""
    large = [fit_within(read_image(photo.path).pixels, _SIDES[0]) for photo in photos]
    encoded: list[bytes] = []
    for side in _SIDES:
        encoded = [_jpeg(fit_within(pixels, side)) for pixels in large]
        if sum(map(len, encoded)) <= _PICTURE_BYTES:
            break
    return ["data:image/jpeg;base64," + base64.b64encode(content).decode("ascii") for content in encoded]


def _jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    PILImage.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return stream.getvalue()
