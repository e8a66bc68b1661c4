"""``gcm stitch A B ...``: one picture of several photos."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcm_cli.console import Console, command, plural
from gcm_cli.matching import load_matcher
from gcm_cli.options import ConfigOption, DeviceOption, JsonOption, QuietOption, SetOption, read_changes
from gcm_cli.outputs import check_outputs

if TYPE_CHECKING:
    from gcm.images.loaded import LoadedImage

__all__ = ["stitch"]

_Photos = Annotated[
    list[str],
    typer.Argument(metavar="A B ...", help="Two photos or more, in any order; or a folder of them."),
]
_Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The picture.")]


@command
def stitch(
    photos: _Photos,
    output: _Output,
    config: ConfigOption = None,
    settings: SetOption = None,
    device: DeviceOption = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Join photos of something flat, or of a camera that turned in its place, to one picture.

    Photos that share too little with the others are named and left out; the exit
    code is then 3.
    """
    from gcm.config import load_config
    from gcm.errors import UsageError
    from gcm.images.files import check_image_suffix, check_read_once, read_image, write_image
    from gcm.images.sizes import resize_to
    from gcm.viz.panorama import join_photos
    from gcm.viz.panorama import stitch as blend

    console = Console(json_output=json_output, quiet=quiet)
    photos = _photos_in(photos)
    if len(photos) < 2:
        raise UsageError("one photo is a picture already; give two or more")
    check_image_suffix(output)
    check_outputs({"--output": output}, photos)
    check_read_once(*photos)
    changes = read_changes(settings, device=device)
    resolved = load_config(config, **changes)
    loaded = [read_image(photo, max_pixels=resolved.max_pixels) for photo in photos]
    _tell_notes(console, photos, loaded)
    with console.waiting("loading the networks"):
        matcher = load_matcher(resolved, config, changes)
    chosen = list(combinations(range(len(photos)), 2))
    pairs = {}
    with console.progress() as bar:
        task = bar.add_task("matching", total=len(chosen))
        for i, j in chosen:
            pairs[i, j] = matcher.match(loaded[i], loaded[j])
            bar.advance(task)
    panorama = join_photos([photo.size for photo in loaded], pairs)
    with console.waiting("blending"):
        write_image(output, blend([resize_to(photo.pixels, photo.size) for photo in loaded], panorama))
    left = [photo for k, photo in enumerate(photos) if k not in panorama.to_picture]
    for photo in left:
        console.warn(f"{photo}: shares too little with the others; left out")
    width, height = panorama.size
    console.note(f"{output}: {plural(len(panorama.to_picture), 'photo')}, {width} x {height}")
    console.document(
        {
            "output": str(output),
            "size": [width, height],
            "reference": photos[panorama.reference],
            "photos": {photos[k]: h.tolist() for k, h in panorama.to_picture.items()},
            "left_out": left,
        }
    )
    if left:
        raise typer.Exit(3)


def _tell_notes(console: Console, names: list[str], photos: list[LoadedImage]) -> None:
    """What was done to photos that one would not expect."""
    for name, photo in zip(names, photos, strict=True):
        for note in photo.notes:
            console.note(f"note: {name}: {note}")


def _photos_in(given: list[str]) -> list[str]:
    """The photos that are given, those of a folder in its place."""
    from gcm.images.folders import find_photos

    listed = (find_photos(Path(one)) if one != "-" and Path(one).is_dir() else [one] for one in given)
    return [str(photo) for photos in listed for photo in photos]
