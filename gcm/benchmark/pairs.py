"""Lists of image pairs.

A line a pair: image 0, image 1 and, optionally, a file with the homography from image 0 to image 1. Fields
are separated by white space or tabs; a path with spaces is quoted ("..."), stands between tabs, or is
recognised because it exists. Relative paths start at the folder the list lies in, wherever the command is
run. Empty lines and lines that start with # are skipped. The text is UTF-8, or UTF-16 with its byte order
mark (as Windows PowerShell writes it).
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcm.errors import DatasetError, ImageError
from gcm.images.files import read_size
from gcm.storage.text import decode_text, lines_that_count

__all__ = [
    "Pair",
    "as_file_systems_see",
    "check_files",
    "check_masks",
    "name_pairs",
    "pair_name",
    "read_homography",
    "read_pairs",
    "with_masks",
]

_MAX_SPACES = 24
"""A line with more is not searched for paths with spaces."""


@dataclass(frozen=True)
class Pair:
    """Two images, and where the homography between them is told."""

    image0: Path
    image1: Path
    homography: Path | None = None
    """Text file with ``h_0_to_1``, 3 x 3."""
    name: str = ""
    """``<a>_<b>``, from the stems of the images; no two pairs of a list share one."""
    mask0: Path | None = None
    """An image that is black where nothing of image 0 is to be matched."""
    mask1: Path | None = None
    alpha: bool = False
    """Nothing is to be matched where an image is wholly transparent."""

    @cached_property
    def sequence(self) -> str:
        """Name of the folder of image 0."""
        return self.image0.absolute().parent.name

    @cached_property
    def subset(self) -> str:
        """Name of the folder above that."""
        return self.image0.absolute().parent.parent.name


def read_pairs(file: Path, root: Path | None = None) -> list[Pair]:
    """Read a list of pairs; whether its files are there is up to :func:`check_files`.

    Args:
        file: the list.
        root: where relative paths start in place of the list's own folder.

    Raises:
        DatasetError: no such file, not text in UTF-8 or UTF-16, a line that is no pair, or no pairs at all.
    """
    root = file.parent if root is None else root
    pairs = []
    for number, line in lines_that_count(_read_text(file)):
        fields = [root / field for field in _fields(line, root, f"{file}, line {number}")]
        pairs.append(Pair(fields[0], fields[1], fields[2] if len(fields) == 3 else None))
    if not pairs:
        raise DatasetError(f"{file}: lists no pairs")
    return name_pairs(pairs)


def _read_text(file: Path) -> str:
    """The text of a list."""
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(f"{file}: no such list of pairs") from error
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read as a list of pairs ({error.strerror})") from error
    try:
        text = decode_text(content)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        where = "" if error.encoding != "utf-8" or b"\0" in content else f", line {line}"
        raise DatasetError(_wrong_encoding(file, where)) from error
    if "\0" in text:
        raise DatasetError(_wrong_encoding(file, ""))
    return text


def _wrong_encoding(file: Path, where: str) -> str:
    return (
        f"{file}{where}: cannot be read as a list of pairs, for it is no UTF-8 text; convert it, as with: "
        f"iconv -f GBK -t UTF-8 {file.name} > {file.stem}-utf8{file.suffix} (GBK: the encoding it has)"
    )


def check_files(pairs: Sequence[Pair], file: Path, root: Path | None = None) -> list[str]:
    """Look whether the files that a list names are there, before any work is begun.

    Args:
        pairs: what :func:`read_pairs` gave.
        file, root: what it was given.

    Returns:
        Warnings, one for each kind of fault: images that are not there, and homography files that are not
        there or hold no homography.

    Raises:
        DatasetError: not one of the images is there.
    """
    images = list(dict.fromkeys(image for pair in pairs for image in (pair.image0, pair.image1)))
    missing = [image for image in images if not image.is_file()]
    start = file.parent if root is None else root
    relative = (
        f"relative paths start at {'the folder of the list, ' if root is None else ''}{start.absolute()}"
    )
    if len(missing) == len(images):
        raise DatasetError(
            f"{file}: none of the images it names is there, beginning with {missing[0]}; {relative}, and the "
            "list must be in UTF-8"
        )
    warnings = []
    if missing:
        warnings.append(
            f"{file}: {len(missing)} of {len(images)} images are not there, beginning with {missing[0]}; "
            f"{relative}"
        )
    homographies = list(dict.fromkeys(pair.homography for pair in pairs if pair.homography is not None))
    errors = [error for error in map(_homography_error, homographies) if error is not None]
    if errors:
        warnings.append(
            f"{file}: {len(errors)} of {len(homographies)} homography files cannot be used, so that their "
            f"pairs cannot be scored, beginning with {errors[0]}; {relative}"
        )
    return warnings


def with_masks(pairs: Sequence[Pair], folder: Path, images: Path | None = None) -> list[Pair]:
    """The same pairs with the masks that a folder holds of their images, as COLMAP names them.

    Args:
        pairs: what :func:`read_pairs` gave.
        folder: of masks: ``a/b.jpg.png`` is that of ``a/b.jpg`` below `images`, or else ``b.jpg.png``.
        images: folder of the images.

    Raises:
        DatasetError: no such folder, or it holds the mask of none of the images.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder of masks")

    def mask(image: Path) -> Path | None:
        names = [image.name]
        if images is not None and image.absolute().is_relative_to(images.absolute()):
            names.insert(0, image.absolute().relative_to(images.absolute()).as_posix())
        found = [path for path in (folder / f"{name}.png" for name in names) if path.is_file()]
        return found[0] if found else None

    masked = [replace(pair, mask0=mask(pair.image0), mask1=mask(pair.image1)) for pair in pairs]
    if not any(pair.mask0 or pair.mask1 for pair in masked):
        raise DatasetError(
            f"{folder}: holds no mask of any image; the mask of photo.jpg is called photo.jpg.png"
        )
    return masked


def check_masks(pairs: Sequence[Pair]) -> None:
    """Refuse masks of another size than their images, before any work is begun.

    Raises:
        DatasetError: which one, and how many more.
    """
    masks = {image: mask for p in pairs for image, mask in ((p.image0, p.mask0), (p.image1, p.mask1)) if mask}
    wrong = []
    for image, mask in masks.items():
        with suppress(ImageError):  # what cannot be read is told when it is to be matched
            sizes = read_size(mask), read_size(image)
            if sizes[0] != sizes[1]:
                told = [f"{width} x {height}" for width, height in sizes]
                wrong.append(f"{mask}: is {told[0]}, its image {image} {told[1]}")
    if wrong:
        more = f" ({len(wrong) - 1} more are not)" if len(wrong) > 1 else ""
        raise DatasetError(f"{wrong[0]}; a mask must be as large as its image{more}")


def _homography_error(path: Path) -> str | None:
    try:
        read_homography(path)
    except DatasetError as error:
        return str(error)
    return None


def _fields(line: str, root: Path, where: str) -> Sequence[str]:
    """Two or three paths."""
    if "\t" in line:
        fields = [field.strip().strip('"') for field in line.split("\t") if field.strip()]
    elif '"' in line:
        fields = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line)]
    else:
        readings = list(_splits(line, root))
        if len(readings) > 1:
            raise DatasetError(f'{where}: can be read in several ways; put each path in quotes ("...")')
        fields = readings[0] if readings else line.split()
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
    if len(cuts) > _MAX_SPACES:
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
    names in front as it needs to tell them apart, and at last their suffixes. Names become those of files, so
    they also differ where upper and lower case, or two ways to write an accent, count as one, as they do for
    the file systems of Windows and macOS.

    Raises:
        DatasetError: pairs that no name tells apart.
    """
    by_images: dict[tuple[Path, Path], Pair] = {}
    for pair in pairs:
        by_images.setdefault((pair.image0, pair.image1), pair)
    unique = unnamed = list(by_images.values())
    named: dict[tuple[Path, Path], str] = {}
    deepest = max((len(pair.image0.parts) for pair in unique), default=0)
    for depth in range(deepest + 1):
        by_name: dict[str, list[Pair]] = {}
        for pair in unnamed:
            name = as_file_systems_see(pair_name(pair, depth, suffix=depth == deepest))
            by_name.setdefault(name, []).append(pair)
        taken = {as_file_systems_see(name) for name in named.values()}
        for seen, (first, *others) in by_name.items():
            if not others and seen not in taken:
                named[first.image0, first.image1] = pair_name(first, depth, suffix=depth == deepest)
        unnamed = [pair for pair in unnamed if (pair.image0, pair.image1) not in named]
    if unnamed:
        raise DatasetError(
            f"{unnamed[0].image0}: its name cannot be told apart from another pair's; rename it"
        )
    return [replace(p, name=named[p.image0, p.image1]) for p in unique]


def as_file_systems_see(name: str) -> str:
    """The same for two names of files that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def pair_name(pair: Pair, depth: int, *, suffix: bool = False) -> str:
    """A name of a pair, with so many of its folders' names, and with its suffixes."""
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
        lines = decode_text(path.read_bytes() if content is None else content).splitlines()
        rows = [[float(value) for value in line.split()] for line in lines if line.strip()]
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DatasetError(f"{path}: not a 3 x 3 homography, which is nine numbers in text") from error
    values = [value for row in rows for value in row]
    if [len(row) for row in rows] != [3, 3, 3] or not all(map(math.isfinite, values)):
        shape = " + ".join(str(len(row)) for row in rows) or "0"
        raise DatasetError(f"{path}: not a 3 x 3 homography of finite numbers ({shape} numbers)")
    a, b, c, d, e, f, g, h, i = values
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if abs(determinant) < 1e-12 * max(1.0, *map(abs, values)):
        raise DatasetError(f"{path}: a homography that cannot be inverted")
    return np.array(rows)
