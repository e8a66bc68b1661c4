"""``gcm extract``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcm_cli.console import PARTIAL, Console, command
from gcm_cli.options import ConfigOption, JsonOption, QuietOption, SetOption, parse_settings

if TYPE_CHECKING:
    from rich.progress import Progress

    from gcm.algorithms import AlgorithmSpec
    from gcm.extraction import Extraction

__all__ = ["extract"]


@command
def extract(
    config: ConfigOption = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(help="Folder for the matches of this configuration alone.", show_default="the configuration's"),
    ] = None,
    dataset_dir: Annotated[
        Path, typer.Option(help="Organised data set: a folder with image_pairs.txt.")
    ] = Path("Datasets/hpatches"),
    pairs: Annotated[
        Path | None, typer.Option(help="Any list of pairs: image 0, image 1, and optionally a homography file.")
    ] = None,
    algorithm: Annotated[
        str, typer.Option(help="gcm, sift, orb, akaze, kaze, xfeat, aliked-lightglue, ... or an installed one.")
    ] = "gcm",
    ratio: Annotated[float | None, typer.Option(help="Ratio threshold of sift, orb, akaze, kaze.")] = None,
    settings: SetOption = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes to match in.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove the folder's results first.")] = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Match all pairs of a data set or list.

    Finished pairs are skipped: run it again after an interruption. A pair that fails is reported and the
    rest go on; the exit code is then 3.
    """
    from gcm.datasets.hpatches import PAIR_LIST
    from gcm.datasets.pairs import read_pairs
    from gcm.extraction import extract as run

    console = Console(json_output=json_output, quiet=quiet)
    spec, default_folder = _specify(algorithm, config, ratio, parse_settings(settings))
    listed = read_pairs(pairs if pairs is not None else dataset_dir / PAIR_LIST)
    folder = output_dir or _default_folder(default_folder, dataset_dir, pairs)
    with _bar(console) as bar:
        task = bar.add_task(spec.name, total=len(listed), rate="")
        started = bar.get_time()
        finished = 0

        def advance(outcome: Any) -> None:
            nonlocal finished
            finished += 1
            rate = finished / max(bar.get_time() - started, 1e-9)
            text = f"{rate:.1f} pairs/s" if rate >= 1 else f"{1 / rate:.1f} s/pair"
            bar.update(task, completed=len(listed) - pending + finished, rate=text)
            if outcome.error:
                console.warn(f"{outcome.pair.name}: {outcome.error}")

        def begin(count: int) -> None:
            nonlocal pending, started
            pending, started = count, bar.get_time()
            bar.update(task, completed=len(listed) - count)

        pending = len(listed)
        report = run(
            listed, spec, folder, workers=workers, overwrite=overwrite, on_begin=begin, on_pair=advance
        )
    _tell(console, spec, folder, report)


def _tell(console: Console, spec: AlgorithmSpec, folder: Path, report: Extraction) -> None:
    console.note(
        f"{folder}: {report.done} pairs matched, {report.skipped} were there already"
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


def _specify(
    algorithm: str, config: str | None, ratio: float | None, settings: dict[str, Any]
) -> tuple[AlgorithmSpec, str | None]:
    """The algorithm with its options, and the folder its configuration names."""
    from gcm.algorithms import algorithm_spec
    from gcm.config import load_config
    from gcm.errors import UsageError

    if algorithm.lower() == "gcm":
        if ratio is not None:
            raise UsageError("--ratio is for sift, orb, akaze and kaze; for gcm use --set ratio_th=[...]")
        loaded = load_config(config, **settings)
        return algorithm_spec("gcm", {"config": loaded}), loaded.output_directory
    if config is not None:
        raise UsageError(f"--config is for gcm; {algorithm} takes --set KEY=VALUE")
    options = settings if ratio is None else settings | {"ratio": ratio}
    return algorithm_spec(algorithm, options), f"Results/hpatches/{algorithm}"


def _default_folder(named: str | None, dataset_dir: Path, pairs: Path | None) -> Path:
    from gcm.errors import UsageError

    if named is None or pairs is not None:
        raise UsageError("say where the matches go with --output-dir, as in --output-dir Results/hpatches/mine")
    return Path(named)


def _bar(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return console.progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
