"""``gcm report``: a page on which people judge matches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gcm_cli.console import Console, command, human_size, plural
from gcm_cli.matching import results_in
from gcm_cli.options import JsonOption, QuietOption
from gcm_cli.outputs import check_outputs

__all__ = ["report"]

_Results = Annotated[
    Path, typer.Argument(metavar="RESULTS", help="Folder that gcm extract or reconstruct wrote into.")
]
_Images = Annotated[Path, typer.Option(metavar="FOLDER", help="The photos that were matched.")]
_Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page, .html.")]


@command
def report(
    results: _Results,
    images: _Images,
    output: _Output = Path("report.html"),
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write one page that shows the matches of all pairs: verdicts, pictures, residuals.

    It holds everything it shows, works without a network, and can be sent to others.
    """
    from gcm.benchmark.layout import CONFIG_FILE
    from gcm.errors import UsageError
    from gcm.scene.collection import read_results
    from gcm.scene.photos import list_photos
    from gcm.scene.report import write_report
    from gcm.storage.yaml_files import read_yaml

    console = Console(json_output=json_output, quiet=quiet)
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output}: a page ends in .html")
    check_outputs({"--output": output})
    results = results_in(results)
    photos = list_photos(images, console.warn)
    pairs = list(read_results(results, photos))
    record = results / CONFIG_FILE
    told = read_yaml(record) if record.is_file() else {}
    algorithm = str(told.get("algorithm", "matches"))
    title = "/".join(results.absolute().parts[-2:])
    with console.progress() as bar:
        task = bar.add_task("looking at pairs", total=len(pairs))
        count = write_report(
            output,
            title,
            algorithm,
            photos,
            pairs,
            lambda: bar.advance(task),
        )
    size = output.stat().st_size
    console.note(f"{output}: {plural(count, 'pair')}, {human_size(size)}")
    console.document({"output": str(output), "pairs": count, "bytes": size})
