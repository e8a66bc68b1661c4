"""``gcm pose A B``: how the camera moved between two photos."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gcm_cli.console import Console, command
from gcm_cli.matching import load_matcher
from gcm_cli.options import (
    INTRINSICS,
    INTRINSICS_HELP,
    ConfigOption,
    DeviceOption,
    JsonOption,
    QuietOption,
    SetOption,
    read_changes,
)
from gcm_cli.outputs import check_outputs
from gcm_cli.pictures import write_epipolar_lines

if TYPE_CHECKING:
    from rich.table import Table

    from gcm.estimation import TwoViewGeometry
    from gcm.estimation.two_view import TwoViewKind
    from gcm.matches import Matches
    from gcm.scene.photos import Photo

__all__ = ["pose"]

_A = Annotated[str, typer.Argument(metavar="A", help="First photo.")]
_B = Annotated[str, typer.Argument(metavar="B", help="Second photo.")]
_Intrinsics = Annotated[
    str | None,
    typer.Option(
        metavar=INTRINSICS,
        help=INTRINSICS_HELP,
        show_default="exif where both photos tell, else unknown",
    ),
]
_Intrinsics1 = Annotated[
    str | None, typer.Option(metavar="...", help="That of B, where it is another.", show_default="that of A")
]
_Draw = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Draw points and their epipolar lines, side by side.")
]
_Estimator = Annotated[Literal["opencv", "poselib"], typer.Option(help="Which library finds the pose.")]

_NO_LINES: dict[TwoViewKind, str] = {
    "general": "no pose was found",
    "plane": "no pose was found",
    "rotation": "a camera that only turned has no epipolar lines",
    "plane or rotation": "a plane, or a camera that only turned, leaves the epipolar lines open",
    "unknown": "no geometry was found",
}
"""Why there are no epipolar lines to draw."""


@command
def pose(
    image0: _A,
    image1: _B,
    intrinsics: _Intrinsics = None,
    intrinsics1: _Intrinsics1 = None,
    estimator: _Estimator = "opencv",
    draw: _Draw = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    device: DeviceOption = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find how the camera moved from photo A to photo B.

    With intrinsics: rotation, and direction of translation (x1 = R x0 + t). Without:
    the fundamental matrix, and the focal length where that can be told. Planes, mere
    turns and short baselines are named: they leave part of a pose open. Exit code 1
    where the photos have too little in common.
    """
    from gcm.config import load_config
    from gcm.images.files import read_image

    console = Console(json_output=json_output, quiet=quiet)
    _check_drawing(draw, (image0, image1, config, intrinsics, intrinsics1))
    changes = read_changes(settings, device=device)
    resolved = load_config(config, **changes)
    photos = [read_image(image, max_pixels=resolved.max_pixels) for image in (image0, image1)]
    described = [_described(name, photo.size) for name, photo in zip((image0, image1), photos, strict=True)]
    k0, k1 = _cameras(console, described, intrinsics, intrinsics1)
    with console.waiting("loading the networks"):
        matcher = load_matcher(resolved, config, changes)
    with console.waiting("matching"):
        matches = matcher.match(*photos)
    geometry = matches.two_view_geometry(k0, k1, library=estimator)
    drawn = draw is not None and write_epipolar_lines(draw, matches, geometry, (k0, k1), *photos)
    document = _document(image0, image1, matches, geometry, estimator)
    document["files"] = {"draw": str(draw)} if drawn else {}
    for note in matches.info["notes"]:
        console.note(f"note: {note}")
    console.table(_table(document))
    console.document(document)
    if k0 is None and geometry.kind != "unknown":
        console.note("note: without --intrinsics there is no rotation and no translation")
    for weakness in geometry.weaknesses:
        console.warn(weakness)
    if drawn:
        console.note(f"draw: {draw}")
    elif draw is not None:
        console.note(f"note: {draw} is not written: {_NO_LINES[geometry.kind]}")
    if geometry.kind == "unknown":
        console.warn("no geometry: the photos have too little in common")
        raise typer.Exit(1)


def _check_drawing(draw: Path | None, inputs: tuple[str | None, ...]) -> None:
    """Refuse a name that cannot be written before any work is done."""
    from gcm.images.files import check_image_suffix

    if draw is not None:
        check_image_suffix(draw)
        check_outputs({"--draw": draw}, inputs)


def _described(name: str, size: tuple[int, int]) -> Photo:
    """A photo that was read, as it lies in its file; what came by a pipe lies as it stands."""
    from gcm.images.files import read_file_header
    from gcm.scene.photos import Photo

    path = Path(name)
    orientation = read_file_header(path).orientation if path.is_file() else 1
    return Photo(path, path.as_posix(), size, orientation)


def _cameras(console: Console, photos: list[Photo], told0: str | None, told1: str | None) -> tuple[Any, Any]:
    """The cameras of both photos, upright; None for both where one is not known."""
    from gcm.errors import UsageError
    from gcm.scene.intrinsics import EXIF, focal_by_exif, read_intrinsics

    if told0 is None and told1 is not None:
        raise UsageError("--intrinsics1 is that of B; give --intrinsics for A as well")
    if told0 is None:
        if any(focal_by_exif(photo.path, photo.size) is None for photo in photos):
            return None, None
        told0 = EXIF
    if told1 is None:
        cameras = read_intrinsics(told0, photos)
    else:
        cameras = [*read_intrinsics(told0, photos[:1]), *read_intrinsics(told1, photos[1:])]
    if any(camera.distorted for camera in cameras):
        console.warn("the distortion that the intrinsics tell is not undone")
    k0, k1 = (camera.upright(photo) for camera, photo in zip(cameras, photos, strict=True))
    return k0, k1


def _document(
    name0: str, name1: str, matches: Matches, geometry: TwoViewGeometry, estimator: str
) -> dict[str, Any]:
    from gcm.estimation import estimate_focal
    from gcm.metrics.pose import rotation_angle

    pose, focal = geometry.pose, None
    if pose is None and geometry.fundamental is not None:
        focal = estimate_focal(geometry.fundamental, matches.size0, matches.size1)
    return {
        "image0": name0,
        "image1": name1,
        "kind": geometry.kind,
        "matches": len(matches),
        "inliers": int(geometry.inliers.sum()),
        "confidence": matches.confidence,
        "rotation": None if pose is None else pose.rotation.tolist(),
        "angle": None if pose is None else rotation_angle(pose.rotation),
        "translation": None if pose is None else pose.translation.tolist(),
        "parallax": None if math.isnan(geometry.parallax) else geometry.parallax,
        "fundamental": None if geometry.fundamental is None else geometry.fundamental.tolist(),
        "homography": None if geometry.homography is None else geometry.homography.tolist(),
        "plane_share": geometry.plane_share,
        "focal": focal,
        "estimator": estimator,
        "weaknesses": list(geometry.weaknesses),
    }


def _table(document: dict[str, Any]) -> Table:
    from rich.table import Table

    from gcm.estimation.two_view import KIND_TEXT

    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("A", document["image0"])
    table.add_row("B", document["image1"])
    table.add_row("geometry", KIND_TEXT[document["kind"]])
    table.add_row("inliers", f"{document['inliers']} of {document['matches']} matches")
    if document["confidence"] is not None:
        table.add_row("confidence", f"{document['confidence']:.2f} that both show the same")
    if document["rotation"] is not None:
        table.add_row("rotation", f"{document['angle']:.2f} degrees\n{_matrix(document['rotation'])}")
        if any(document["translation"]):
            table.add_row("translation", "  ".join(f"{v:>9.5f}" for v in document["translation"]))
        if document["parallax"] is not None:
            table.add_row("parallax", f"{document['parallax']:.2f} degrees between rays (median)")
        table.add_row("estimator", document["estimator"])
    elif document["fundamental"] is not None:
        table.add_row("fundamental", _matrix(document["fundamental"]))
        known = "these two photos do not tell it" if document["focal"] is None else "about {:.0f} px"
        table.add_row("focal length", known.format(document["focal"]))
    elif document["homography"] is not None:
        table.add_row("homography", _matrix(document["homography"]))
    return table


def _matrix(rows: list[list[float]]) -> str:
    return "\n".join("  ".join(f"{value:>12.6g}" for value in row) for row in rows)
