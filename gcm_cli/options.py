"""Options that several commands share, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gcm_cli.effects import OnlyFor

__all__ = [
    "INTRINSICS",
    "INTRINSICS_HELP",
    "ConfigOption",
    "DeviceOption",
    "FeaturesOption",
    "FeaturesSizeOption",
    "JsonOption",
    "QuietOption",
    "SetOption",
    "parse_settings",
    "read_changes",
]

INTRINSICS = "FX,FY,CX,CY|F|FILE|exif"
"""What the commands that take intrinsics take, see :func:`gcm.scene.read_intrinsics`."""
INTRINSICS_HELP = (
    "The camera of all photos: pixels of the photo as it lies in its file, pixel centres at integers; a "
    "focal length; a file with a 3 x 3 matrix, JSON with K; or exif. Of each photo: JSON by its name, "
    "COLMAP's cameras.txt with images.txt beside it, their folder, or hloc's list."
)

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "--preset",
        "-c",
        metavar="NAME|FILE",
        help="A preset (the default: 'default') or a YAML file.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the configuration; repeatable."),
]
FeaturesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Keep what the network makes of each photo, for later runs; of gcm's own matcher.",
    ),
]
FeaturesSizeOption = Annotated[
    float,
    typer.Option(
        metavar="GIB", min=0.001, help="What --features may take; what was not used for longest goes."
    ),
    OnlyFor("--features", lambda given: given["features"] is not None),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda, cuda:1, mps.", show_default="the best there is"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No messages, no progress, no tables.")]


def read_changes(settings: Sequence[str] | None, **options: Any) -> dict[str, Any]:
    """Keys of the configuration that ``--set``, or options of their own, change."""
    return parse_settings(settings) | {key: value for key, value in options.items() if value is not None}


def parse_settings(settings: Sequence[str] | None, option: str = "--set") -> dict[str, Any]:
    """Read ``--set KEY=VALUE`` options; values as in YAML (``[0.9, 1.0]``, ``true``, ``cpu``).

    Args:
        settings: what follows the options.
        option: their name.

    Raises:
        UsageError: no key, or a value that is not YAML.
    """
    import yaml

    from gcm.errors import UsageError

    example = "max_side=1200" if option == "--set" else "num_cpus=8"
    values: dict[str, Any] = {}
    for setting in settings or []:
        key, equals, text = setting.partition("=")
        key = key.strip().replace("-", "_")
        if not key or not equals:
            raise UsageError(f"{option} {setting}: write KEY=VALUE, as in {option} {example}")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(
                f"{option} {setting}: the value cannot be read ({' '.join(str(error).split())})"
            ) from error
    return values
