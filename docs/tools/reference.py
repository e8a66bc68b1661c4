"""The pages of the commands and of the Python API."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

__all__ = ["api_page", "commands_page"]

ROOT = Path(__file__).resolve().parents[2]

ROOMS = {
    "Match": ["gcm.match", "gcm.Matcher", "gcm.Matches"],
    "Configuration": ["gcm.load_config", "gcm.MatcherConfig", "gcm.list_backbones"],
    "Geometry of two views": ["gcm.estimation"],
    "Pictures": ["gcm.viz"],
    "Images": ["gcm.images.read_image", "gcm.images.write_image", "gcm.images.LoadedImage"],
    "Many photos": ["gcm.scene", "gcm.export"],
    "Benchmarks": ["gcm.evaluate", "gcm.metrics"],
    "Matchers of others": ["gcm.matchers.base.PairMatcher"],
    "Errors": ["gcm.errors"],
}
"""What the page of the API shows, under which headings."""

MODULES = {"gcm.estimation", "gcm.viz", "gcm.scene", "gcm.export", "gcm.metrics", "gcm.errors"}
"""Names of :data:`ROOMS` whose public names are shown, without a heading of their own."""


@dataclass(frozen=True)
class _Option:
    """An argument or option of a command."""

    name: str
    annotation: Any
    info: ArgumentInfo | OptionInfo
    default: Any

    @property
    def is_argument(self) -> bool:
        return isinstance(self.info, ArgumentInfo)

    @property
    def plain(self) -> Any:
        """The annotation without `| None`."""
        if get_origin(self.annotation) in (Union, UnionType):
            return next(part for part in get_args(self.annotation) if part is not type(None))
        return self.annotation

    @property
    def choices(self) -> list[str]:
        """What may be given, where that is one of a few words."""
        if get_origin(self.plain) is Literal:
            return [str(choice) for choice in get_args(self.plain)]
        return (self.info.metavar or "").split("|") if "|" in (self.info.metavar or "") else []

    @property
    def value(self) -> str:
        """Stands for what is given."""
        kinds = {int: "N", float: "X", str: "TEXT"}
        return self.info.metavar or kinds.get(self.plain, "PATH")


def commands_page() -> str:
    """All commands and their options, as `--help` tells them."""
    from gcm_cli.app import app

    lines = ["# Commands", "", "Every command tells the same with `--help`.", ""]
    for entry in app.registered_commands:
        assert entry.callback is not None
        options = list(_options(entry.callback))
        arguments = [o.value if o.default is inspect.Parameter.empty else f"[{o.value}]"
                     for o in options if o.is_argument]  # fmt: skip
        lines += [f"## `gcm {entry.name}`", "", *_told(entry.callback), ""]
        lines += ["```console", " ".join(["gcm", str(entry.name), *arguments, "[OPTIONS]"]), "```", ""]
        lines += ["| option | meaning |", "| --- | --- |"]
        lines += [f"| {_names(option)} | {_meaning(option)} |" for option in options]
        lines.append("")
    return "\n".join(lines)


def _options(callback: Callable[..., Any]) -> Iterator[_Option]:
    hints = get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        annotation, *metadata = get_args(hints[name])
        info = next(m for m in metadata if isinstance(m, ArgumentInfo | OptionInfo))
        if not info.hidden:
            yield _Option(name, annotation, info, parameter.default)


def _told(callback: Callable[..., Any]) -> list[str]:
    text = inspect.getdoc(callback) or ""
    return re.sub(r"(?<![\w`-])(--?[a-z][\w-]*|\w+_\w+)", r"`\1`", text).splitlines()


def _names(option: _Option) -> str:
    if option.is_argument:
        return f"`{option.value}`"
    # Typer takes the first name for the default where that stands elsewhere.
    told = (option.info.default, *(option.info.param_decls or ()))
    given = [name for name in told if isinstance(name, str) and name.startswith("-")]
    names = sorted(given or [f"--{option.name.replace('_', '-')}"], key=len, reverse=True)
    if option.plain is bool:
        return ", ".join(f"`{name}`" for name in names[0].split("/"))
    value = option.choices or [option.value]
    return ", ".join(f"`{name}`" for name in names) + " " + " or ".join(f"`{v}`" for v in value)


def _meaning(option: _Option) -> str:
    text = (option.info.help or "").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    shown = option.info.show_default
    if isinstance(shown, str):
        return f"{text} Unless given: {shown}."
    if option.default in (inspect.Parameter.empty, None, False, ()):
        return text
    return f"{text} Unless given: `{option.default}`."


def api_page() -> str:
    """The public names, with what their docstrings say."""
    lines = ["# Python API", "", "Names are imported when first used: `import gcm` costs nothing.", ""]
    for heading, names in ROOMS.items():
        lines += [f"## {heading}", ""]
        for name in names:
            stub = ROOT / name.replace(".", "/") / "__init__.pyi"
            if name in MODULES and stub.is_file():  # names of lazy rooms stand in a stub
                lines += [
                    f"::: {name}.{part}\n" for part in re.findall(r" as (\w+)$", stub.read_text(), re.M)
                ]
                continue
            lines.append(f"::: {name}")
            if name in MODULES:
                lines += [
                    "    options:",
                    "      show_root_heading: false",
                    "      show_root_toc_entry: false",
                ]
            lines.append("")
    return "\n".join(lines)
