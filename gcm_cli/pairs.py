"""``gcm pairs``: which pairs of a folder of photos to match."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gcm_cli.console import Console, command, plural
from gcm_cli.matching import load_matcher
from gcm_cli.options import ConfigOption, JsonOption, QuietOption
from gcm_cli.outputs import check_outputs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gcm.scene.photos import Photo

__all__ = ["PairMethod", "choose_pairs", "pairs"]

PairMethod = Literal["exhaustive", "sequential", "similar", "near"]

_EXHAUSTIVE = 30
"""Photos up to which every pair is matched where nothing else was asked for."""
_WINDOW, _MOST = 5, 10
"""Photos that follow a photo, and pairs a photo, where nothing else was asked for."""

_Images = Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of photos, with folders in it.")]
_Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The list of pairs.")]
MethodOption = Annotated[
    PairMethod | None,
    typer.Option(
        "--method",
        help="Every pair; neighbours in a sequence; the likest, by our own maps; those taken nearest (EXIF).",
        show_default=f"exhaustive up to {_EXHAUSTIVE} photos, above that similar",
    ),
]
WindowOption = Annotated[
    int | None,
    typer.Option(min=1, help="sequential: photos that follow a photo.", show_default=str(_WINDOW)),
]
LoopOption = Annotated[bool, typer.Option("--loop", help="sequential: the way ends where it began.")]
MostOption = Annotated[
    int | None,
    typer.Option(
        "-k",
        min=1,
        help="similar: pairs a photo, on average. near: partners that a photo asks for.",
        show_default=str(_MOST),
    ),
]


@command
def pairs(
    images: _Images,
    output: _Output,
    method: MethodOption = None,
    window: WindowOption = None,
    loop: LoopOption = False,
    most: MostOption = None,
    config: ConfigOption = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List pairs of the photos in a folder, for gcm extract --pairs.

    Photos that cannot be read are named and left out.
    """
    from gcm.scene.pair_lists import write_pair_list
    from gcm.scene.photos import list_photos

    console = Console(json_output=json_output, quiet=quiet)
    check_outputs({"--output": output})
    photos = list_photos(images, console.warn)
    chosen, found = choose_pairs(photos, console, method, window, loop, most, config)
    write_pair_list(output, [photo.path for photo in photos], found)
    console.note(f"{output}: {plural(len(found), 'pair')} of {len(photos)} photos ({chosen})")
    console.document({"output": str(output), "photos": len(photos), "pairs": len(found), "method": chosen})


def choose_pairs(
    photos: Sequence[Photo],
    console: Console,
    method: PairMethod | None,
    window: int | None,
    loop: bool,
    most: int | None,
    config: str | None,
    *,
    changes: Mapping[str, Any] | None = None,
    new: Collection[int] | None = None,
    features: tuple[Path, float] | None = None,
) -> tuple[str, list[tuple[int, int]]]:
    """The method that was followed, and the pairs it chose, by the places of the photos.

    Where `new` names some of them, only pairs with one of those. `changes` are what the command line changes
    of the configuration. `features` are the folder in which maps are kept, and the GiB they may take.
    """
    from gcm.errors import DatasetError
    from gcm.scene import pair_lists

    method = _asked_for(method, window, loop, most) or (
        "exhaustive" if len(photos) <= _EXHAUSTIVE else "similar"
    )
    window, most = window or _WINDOW, most or _MOST
    if method == "exhaustive":
        found = pair_lists.exhaustive(len(photos))
    elif method == "sequential":
        found = pair_lists.sequential(len(photos), window, loop=loop)
    elif method == "near":
        from gcm.scene.photos import read_place

        places = [read_place(photo.path) for photo in photos]
        found = pair_lists.nearest(places, most)
        unknown = sum(place is None for place in places)
        if not found:
            raise DatasetError(
                f"{unknown} of {len(photos)} photos do not say where they were taken; "
                "use --method similar or exhaustive"
            )
        if unknown:
            console.warn(
                f"{unknown} of {len(photos)} photos do not say where they were taken; left without a partner"
            )
    else:
        found = _similar(photos, console, most, config, changes or {}, new, features)
    return method, [(i, j) for i, j in found if new is None or i in new or j in new]


def _asked_for(
    method: PairMethod | None, window: int | None, loop: bool, most: int | None
) -> PairMethod | None:
    """The method that the options ask for: by its name, or by those that only it takes."""
    from gcm.errors import UsageError

    options: list[tuple[str, bool, tuple[PairMethod, ...]]] = [
        ("--window", window is not None, ("sequential",)),
        ("--loop", loop, ("sequential",)),
        ("-k", most is not None, ("similar", "near")),
    ]
    for option, given, fitting in options:
        if not given:
            continue
        if method is not None and method not in fitting:
            raise UsageError(f"{option} is for --method {' and '.join(fitting)}, not for {method}")
        method = method or fitting[0]
    return method


def _similar(
    photos: Sequence[Photo],
    console: Console,
    most: int,
    config: str | None,
    changes: Mapping[str, Any],
    asking: Collection[int] | None,
    features: tuple[Path, float] | None,
) -> list[tuple[int, int]]:
    from gcm.config import load_config
    from gcm.scene.similarity import likest_pairs, photo_cells

    resolved = load_config(config, **{**changes, "feature_cache": 0})
    matcher = load_matcher(resolved, config, changes, features)
    with console.progress() as bar:
        task = bar.add_task("looking at photos", total=len(photos))
        cells = photo_cells([photo.path for photo in photos], matcher.features, lambda: bar.advance(task))
    with console.progress() as bar:
        task = bar.add_task("comparing the likest", total=None)
        return likest_pairs(
            cells,
            most,
            asking,
            device=matcher.device,
            on_compared=lambda done, total: bar.update(task, completed=done, total=total),
        )
