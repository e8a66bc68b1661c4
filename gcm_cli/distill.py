"""``gcm distill RECIPE``: train a descriptor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gcm_cli.console import Console, command
from gcm_cli.options import JsonOption, QuietOption

__all__ = ["distill"]


@command
def distill(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name or a YAML file.")],
    photos: Annotated[Path, typer.Option(metavar="DIR", help="Training photos, searched recursively.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The run's folder.")],
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare crops.")] = 1,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a patch descriptor from a teacher, on single photos.

    A run that was stopped goes on where it was. The folder then holds the weights
    (student.safetensors), the curve (log.csv), the recipe and the checkpoint.

    On several GPUs: torchrun --nproc-per-node 4 -m gcm_cli distill RECIPE ... --device cuda
    """
    from gcm.config import config_folder
    from gcm.distillation.process_group import is_leader
    from gcm.distillation.recipe import find_recipe, load_recipe
    from gcm.distillation.trainer import Progress
    from gcm.distillation.trainer import distill as train

    leads = is_leader()
    console = Console(json_output=json_output and leads, quiet=quiet or not leads)
    chosen = load_recipe(find_recipe(recipe, config_folder() / "distill"))
    latest: Progress | None = None
    with console.progress() as bar:
        task = bar.add_task("distilling", total=chosen.steps)

        def show(progress: Progress) -> None:
            nonlocal latest
            latest = progress
            text = f"loss {progress.training_loss:.4f}"
            if progress.validation_loss == progress.validation_loss:
                text += f", held out {progress.validation_loss:.4f}"
            bar.update(task, completed=progress.step, description=text)

        student = train(chosen, photos, output, device=device, workers=workers, on_progress=show)
    if not leads:
        return
    if latest is None:
        console.note(f"{output}: was finished already")
    else:
        console.note(f"held-out loss {latest.validation_loss:.4f} after {latest.step} steps")
    console.note(f"weights: {student}")
    console.document(
        {
            "weights": student,
            "steps": chosen.steps,
            "validation_loss": None if latest is None else latest.validation_loss,
        }
    )
