"""Scores kept from earlier evaluations, so that only what changed is measured again.

They lie in ``<algorithm>_pairs.json``, each with a fingerprint of what it was measured on. What is measured
on a pair does not depend on the protocol, so both share them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from gcm.benchmark.pairs import Pair
from gcm.metrics.protocols import PairScore

__all__ = ["ScoreStore"]

_FORMAT = 2
"""Raised when what is measured changes, so that older files are not used."""


class ScoreStore:
    """Scores by pair.

    Args:
        path: file of an earlier evaluation; one that is missing, damaged or of another version of OpenCV
            counts as empty.
    """

    def __init__(self, path: Path) -> None:
        self._entries: dict[str, dict[str, Any]] = {}
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if (document["format"], document["opencv"]) == (_FORMAT, cv2.__version__):
                self._entries = dict(document["pairs"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none yet, or damaged: everything is measured anew

    def get(self, pair: Pair, fingerprint: str) -> PairScore | None:
        """The score of a pair, None when there is none of that fingerprint."""
        entry = self._entries.get(pair.name)
        if entry is None or entry.get("fingerprint") != fingerprint:
            return None
        values = {key: value for key, value in entry.items() if key != "fingerprint"}
        for key in ("error", "error_swapped"):
            values[key] = math.inf if values[key] is None else values[key]
        values["within"] = tuple(values["within"])
        return PairScore(**(values | {"name": pair.name, "subset": pair.subset, "sequence": pair.sequence}))

    def put(self, score: PairScore, fingerprint: str) -> None:
        """Keep a score."""
        values = vars(score) | {"fingerprint": fingerprint}
        for key in ("error", "error_swapped"):
            values[key] = values[key] if math.isfinite(values[key]) else None
        self._entries[score.name] = values

    def text(self, names: Sequence[str]) -> str:
        """The file's content for those pairs, a line each."""
        lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(self._entries[name])}" for name in names)
        start = f'{{"format": {_FORMAT}, "opencv": {json.dumps(cv2.__version__)}, "pairs": {{\n'
        return f"{start}{lines}\n}}}}\n"
