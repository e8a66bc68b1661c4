"""``gcm distill RECIPE``: train a descriptor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcm.errors import UsageError
from gcm_cli.console import Console, command, plural
from gcm_cli.options import DeviceOption, JsonOption, QuietOption, parse_settings

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from gcm.distillation.real_sources import OnPrepare, Preparation
    from gcm.distillation.recipe import DistillRecipe
    from gcm.distillation.trainer import TrainingProgress

__all__ = ["distill"]


@command
def distill(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name or a YAML file.")],
    photos: Annotated[Path, typer.Option(metavar="DIR", help="Training photos, searched recursively.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="The run's folder.")
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw samples of what it would see, and do not train."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="How many, in place of the recipe's.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a key of the recipe, as augmentation.blur=3.",
        ),
    ] = None,
    device: DeviceOption = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare crops.")] = 1,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train one of our networks, or a patch descriptor, on single photos.

    A run that was stopped, by Ctrl-C too, goes on where it was. The folder
    then holds the weights (student.safetensors), the curve (log.csv), the
    recipe and the checkpoint.

    Recipes context and attention learn from real pairs of photos, too:
    --set rgbd.folders=[DIR] (RGB-D sequences with poses), --set
    collections.folders=[DIR] (photos, a place a folder; extra lightglue).

    On several GPUs:
    torchrun --nproc-per-node 4 -m gcm_cli distill RECIPE ... --device cuda
    """
    from gcm.config import config_folder
    from gcm.distillation import find_recipe, is_leader, load_recipe

    leads = is_leader()
    console = Console(json_output=json_output and leads, quiet=quiet or not leads)
    changes = parse_settings(settings) | ({} if steps is None else {"steps": steps})
    # Before torch is imported: all that may be mistyped.
    chosen = load_recipe(find_recipe(recipe, config_folder() / "distill"), changes)
    if preview is not None:
        _preview(console, chosen, photos, preview)
        return
    if output is None:
        raise UsageError("give the run's folder: --output DIR (or --preview FILE to look at samples)")
    student, latest = _train(console, chosen, photos, output, device, workers)
    if leads:
        _report(console, chosen, student, latest)


def _report(console: Console, recipe: DistillRecipe, student: Path, latest: TrainingProgress | None) -> None:
    """Say where the weights are; `latest` is None where the run was finished before."""
    output = student.parent
    if latest is None:
        console.note(f"{output}: was finished already")
    else:
        console.note(f"held-out loss {latest.validation_loss:.4f} after {plural(latest.step, 'step')}")
    console.note(f"weights: {student}")
    console.document(
        {
            "weights": student,
            "steps": recipe.steps,
            "validation_loss": None if latest is None else latest.validation_loss,
        }
    )


def _preview(console: Console, recipe: DistillRecipe, photos: Path, file: Path) -> None:
    """Write a contact sheet of samples."""
    from gcm.distillation.preview import contact_sheet
    from gcm.images import write_image

    with console.progress() as bar:
        sheet = contact_sheet(recipe, photos, _preparation(console, bar))
    write_image(file, sheet)
    console.note(f"samples: {file}")
    console.document({"preview": file})


def _preparation(console: Console, bar: Progress) -> OnPrepare:
    """Shows what comes before the first step, each kind of it as a bar of its own."""
    tasks: dict[str, TaskID] = {}

    def show(preparation: Preparation) -> None:
        activity, done, total = preparation.activity, preparation.done, preparation.total
        if preparation.note:
            console.note(preparation.note)
        if activity not in tasks:
            tasks[activity] = bar.add_task(activity, total=total)
        bar.update(tasks[activity], completed=done, total=total, visible=done < total)

    return show


def _train(
    console: Console, recipe: DistillRecipe, photos: Path, output: Path, device: str | None, workers: int
) -> tuple[Path, TrainingProgress | None]:
    """Train with a bar; the weights, and where the run stood last, None when it was finished already."""
    from gcm.distillation import distill as train

    latest: TrainingProgress | None = None
    with console.progress() as bar:
        task = bar.add_task("distilling", total=recipe.steps)
        prepare = _preparation(console, bar)

        def show(progress: TrainingProgress) -> None:
            nonlocal latest
            if latest is None:  # the time left is that of the steps that are
                bar.reset(task, completed=progress.step - 1)
            latest = progress
            text = f"loss {progress.training_loss:.4f}"
            if progress.validation_loss == progress.validation_loss:
                text += f", held out {progress.validation_loss:.4f}"
            bar.update(task, completed=progress.step, description=text)

        try:
            student = train(
                recipe,
                photos,
                output,
                device=device,
                workers=workers,
                on_progress=show,
                on_prepare=prepare,
            )
        except KeyboardInterrupt:
            if latest is not None:
                console.note(f"stopped after step {latest.step}; the same command goes on from there")
            raise
    return student, latest
