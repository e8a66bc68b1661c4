"""``gcm extract``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcm_cli.console import PARTIAL, Console, command, plural
from gcm_cli.effects import OnlyFor
from gcm_cli.matching import match_list, read_list, specify
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
from gcm_cli.pairs import LoopOption, MethodOption, MostOption, PairMethod, WindowOption, choose_pairs
from gcm_cli.sharded import (
    EstimateOption,
    ExecutorOption,
    ExecutorSetOption,
    ShardOption,
    ShardsOption,
    estimate_cost,
    read_sharding,
)
from gcm_cli.store import PrecisionOption, StoreOption

if TYPE_CHECKING:
    from gcm.benchmark.extract import Extraction
    from gcm.matchers import MatcherSpec

__all__ = [
    "AlphaOption",
    "MasksOption",
    "OverwriteOption",
    "WorkersOption",
    "extract",
]


OutputDirOption = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        "--output",
        "-o",
        help="Folder for the matches of this configuration alone.",
        show_default="the configuration's",
    ),
]
DatasetDirOption = Annotated[Path, typer.Option(help="Organised data set: a folder with image_pairs.txt.")]
PairsOption = Annotated[
    Path | None,
    typer.Option(
        help="Any list of pairs: image 0, image 1, and optionally a homography file, or one with poses; "
        "relative paths start at the list's folder, or --root."
    ),
]
AlgorithmOption = Annotated[
    str, typer.Option(help="gcm, sift, orb, akaze, kaze, xfeat, aliked-lightglue, ... or an installed one.")
]
RatioOption = Annotated[float | None, typer.Option(help="Ratio threshold of sift, orb, akaze, kaze.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes to match in.",
        show_default="as the cores and the length of the list ask for",
    ),
]
AtOnceOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Pairs whose images the network sees together, in one process.",
        show_default="8 on a GPU, else 1",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Remove the folder's results first.")]


ImagesOption = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Match the photos of a folder, in place of a list.")
]
NewOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="With --images: only pairs with a photo of this folder, added to them."
    ),
]
MasksOption = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="No match lies where FOLDER/photo.jpg.png is black, as for COLMAP."),
]
AlphaOption = Annotated[
    bool, typer.Option("--alpha", help="No match lies where a photo is wholly transparent.")
]
RootOption = Annotated[
    Path | None, typer.Option(help="Where the paths of a list start.", show_default="the list's folder")
]
VideoOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Match frames of a video, each with those that follow.")
]
EveryOption = Annotated[int, typer.Option(metavar="N", min=1, help="Of a video, every N-th frame.")]

_PHOTOS = OnlyFor("--images and --video", lambda given: bool(given["images"] or given["video"]))
_VIDEO = OnlyFor("--video", lambda given: bool(given["video"]))
_LISTED = OnlyFor("lists, --pairs and --dataset-dir", lambda given: not _PHOTOS.when(given))

_LIST, _NEW_LIST = "pairs.txt", "new_pairs.txt"
_FRAMES = "frames"


@command
def extract(
    *,
    config: ConfigOption = None,
    output_dir: OutputDirOption = None,
    dataset_dir: DatasetDirOption = Path("Datasets/hpatches"),
    pairs: PairsOption = None,
    images: ImagesOption = None,
    new: NewOption = None,
    video: VideoOption = None,
    every: Annotated[EveryOption, _VIDEO] = 10,
    masks: MasksOption = None,
    alpha: AlphaOption = False,
    root: Annotated[RootOption, _LISTED] = None,
    method: Annotated[MethodOption, _PHOTOS] = None,
    window: Annotated[WindowOption, _PHOTOS] = None,
    loop: Annotated[LoopOption, _PHOTOS] = False,
    most: Annotated[MostOption, _PHOTOS] = None,
    algorithm: AlgorithmOption = "gcm",
    ratio: RatioOption = None,
    settings: SetOption = None,
    device: DeviceOption = None,
    workers: WorkersOption = None,
    at_once: AtOnceOption = None,
    overwrite: OverwriteOption = False,
    store: StoreOption = None,
    precision: PrecisionOption = None,
    features: FeaturesOption = None,
    features_size: FeaturesSizeOption = 10.0,
    shard: ShardOption = None,
    executor: ExecutorOption = None,
    shards: ShardsOption = None,
    executor_settings: ExecutorSetOption = None,
    estimate: EstimateOption = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Match all pairs of a data set or list, or of a folder of photos or a video.

    Run it again after an interruption. A pair that fails is reported, the rest go on; exit code 3.
    """
    console = Console(json_output=json_output, quiet=quiet)
    given = _sources(pairs, images, video, new, overwrite)
    kept = None if features is None or estimate else (features, features_size)
    changes = read_changes(settings, device=device)
    spec, default_folder = specify(algorithm, config, ratio, changes, kept)
    if estimate:
        _estimate(console, _list_file(pairs, dataset_dir), given, root, spec, shards, workers)
        return
    folder = output_dir or _default_folder(default_folder, given)
    how: dict[str, Any] = {"workers": workers, "overwrite": overwrite}
    sharding = read_sharding(console, shard, executor, shards, executor_settings, **how)
    how |= {"at_once": at_once, "store": store, "precision": precision}
    list_file = _list_file(pairs, dataset_dir)
    if images is not None or video is not None:
        method, ours = method or ("sequential" if video else None), _ours(changes, algorithm)
        photos = images if video is None else _frames(console, video, folder, every, overwrite)
        list_file = _list_photos(console, folder, photos, new, method, window, loop, most, config, ours, kept)
    masked, beside = None if masks is None else (masks, images), None if new is None else folder
    listed = read_list(console, list_file, masks=masked, alpha=alpha, root=root, beside=beside)
    _tell(console, spec, folder, match_list(console, listed, folder, spec, sharding=sharding, **how))


def _sources(
    pairs: Path | None, images: Path | None, video: Path | None, new: Path | None, overwrite: bool
) -> list[str]:
    """The options that say what to match, found to go together."""
    from gcm.errors import UsageError

    sources = {"--pairs": pairs, "--images": images, "--video": video}
    given = [option for option, value in sources.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} both say what to match; give one of them")
    if new is not None and images is None:
        raise UsageError("--new adds photos to those of --images; give both")
    if new is not None and overwrite:
        raise UsageError("--new adds to the results that are there, --overwrite removes them; give one")
    return given


def _list_file(pairs: Path | None, dataset_dir: Path) -> Path:
    from gcm.benchmark.layout import PAIR_LIST

    return pairs if pairs is not None else dataset_dir / PAIR_LIST


def _estimate(
    console: Console,
    list_file: Path,
    given: list[str],
    root: Path | None,
    spec: MatcherSpec,
    shards: int | None,
    workers: int | None,
) -> None:
    """Say what a list will cost; photos and videos have none yet.

    `spec` keeps no maps in a folder: an estimate writes nothing, and measures photos that are not known yet.
    """
    from gcm.errors import UsageError

    if given not in ([], ["--pairs"]):
        raise UsageError(
            f"--estimate takes a list: make one of {given[0]} with 'gcm pairs', and give --pairs"
        )
    estimate_cost(console, read_list(console, list_file, root=root), spec, shards=shards, workers=workers)


def _frames(console: Console, video: Path, folder: Path, every: int, overwrite: bool) -> Path:
    from gcm.scene.video import write_frames

    with console.waiting(f"reading {video.name}"):
        frames = write_frames(video, folder / _FRAMES, every, overwrite=overwrite)
    console.note(f"{video}: {plural(len(frames), 'frame')} in {folder / _FRAMES}")
    return folder / _FRAMES


def _ours(changes: dict[str, Any], algorithm: str) -> dict[str, Any]:
    """What changes of the maps by which the likest are chosen: another matcher shares but the device."""
    return changes if algorithm == "gcm" else {k: v for k, v in changes.items() if k == "device"}


def _list_photos(
    console: Console,
    folder: Path,
    images: Path | None,
    new: Path | None,
    method: PairMethod | None,
    window: int | None,
    loop: bool,
    most: int | None,
    config: str | None,
    changes: dict[str, Any],
    features: tuple[Path, float] | None,
) -> Path:
    """Write a list of pairs of photos, where some are new of those with a new one, and say where it is."""
    from gcm.errors import DatasetError
    from gcm.scene.pair_lists import write_pair_list
    from gcm.scene.photos import list_photos

    assert images is not None
    list_file = folder / (_LIST if new is None else _NEW_LIST)
    if new is None:
        added, photos = None, list_photos(images, console.warn)
    else:
        first = list_photos(new, console.warn, fewest=1)
        below = {photo.path.resolve() for photo in first}
        others = list_photos(images, console.warn, fewest=1)
        photos = first + [photo for photo in others if photo.path.resolve() not in below]
        added = range(len(first))
    chosen, found = choose_pairs(
        photos, console, method, window, loop, most, config, changes=changes, new=added, features=features
    )
    if not found:
        raise DatasetError(f"{new or images}: no pair to match was chosen ({chosen})")
    write_pair_list(list_file, [photo.path for photo in photos], found)
    whose = f"{images}" if added is None else f"{new}: {plural(len(added), 'new photo')} beside {images}"
    console.note(f"{whose}: {plural(len(found), 'pair')} of {len(photos)} photos ({chosen})")
    return list_file


def _tell(console: Console, spec: MatcherSpec, folder: Path, report: Extraction) -> None:
    console.note(
        f"{folder}: {plural(report.done, 'pair')} matched, {report.skipped} there already"
        + (f", {len(report.failed)} FAILED" if report.failed else "")
        + f"; {report.mean_seconds:.2f} s a pair"
    )
    console.document(
        {
            "output_dir": str(folder),
            **spec.describe(),
            "pairs": report.pairs,
            "done": report.done,
            "skipped": report.skipped,
            "failed": report.failed,
            "total_seconds": report.total_seconds,
            "mean_seconds": report.mean_seconds,
        }
    )
    if report.failed:
        raise typer.Exit(PARTIAL if report.done or report.skipped else 1)


def _default_folder(named: str | None, sources: list[str]) -> Path:
    from gcm.errors import UsageError

    if named is None or sources:
        raise UsageError(
            "say where the matches go with --output-dir, as in --output-dir Results/hpatches/mine"
        )
    return Path(named)
