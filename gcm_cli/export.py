"""``gcm export``: matches of many photos for COLMAP, hloc and kapture."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gcm_cli.console import Console, command, plural
from gcm_cli.matching import results_in
from gcm_cli.options import INTRINSICS, INTRINSICS_HELP, JsonOption, QuietOption

if TYPE_CHECKING:
    from gcm.scene.photos import Photo
    from gcm.scene.tracks import Tracks

__all__ = ["IntrinsicsOption", "MinConfidenceOption", "OneCameraOption", "export", "join_tracks"]

Target = Literal["colmap", "hloc", "kapture"]

_Results = Annotated[
    Path, typer.Argument(metavar="RESULTS", help="Folder that gcm extract or reconstruct wrote into.")
]
_Images = Annotated[Path, typer.Option(metavar="FOLDER", help="The photos that were matched.")]
_To = Annotated[Target, typer.Option("--to", help="For which tool.")]
_Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="PATH", help="colmap: the database, a file; hloc, kapture: a folder."
    ),
]
IntrinsicsOption = Annotated[
    str | None,
    typer.Option(
        metavar=INTRINSICS,
        help=f"{INTRINSICS_HELP} They stay as they are, but those of exif.",
        show_default="by EXIF, else unknown",
    ),
]
OneCameraOption = Annotated[bool, typer.Option("--one-camera", help="All photos are of one camera.")]
MinConfidenceOption = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Pairs of which the matcher was less sure are left out.")
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@command
def export(
    results: _Results,
    images: _Images,
    to: _To,
    output: _Output,
    intrinsics: IntrinsicsOption = None,
    one_camera: OneCameraOption = False,
    min_confidence: MinConfidenceOption = 0.5,
    overwrite: _Overwrite = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Join the matches of all pairs to points that many photos show, and write these for another tool.

    colmap: a database with cameras, keypoints, matches and verified geometries,
    ready for its mapper and for GLOMAP. hloc: features.h5, matches.h5, pairs.txt.
    kapture: a folder.
    """
    from gcm.errors import UsageError
    from gcm.export import Cameras, colmap, hloc, kapture
    from gcm.scene.photos import list_photos

    console = Console(json_output=json_output, quiet=quiet)
    if to == "hloc" and (intrinsics is not None or one_camera):
        raise UsageError("hloc's files hold no cameras; leave out --intrinsics and --one-camera")
    if to == "colmap":
        colmap.load_pycolmap()  # before the work that leads there
    photos = list_photos(images, console.warn)
    if to == "colmap":
        colmap.check_photos(photos)
    cameras = Cameras.read(intrinsics, photos, one=one_camera)
    tracks = join_tracks(results_in(results), photos, console, min_confidence)
    summary: Any
    if to == "colmap":
        summary = colmap.write_database(output, images, photos, tracks, cameras, overwrite=overwrite)
    elif to == "hloc":
        summary = hloc.write_hloc(output, photos, tracks, overwrite=overwrite)
    else:
        summary = kapture.write_kapture(output, photos, tracks, cameras, overwrite=overwrite)
    console.note(
        f"{output}: {plural(summary.photos, 'photo')}, {plural(summary.keypoints, 'keypoint')}, "
        f"{plural(summary.pairs, 'pair')}; {tracks.count} points, "
        f"seen by {tracks.mean_length:.1f} photos each"
    )
    console.document({"output": str(output), "to": to, **asdict(summary), **tracks.describe()})


def join_tracks(results: Path, photos: list[Photo], console: Console, min_confidence: float) -> Tracks:
    """The tracks of a folder of results; says what was left out."""
    from gcm.errors import DatasetError
    from gcm.scene.collection import read_collection, verify_pairs
    from gcm.scene.tracks import tracks_of

    with console.waiting("joining matches to tracks"):
        collection = read_collection(results, photos, min_confidence=min_confidence)
        verified = verify_pairs(collection)
        if collection.unmatched:
            console.warn(
                f"{results}: {plural(collection.unmatched, 'pair')} of its list without matches: not matched "
                "yet, which gcm extract does when run again, or of a photo that cannot be read"
            )
        if not verified.pairs:
            raise DatasetError(
                f"{results}: no pair of photos has enough in common ({verified.doubtful} were matched and "
                "are doubtful)"
            )
        return tracks_of(verified)
