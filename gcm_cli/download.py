"""``gcm download``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcm_cli.console import Console, command, plural
from gcm_cli.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress

    from gcm.benchmark.hpatches import Source

__all__ = ["download"]


@command
def download(
    dataset: Annotated[str, typer.Argument(metavar="[hpatches]", help="What to fetch.")] = "hpatches",
    *,
    dest: Annotated[Path, typer.Option(help="Folder for the sequences.")] = Path(
        "hpatches-sequences-release"
    ),
    archive: Annotated[
        Path | None, typer.Option(help="An archive already at hand (zip or tar.gz); nothing is downloaded.")
    ] = None,
    url: Annotated[
        list[str] | None, typer.Option(help="Another address to fetch from; repeatable, tried in order.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="SHA-256 the file at --url must have.")] = None,
    remove_archive: Annotated[
        bool, typer.Option("--remove-archive", help="Remove it once unpacked.")
    ] = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch the HPatches sequences (1.3 GB) and unpack the 108 of the benchmark.

    Interrupted? Run it again: it goes on where it stopped.
    """
    from gcm.benchmark.hpatches import SEQUENCES, is_complete

    _check_usage(dataset, archive, url, sha256)
    console = Console(json_output=json_output, quiet=quiet)
    if archive is None and is_complete(dest):
        sequences = list(SEQUENCES)
        console.note(f"{dest}: all {len(SEQUENCES)} sequences are there already")
    else:
        sequences = _fetch_and_unpack(console, dest, archive, _sources(url, sha256), remove_archive)
    console.note(f"next: gcm organize-hpatches {shlex.quote(str(dest))}")
    console.document(
        {"folder": str(dest), "sequences": sequences, "missing": sorted(set(SEQUENCES) - set(sequences))}
    )


def _check_usage(dataset: str, archive: Path | None, urls: list[str] | None, sha256: str | None) -> None:
    """Refuse what cannot work before anything is fetched."""
    from gcm.errors import UsageError, did_you_mean
    from gcm.storage import is_sha256, is_web_address

    if dataset != "hpatches":
        raise UsageError(
            f"no data set named '{dataset}'{did_you_mean(dataset, ['hpatches'])}; known: hpatches"
        )
    if archive is not None and urls:
        raise UsageError("give --archive or --url, not both")
    if sha256 is not None and not urls:
        raise UsageError("--sha256 is the hash of the file at --url; give that too")
    if sha256 is not None and not is_sha256(sha256):
        raise UsageError(
            f"--sha256 {sha256}: a SHA-256 is 64 hex digits (0-9, a-f); 'sha256sum FILE' prints a file's"
        )
    for url in urls or []:
        if not is_web_address(url):
            raise UsageError(
                f"--url {url}: not an http or https address; fetch the file by other means and give it "
                "with --archive FILE"
            )


def _fetch_and_unpack(
    console: Console, dest: Path, archive: Path | None, sources: Sequence[Source], remove_archive: bool
) -> list[str]:
    """The sequences that lie in `dest` afterwards."""
    from gcm.benchmark.hpatches import HIGH_RESOLUTION, SEQUENCES, fetch_hpatches, unpack_hpatches

    fetched = archive is None
    if archive is None:
        with _bar(console) as bar:
            task = bar.add_task("downloading", total=None)
            archive = fetch_hpatches(
                dest.parent,
                sources=sources,
                on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    with _bar(console) as bar:
        task = bar.add_task("unpacking", total=None)
        sequences = unpack_hpatches(
            archive, dest, on_progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    if fetched and remove_archive:
        archive.unlink()
    missing = len(set(SEQUENCES) - set(sequences))
    console.note(
        f"{dest}: {plural(len(sequences), 'sequence')}, without the {len(HIGH_RESOLUTION)} of high resolution"
        + (f"; {missing} of the benchmark's {len(SEQUENCES)} are not in the archive" if missing else "")
    )
    return sequences


def _sources(urls: list[str] | None, sha256: str | None) -> Sequence[Source]:
    from urllib.parse import urlsplit

    from gcm.benchmark.hpatches import SOURCES, Source

    if not urls:
        return SOURCES
    return [Source(Path(urlsplit(url).path).name or "hpatches", (url,), sha256) for url in urls]


def _bar(console: Console) -> Progress:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    return console.progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
