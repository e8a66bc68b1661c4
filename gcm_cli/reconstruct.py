"""``gcm reconstruct``: from a folder of photos to a sparse model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcm_cli.console import PARTIAL, Console, command, plural
from gcm_cli.export import IntrinsicsOption, MinConfidenceOption, OneCameraOption, join_tracks
from gcm_cli.extract import (
    AlphaOption,
    MasksOption,
    OverwriteOption,
    WorkersOption,
)
from gcm_cli.matching import MATCHES, match_list, read_list, specify
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
from gcm_cli.pairs import LoopOption, MethodOption, MostOption, WindowOption, choose_pairs
from gcm_cli.store import PrecisionOption, StoreOption

if TYPE_CHECKING:
    from gcm.export.reconstruct import Model

__all__ = ["reconstruct"]

_PAIRS = "pairs.txt"
_SUMMARY = "summary.json"

_Images = Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of photos, with folders in it.")]
_Output = Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="Folder of the model.")]


@command
def reconstruct(
    images: _Images,
    output: _Output,
    intrinsics: IntrinsicsOption = None,
    one_camera: OneCameraOption = False,
    method: MethodOption = None,
    window: WindowOption = None,
    loop: LoopOption = False,
    most: MostOption = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    device: DeviceOption = None,
    workers: WorkersOption = None,
    masks: MasksOption = None,
    alpha: AlphaOption = False,
    min_confidence: MinConfidenceOption = 0.5,
    overwrite: OverwriteOption = False,
    store: StoreOption = None,
    precision: PrecisionOption = None,
    features: FeaturesOption = None,
    features_size: FeaturesSizeOption = 10.0,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a sparse model of the scene that the photos of a folder show (by pycolmap, extra colmap).

    Matches all pairs worth it, joins them to points that many photos show, and
    places photos and points. MODEL gets database.db, sparse/0 in COLMAP's binary
    form, points.ply, summary.json; matches stay in MODEL/matches, and are not made
    again when it is run a second time.
    """
    from gcm.export import Cameras, colmap
    from gcm.export.reconstruct import DATABASE, clear_killed, make_model
    from gcm.scene.pair_lists import write_pair_list
    from gcm.scene.photos import list_photos
    from gcm.storage.locks import only_writer

    console = Console(json_output=json_output, quiet=quiet)
    _check_folder(output)
    kept = None if features is None else (features, features_size)
    changes = read_changes(settings, device=device)
    spec, _ = specify("gcm", config, None, changes, kept)
    colmap.load_pycolmap()
    photos = list_photos(images, console.warn)
    colmap.check_photos(photos)
    cameras = Cameras.read(intrinsics, photos, one=one_camera)
    asked = (method, window, loop, most, config)
    chosen, pairs = choose_pairs(photos, console, *asked, changes=changes, features=kept)
    console.note(f"{plural(len(pairs), 'pair')} of {len(photos)} photos ({chosen})")
    write_pair_list(output / _PAIRS, [photo.path for photo in photos], pairs)
    listed = read_list(console, output / _PAIRS, masks=(masks, images) if masks else None, alpha=alpha)
    how: dict[str, Any] = {"workers": workers, "overwrite": overwrite, "store": store, "precision": precision}
    report = match_list(console, listed, output / MATCHES, spec, **how)
    tracks = join_tracks(output / MATCHES, photos, console, min_confidence)
    console.note(f"{tracks.count} points, seen by {tracks.mean_length:.1f} photos each")
    with console.waiting("placing photos and points"), only_writer(output):
        clear_killed(output, (_PAIRS, _SUMMARY))
        colmap.write_database(output / DATABASE, images, photos, tracks, cameras, overwrite=True)
        model = make_model(images, output, cameras)
        _tell(console, output, model, {"method": chosen, "failed": report.failed, **tracks.describe()})


def _check_folder(output: Path) -> None:
    from gcm.errors import OutputError

    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file; give a folder for the model")


def _tell(console: Console, output: Path, model: Model, told: dict[str, Any]) -> None:
    from gcm.export.reconstruct import POINTS, SPARSE
    from gcm.storage.atomic import write_if_changed

    summary = {"output": str(output), **told, **model.to_dict()}
    write_if_changed(output / _SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
    console.note(
        f"{output}: {model.registered} of {plural(model.photos, 'photo')} placed, {model.points} points seen "
        f"by {model.track_length:.1f} photos each, to {model.reprojection_error:.2f} px"
        + (f"; {model.models} separate models" if model.models > 1 else "")
    )
    console.note(f"cameras and points: {output / SPARSE / '0'} (COLMAP, pycolmap); points: {output / POINTS}")
    for name in model.unregistered:
        console.note(f"not placed: {name}")
    console.document(summary)
    if told["failed"]:
        console.warn(f"{plural(len(told['failed']), 'pair')} could not be matched; run it again to try anew")
        raise typer.Exit(PARTIAL)
