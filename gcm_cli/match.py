"""``gcm match A B``: correspondences between two photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcm_cli.console import Console, command
from gcm_cli.matching import load_matcher
from gcm_cli.options import (
    ConfigOption,
    DeviceOption,
    FeaturesOption,
    FeaturesSizeOption,
    JsonOption,
    QuietOption,
    SetOption,
    read_changes,
)
from gcm_cli.outputs import check_outputs
from gcm_cli.pictures import ColourOption, DrawOption, LinesOption, MatchPictures, ViewOption, WarpOption
from gcm_cli.verdict import no_matches, summary_rows

if TYPE_CHECKING:
    from rich.table import Table

    from gcm.config import MatcherConfig
    from gcm.estimation import TwoViewGeometry
    from gcm.matches import Matches

__all__ = ["match"]

_SURE = 0.5
"""Of a pair so sure to show one thing nothing is gained by looking harder."""

_A = Annotated[str, typer.Argument(metavar="A", help="First photo; - reads standard input.")]
_B = Annotated[str, typer.Argument(metavar="B", help="Second photo.")]
_Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the matches: .npz, .json or .csv."),
]
_Mask0 = Annotated[
    Path | None, typer.Option(metavar="FILE", help="No match lies where this image, as large as A, is black.")
]
_Mask1 = Annotated[Path | None, typer.Option(metavar="FILE", help="The same for B.")]
_Alpha = Annotated[bool, typer.Option("--alpha", help="No match lies where a photo is wholly transparent.")]
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
_MinConfidence = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="Return nothing when less sure that both show the same."),
]


@command
def match(
    image0: _A,
    image1: _B,
    config: ConfigOption = None,
    settings: SetOption = None,
    output: _Output = None,
    draw: DrawOption = None,
    colour: ColourOption = None,
    lines: LinesOption = None,
    warp: WarpOption = None,
    view: ViewOption = None,
    mask0: _Mask0 = None,
    mask1: _Mask1 = None,
    alpha: _Alpha = False,
    device: DeviceOption = None,
    max_side: _MaxSide = None,
    hypotheses: _Hypotheses = None,
    precision: _Precision = None,
    top_k: _TopK = None,
    min_score: _MinScore = None,
    min_confidence: _MinConfidence = None,
    features: FeaturesOption = None,
    features_size: FeaturesSizeOption = 10.0,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Match two photos: which point of A is which point of B.

    Prints a summary, or with --json one document with the matches themselves. Points
    are (x, y) in pixels of the photos as given, the top-left pixel's centre at (0, 0).
    """
    from gcm.config import load_config
    from gcm.images.files import check_read_once, read_image

    console = Console(json_output=json_output, quiet=quiet)
    pictures = MatchPictures(draw, colour, lines, warp, view)
    _check_files(output, pictures, inputs=(image0, image1, config, *_paths(mask0, mask1)))
    options = {"max_side": max_side, "device": device, "hypotheses": hypotheses, "precision": precision}
    changes = read_changes(settings, **options, min_confidence=min_confidence)
    resolved = load_config(config, **changes)
    # What may be mistyped is looked at before the seconds that importing torch takes; which backbones there
    # are is only known after them.
    _check_weights(resolved)
    check_read_once(image0, image1)
    photo0, photo1 = (read_image(image, max_pixels=resolved.max_pixels) for image in (image0, image1))
    with console.waiting("loading the networks"):
        kept = (features, features_size)
        matcher = load_matcher(resolved, config, changes, kept)
    with console.waiting("matching"):
        matches = matcher.match(photo0, photo1, mask0=mask0, mask1=mask1, alpha=alpha)
        found = len(matches)
        matches = matches.best(top_k=top_k, min_score=min_score)
    # Files first: whatever becomes of the printing, they are there.
    geometry = matches.two_view_geometry()
    written = {} if output is None else {"output": output}
    if output is not None:
        matches.save(output)
    written |= pictures.write(console, matches, geometry, photo0, photo1)
    _tell(console, (image0, image1), matches, geometry, written, found)


def _tell(
    console: Console,
    names: tuple[str, str],
    matches: Matches,
    geometry: TwoViewGeometry,
    written: dict[str, Path],
    found: int,
) -> None:
    for note in matches.info["notes"]:
        console.note(f"note: {note}")
    if not console.json_output:
        console.table(_summary(*names, matches, geometry))
    if len(matches) == 0:
        console.warn(no_matches(matches, found=found) + _what_else(matches, found))
    for kind, path in written.items():
        console.note(f"{kind}: {path}")
    if console.json_output:
        console.document({**_document(*names, matches, written), "geometry": geometry.kind})


def _paths(*files: Path | None) -> list[str]:
    return [str(file) for file in files if file is not None]


def _what_else(matches: Matches, found: int) -> str:
    """What to try where there are no matches; nothing where some were found, and taken away again."""
    if found or matches.info.get("hidden"):
        return ""
    sure = matches.confidence is not None and matches.confidence >= _SURE
    more = [] if sure or matches.info["preset"] == "robust" else ["--config robust looks harder"]
    more += ["--min-confidence 0 returns what was found"] if matches.confidence else []
    return f"; {', '.join(more)}" if more else ""


def _check_files(output: Path | None, pictures: MatchPictures, *, inputs: Sequence[str | None]) -> None:
    """Refuse names that cannot be written before any work is done."""
    from gcm.matches import Matches as MatchesType

    if output is not None:
        MatchesType.check_suffix(output)
    pictures.check()
    check_outputs({"--output": output, "--draw": pictures.draw, "--warp": pictures.warp}, inputs)


def _check_weights(config: MatcherConfig) -> None:
    from gcm.weights.store import check_weights_name

    for weights in (config.weights_path, getattr(config.method, "fine_weights_path", None)):
        if weights is not None:
            check_weights_name(weights)


def _summary(name0: str, name1: str, matches: Matches, geometry: TwoViewGeometry) -> Table:
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_column(style="bold", no_wrap=True)
    # Folded, not cut: two long paths often differ in their last letters only.
    table.add_column(overflow="fold")
    for row in summary_rows(name0, name1, matches, geometry):
        table.add_row(*row)
    return table


def _document(name0: str, name1: str, matches: Matches, written: dict[str, Path]) -> dict[str, Any]:
    return {
        "image0": name0,
        "image1": name1,
        **matches.to_dict(),
        **matches.info,
        "files": {kind: str(path) for kind, path in written.items()},
    }
