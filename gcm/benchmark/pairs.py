"""Lists of image pairs.

A line a pair: image 0, image 1 and, optionally, a file with the homography from image 0 to image 1. Fields
are separated by white space or tabs; a path with spaces is quoted ("..."), stands between tabs, or is
recognised because it exists. Relative paths start at the list's folder. Empty lines and lines that start
with # are skipped.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcm.errors import DatasetError

__all__ = ["Pair", "name_pairs", "read_homography", "read_pairs"]

_MOST_WORDS = 24
"""Beyond this a line is not searched for paths with spaces."""


@dataclass(frozen=True)
class Pair:
    """Two images, and where the homography between them is told."""

    image0: Path
    image1: Path
    homography: Path | None = None
    """Text file with ``h_0_to_1``, 3 x 3."""
    name: str = ""
    """``<a>_<b>``, from the stems of the images; no two pairs of a list share one."""

    @cached_property
    def sequence(self) -> str:
        """Name of the folder of image 0."""
        return self.image0.absolute().parent.name

    @cached_property
    def subset(self) -> str:
        """Name of the folder above that."""
        return self.image0.absolute().parent.parent.name


def read_pairs(file: Path, root: Path | None = None) -> list[Pair]:
    """Read a list of pairs.

    Args:
        file: the list.
        root: where relative paths start in place of the list's own folder.

    Raises:
        DatasetError: no such file, not text, a line that is not a pair, or no pairs at all.
    """
    root = file.parent if root is None else root
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DatasetError(f"{file}: no such list of pairs") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{file}: cannot be read as a list of pairs ({reason})") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            fields = [root / field for field in _fields(text, root, f"{file}, line {number}")]
            pairs.append(Pair(fields[0], fields[1], fields[2] if len(fields) == 3 else None))
    if not pairs:
        raise DatasetError(f"{file}: lists no pairs")
    return name_pairs(pairs)


def _fields(line: str, root: Path, where: str) -> Sequence[str]:
    """Two or three paths."""
    if "\t" in line:
        fields = [field.strip().strip('"') for field in line.split("\t") if field.strip()]
    elif '"' in line:
        fields = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line)]
    else:
        found = list(_splits(line, root))
        if len(found) > 1:
            raise DatasetError(f'{where}: can be read in several ways; put each path in quotes ("...")')
        fields = found[0] if found else line.split()
    if len(fields) not in (2, 3):
        raise DatasetError(
            f"{where}: {len(fields)} fields where a pair has 2 or 3 (image 0, image 1, homography); "
            'put paths with spaces in quotes ("...")'
        )
    return fields


def _is_file(root: Path, field: str) -> bool:
    # Many times a line, and four times as fast as by way of a Path.
    return os.path.isfile(os.path.join(root, field))  # noqa: PTH113, PTH118


def _splits(line: str, root: Path) -> Iterable[list[str]]:
    """Every way to cut a line at its spaces into two or three files that exist."""
    cuts = [match.span() for match in re.finditer(r"\s+", line)]
    if len(cuts) > _MOST_WORDS:
        return
    for count in (1, 2):
        for chosen in combinations(cuts, count):
            ends = [0, *(end for _, end in chosen)]
            starts = [*(start for start, _ in chosen), len(line)]
            fields = [line[a:b] for a, b in zip(ends, starts, strict=True)]
            if all(_is_file(root, field) for field in fields):
                yield fields


def name_pairs(pairs: Sequence[Pair]) -> list[Pair]:
    """Give each pair its name; the same pair named twice in the list is kept once.

    A name is made of the images' stems. Where two pairs would share it, those take as many of their folders'
    names in front as it needs to tell them apart, and at last their suffixes.

    Raises:
        DatasetError: pairs that no name tells apart.
    """
    first: dict[tuple[Path, Path], Pair] = {}
    for pair in pairs:
        first.setdefault((pair.image0, pair.image1), pair)
    unique = unnamed = list(first.values())
    named: dict[tuple[Path, Path], str] = {}
    deepest = max((len(pair.image0.parts) for pair in unique), default=0)
    for depth in range(deepest + 1):
        by_name: dict[str, list[Pair]] = {}
        for pair in unnamed:
            by_name.setdefault(_name(pair, depth, suffix=depth == deepest), []).append(pair)
        taken = set(named.values())
        for name, group in by_name.items():
            if len(group) == 1 and name not in taken:
                named[group[0].image0, group[0].image1] = name
        unnamed = [pair for pair in unnamed if (pair.image0, pair.image1) not in named]
    if unnamed:
        raise DatasetError(
            f"{unnamed[0].image0}: its name cannot be told apart from another pair's; rename it"
        )
    return [Pair(p.image0, p.image1, p.homography, named[p.image0, p.image1]) for p in unique]


def _name(pair: Pair, depth: int, *, suffix: bool) -> str:
    ends = []
    for image in (pair.image0, pair.image1):
        folders = [part for part in image.parts[:-1] if part != image.anchor]
        last = image.name if suffix else image.stem
        ends.append("-".join([*folders[max(0, len(folders) - depth) :], last]))
    return "_".join(ends)


def read_homography(path: Path, content: bytes | None = None) -> NDArray[np.float64]:
    """Read a 3 x 3 homography (``h_0_to_1`` of a pair) from text.

    Args:
        path: the file.
        content: its bytes, where they have been read already.

    Raises:
        DatasetError: missing, not nine finite numbers, or not invertible.
    """
    try:
        lines = (path.read_bytes() if content is None else content).decode("ascii").splitlines()
        rows = [[float(value) for value in line.split()] for line in lines if line.strip()]
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a 3 x 3 homography ({error})") from error
    values = [value for row in rows for value in row]
    if [len(row) for row in rows] != [3, 3, 3] or not all(map(math.isfinite, values)):
        shape = " + ".join(str(len(row)) for row in rows) or "0"
        raise DatasetError(f"{path}: not a 3 x 3 homography of finite numbers ({shape} numbers)")
    a, b, c, d, e, f, g, h, i = values
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if abs(determinant) < 1e-12 * max(1.0, *map(abs, values)):
        raise DatasetError(f"{path}: a homography that cannot be inverted")
    return np.array(rows)
