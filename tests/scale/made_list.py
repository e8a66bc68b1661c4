"""What the tests of this folder share: the matcher, and what of a folder is compared."""

from __future__ import annotations

import re
from pathlib import Path

from gcm.matchers import matcher_spec

__all__ = ["PAIRS", "PHOTOS", "SPEC", "WINDOW", "contents", "timed"]

PHOTOS, WINDOW, PAIRS = 26, 10, 200
SPEC = matcher_spec("orb", {"max_keypoints": 200})


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but locks and those with times in them; parts of a store go by no number."""
    return {
        re.sub(r"part-\d+", "part", path.relative_to(folder).as_posix()): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {"config.yml", "times.csv"} and path.suffix != ".lock"
    }


def timed(folder: Path) -> list[str]:
    """The pairs whose times a folder tells, in order, with how sure the matcher was."""
    rows = [line.split(",") for line in (folder / "times.csv").read_text().splitlines()]
    return [",".join([name, *told]) for name, _, *told in rows]
