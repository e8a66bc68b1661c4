"""``gcm match A B``: correspondences between two photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcm_cli.console import Console, command
from gcm_cli.options import ConfigOption, JsonOption, QuietOption, SetOption, parse_settings

if TYPE_CHECKING:
    from rich.table import Table

    from gcm.matches import Matches

__all__ = ["match"]

_A = Annotated[str, typer.Argument(metavar="A", help="First photo.")]
_B = Annotated[str, typer.Argument(metavar="B", help="Second photo.")]
_Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the matches: .npz, .json or .csv."),
]
_Draw = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the matches, side by side.")]
_Warp = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw B warped onto A, blended.")]
_Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the best there is.")]
_MaxSide = Annotated[
    int | None, typer.Option(min=16, help="Work at a smaller size; answers stay in original pixels.")
]
_Hypotheses = Annotated[
    str | None, typer.Option(metavar="auto|upright|full", help="Which turned and scaled views to try.")
]
_Precision = Annotated[
    str | None,
    typer.Option(metavar="auto|float32|bfloat16|float16", help="What the networks compute in."),
]
_TopK = Annotated[int | None, typer.Option(min=1, help="Only the K best matches.")]
_MinScore = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Only matches of at least this score.")
]


@command
def match(
    image0: _A,
    image1: _B,
    config: ConfigOption = None,
    settings: SetOption = None,
    output: _Output = None,
    draw: _Draw = None,
    warp: _Warp = None,
    device: _Device = None,
    max_side: _MaxSide = None,
    hypotheses: _Hypotheses = None,
    precision: _Precision = None,
    top_k: _TopK = None,
    min_score: _MinScore = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Match two photos: which point of A is which point of B.

    Prints a summary, or with --json one document with the matches themselves. Points are (x, y) in
    pixels of the photos as given, the centre of the top-left pixel at (0, 0).
    """
    from gcm.config import load_config
    from gcm.matches import Matches as MatchesType

    console = Console(json_output=json_output, quiet=quiet)
    if output is not None:
        MatchesType.check_suffix(output)
    for picture in (draw, warp):
        _check_picture(picture)
    asked = {
        "max_side": max_side,
        "device": device,
        "hypotheses": hypotheses,
        "precision": precision,
    }
    changes = {
        **parse_settings(settings),
        **{key: value for key, value in asked.items() if value is not None},
    }
    resolved = load_config(config, **changes)
    if device is not None:
        _check_device(resolved.device)
    # Reading the photos first: a mistyped name should not cost the loading of a network.
    from gcm.images.files import load_image

    photo0, photo1 = load_image(image0), load_image(image1)
    with console.waiting("loading the networks"):
        from gcm.matcher import Matcher

        matcher = Matcher(resolved, name=config or "default")
    with console.waiting("matching"):
        found = matcher.match(photo0, photo1).best(top_k=top_k, min_score=min_score)
    for note in found.info["notes"]:
        console.note(f"note: {note}")
    console.table(_summary(image0, image1, found))
    if len(found) == 0:
        console.warn("no matches; do the photos show the same thing, and at a similar angle and scale?")
    _write(found, photo0, photo1, output, draw, warp)
    written = {"output": output, "draw": draw, "warp": warp}
    for what, path in written.items():
        if path is not None:
            console.note(f"{what}: {path}")
    if json_output:
        console.document(_document(image0, image1, found, written))


def _check_picture(path: Path | None) -> None:
    """Refuse a picture's name before any work is done."""
    from gcm.images.files import check_image_suffix

    if path is not None:
        check_image_suffix(path)


def _check_device(device: str | None) -> None:
    """A device asked for on the command line must be there (one in a file gives way to the CPU)."""
    import torch

    from gcm.errors import UsageError

    kind, _, index = (device or "cpu").partition(":")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(index or 0) >= there:
        raise UsageError(f"--device {device}: not available on this machine; use --device cpu")


def _write(
    found: Matches, photo0: Any, photo1: Any, output: Path | None, draw: Path | None, warp: Path | None
) -> None:
    from gcm.errors import OutputError

    if output is not None:
        found.save(output)
    if draw is None and warp is None:
        return
    import numpy as np

    from gcm.images.files import write_image
    from gcm.viz.matches import blend_warped, draw_matches

    if draw is not None:
        write_image(draw, draw_matches(photo0, photo1, found))
    if warp is not None:
        if found.homography is None:
            raise OutputError(f"{warp}: not written, because no homography was found to warp by")
        write_image(warp, blend_warped(photo0, photo1, np.linalg.inv(found.homography)))


def _summary(name0: str, name1: str, found: Matches) -> Table:
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_column(style="bold")
    table.add_column()
    for label, name, size in (("A", name0, found.size0), ("B", name1, found.size1)):
        table.add_row(label, f"{name} ({size[0]} x {size[1]})")
    info = found.info
    table.add_row("preset", f"{info['preset']} ({info['model']}) on {info['device']}")
    table.add_row("matches", str(len(found)))
    if found.homography is None:
        table.add_row("homography", "none found")
    else:
        share = 100 * found.inlier_count / max(1, len(found))
        table.add_row("inliers", f"{found.inlier_count} ({share:.0f} %) of the homography A to B")
        rows = ["  ".join(f"{value:>11.6g}" for value in row) for row in found.homography.tolist()]
        table.add_row("homography", "\n".join(rows))
    seconds = info["seconds"]
    stages = ", ".join(f"{stage} {spent:.2f}" for stage, spent in seconds.items())
    table.add_row("seconds", f"{sum(seconds.values()):.2f} ({stages})")
    return table


def _document(name0: str, name1: str, found: Matches, written: dict[str, Path | None]) -> dict[str, Any]:
    return {
        "image0": name0,
        "image1": name1,
        **found.to_dict(),
        "inliers": None if found.inliers is None else found.inliers.tolist(),
        **found.info,
        "files": {what: str(path) for what, path in written.items() if path is not None},
    }
