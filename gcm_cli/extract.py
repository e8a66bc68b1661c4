"""``gcm extract``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcm_cli.console import PARTIAL, Console, command, plural
from gcm_cli.options import ConfigOption, JsonOption, QuietOption, SetOption, parse_settings
from gcm_cli.pairs import LoopOption, MethodOption, MostOption, PairMethod, WindowOption, choose_pairs
from gcm_cli.sharded import (
    EstimateOption,
    ExecutorOption,
    ExecutorSetOption,
    Sharding,
    ShardOption,
    ShardsOption,
    estimate_cost,
    read_sharding,
)
from gcm_cli.watch import Watch, pair_bar

if TYPE_CHECKING:
    from gcm.benchmark.extract import Extraction
    from gcm.benchmark.pairs import Pair
    from gcm.matchers import MatcherSpec

__all__ = [
    "AlphaOption",
    "MasksOption",
    "OverwriteOption",
    "WorkersOption",
    "extract",
    "match_list",
    "read_list",
    "specify",
]


OutputDirOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder for the matches of this configuration alone.", show_default="the configuration's"
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

_LIST = "pairs.txt"
_FRAMES = "frames"


@command
def extract(
    *,
    config: ConfigOption = None,
    output_dir: OutputDirOption = None,
    dataset_dir: DatasetDirOption = Path("Datasets/hpatches"),
    pairs: PairsOption = None,
    images: ImagesOption = None,
    video: VideoOption = None,
    every: EveryOption = 10,
    masks: MasksOption = None,
    alpha: AlphaOption = False,
    root: RootOption = None,
    method: MethodOption = None,
    window: WindowOption = 5,
    loop: LoopOption = False,
    most: MostOption = 10,
    algorithm: AlgorithmOption = "gcm",
    ratio: RatioOption = None,
    settings: SetOption = None,
    workers: WorkersOption = None,
    at_once: AtOnceOption = None,
    overwrite: OverwriteOption = False,
    shard: ShardOption = None,
    executor: ExecutorOption = None,
    shards: ShardsOption = None,
    executor_settings: ExecutorSetOption = None,
    estimate: EstimateOption = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Match all pairs of a data set or list, or of a folder of photos or a video.

    Finished pairs are skipped: run it again after an interruption.
    A pair that fails is reported, the rest go on, and the exit code is 3.
    """
    from gcm.benchmark.layout import PAIR_LIST

    console = Console(json_output=json_output, quiet=quiet)
    given = _sources(pairs, images, video)
    spec, default_folder = specify(algorithm, config, ratio, parse_settings(settings))
    if estimate:
        listed = read_list(console, _estimated(pairs, dataset_dir, given), root=root)
        estimate_cost(console, listed, spec, shards=shards, workers=workers)
        return
    folder = output_dir or _default_folder(default_folder, given)
    engine_settings = parse_settings(executor_settings, "--executor-set")
    how: dict[str, Any] = {"workers": workers, "overwrite": overwrite}
    sharding = read_sharding(console, shard, executor, shards, engine_settings, **how)
    list_file = pairs if pairs is not None else dataset_dir / PAIR_LIST
    photos = images
    if video is not None:
        photos, method = _frames(console, video, folder, every), method or "sequential"
    if photos is not None:
        list_file = folder / _LIST
        _list_photos(console, photos, list_file, method, window, loop, most, config)
    masked = None if masks is None else (masks, images)
    where: dict[str, Any] = {"masks": masked, "alpha": alpha, "root": root}
    report = match_list(console, list_file, folder, spec, at_once=at_once, sharding=sharding, **how, **where)
    _tell(console, spec, folder, report)


def _sources(pairs: Path | None, images: Path | None, video: Path | None) -> list[str]:
    """The options that say what to match, found to be one at the most."""
    from gcm.errors import UsageError

    sources = {"--pairs": pairs, "--images": images, "--video": video}
    given = [option for option, value in sources.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} both say what to match; give one of them")
    return given


def _estimated(pairs: Path | None, dataset_dir: Path, given: list[str]) -> Path:
    """The list whose cost is to be told."""
    from gcm.benchmark.layout import PAIR_LIST
    from gcm.errors import UsageError

    if given not in ([], ["--pairs"]):
        raise UsageError(
            f"--estimate takes a list: make one of {given[0]} with 'gcm pairs', and give --pairs"
        )
    return pairs if pairs is not None else dataset_dir / PAIR_LIST


def _frames(console: Console, video: Path, folder: Path, every: int) -> Path:
    from gcm.scene.video import write_frames

    with console.waiting(f"reading {video.name}"):
        frames = write_frames(video, folder / _FRAMES, every)
    console.note(f"{video}: {plural(len(frames), 'frame')} in {folder / _FRAMES}")
    return folder / _FRAMES


def _list_photos(
    console: Console,
    images: Path,
    list_file: Path,
    method: PairMethod | None,
    window: int,
    loop: bool,
    most: int,
    config: str | None,
) -> None:
    from gcm.scene.pair_lists import write_pair_list
    from gcm.scene.photos import list_photos

    photos = list_photos(images, console.warn)
    chosen, found = choose_pairs(photos, console, method, window, loop, most, config)
    write_pair_list(list_file, [photo.path for photo in photos], found)
    console.note(f"{images}: {plural(len(found), 'pair')} of {len(photos)} photos ({chosen})")


def read_list(
    console: Console,
    list_file: Path,
    *,
    masks: tuple[Path, Path | None] | None = None,
    alpha: bool = False,
    root: Path | None = None,
) -> list[Pair]:
    """The pairs of a list, after a look whether its files are there; `masks` as of `with_masks`."""
    from gcm.benchmark.pairs import check_files, check_masks, with_masks
    from gcm.benchmark.poses import read_any_pairs

    listed = read_any_pairs(list_file, root)
    for warning in check_files(listed, list_file, root):
        console.warn(warning)
    if masks is not None:
        listed = with_masks(listed, *masks)
        check_masks(listed)
        bare = sum(pair.mask0 is None or pair.mask1 is None for pair in listed)
        if bare:
            console.note(f"{masks[0]}: no mask of a photo of {plural(bare, 'pair')}; all of it counts")
    if alpha:
        listed = [replace(pair, alpha=True) for pair in listed]
        opaque, images = _without_alpha(listed)
        if opaque:
            console.note(f"{opaque} of {plural(images, 'photo')} without an alpha channel; all of it counts")
    return listed


def match_list(
    console: Console,
    list_file: Path,
    folder: Path,
    spec: MatcherSpec,
    *,
    workers: int | None = None,
    at_once: int | None = None,
    overwrite: bool = False,
    masks: tuple[Path, Path | None] | None = None,
    alpha: bool = False,
    root: Path | None = None,
    sharding: Sharding | None = None,
) -> Extraction:
    """Match the pairs of a list into a folder, with a progress bar; `masks` as of `with_masks`."""
    from gcm.benchmark.extract import extract as run
    from gcm.scale.shards import collect_shards

    listed = read_list(console, list_file, masks=masks, alpha=alpha, root=root)
    how: dict[str, Any] = {"workers": workers, "at_once": at_once, "overwrite": overwrite}
    with pair_bar(console) as bar:
        watch = Watch(console, bar, bar.add_task(spec.name, total=len(listed), rate=""), len(listed))
        if sharding is not None:
            report = sharding.run(console, listed, spec, folder, watch, **how)
        else:
            collect_shards(spec, folder, discard=overwrite)
            report = run(listed, spec, folder, on_begin=watch.begin, on_pair=watch.advance, **how)
        watch.close()
        return report


def _without_alpha(pairs: Sequence[Pair]) -> tuple[int, int]:
    """How many of the images of some pairs have no alpha channel, and how many there are."""
    from gcm.errors import ImageError
    from gcm.images.files import read_file_header

    images = {image for pair in pairs for image in (pair.image0, pair.image1)}
    opaque = 0
    for image in images:
        with suppress(ImageError):  # told when it is to be matched
            opaque += not read_file_header(image).has_alpha
    return opaque, len(images)


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


def specify(
    algorithm: str, config: str | None, ratio: float | None, settings: dict[str, Any]
) -> tuple[MatcherSpec, str | None]:
    """The algorithm with its options, and the folder its configuration names."""
    from gcm.config import load_config
    from gcm.errors import UsageError
    from gcm.matchers import matcher_spec

    if algorithm.lower() == "gcm":
        if ratio is not None:
            raise UsageError("--ratio is for sift, orb, akaze and kaze; for gcm use --set ratio_th=[...]")
        loaded = load_config(config, **settings)
        if "device" in settings and loaded.device != "cpu":
            from gcm.features.device import choose_device

            # As with gcm match: one in a file may give way to the CPU, one asked for just now may not.
            choose_device(loaded.device, strict=True)
        return matcher_spec("gcm", {"config": loaded}), loaded.output_directory
    if config is not None:
        raise UsageError(f"--config is for gcm; {algorithm} takes --set KEY=VALUE")
    options = settings if ratio is None else settings | {"ratio": ratio}
    return matcher_spec(algorithm, options), f"Results/hpatches/{algorithm}"


def _default_folder(named: str | None, sources: list[str]) -> Path:
    from gcm.errors import UsageError

    if named is None or sources:
        raise UsageError(
            "say where the matches go with --output-dir, as in --output-dir Results/hpatches/mine"
        )
    return Path(named)
