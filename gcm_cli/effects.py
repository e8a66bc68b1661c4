"""Options that have an effect only beside others: given without these they are refused, not ignored."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from typer.models import OptionInfo

from gcm.errors import UsageError

__all__ = ["OnlyFor", "refuse_without_effect"]


@dataclass(frozen=True)
class OnlyFor:
    """Stands in an option's ``Annotated``, and says what the option is for."""

    what: str
    """As the options that must be given are written."""
    when: Callable[[Mapping[str, Any]], bool]
    """Of the command's arguments by name, whether they are."""


def refuse_without_effect(command: Callable[..., object], given: Mapping[str, Any]) -> None:
    """Refuse an option that is for others than those given.

    Args:
        command: whose annotations say what its options are for.
        given: its arguments by name.

    Raises:
        UsageError: naming the first such option, and what it is for.
    """
    usual = inspect.signature(command).parameters
    for name, hint in get_type_hints(command, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        only = next((mark for mark in marks if isinstance(mark, OnlyFor)), None)
        if only is None or given.get(name) == usual[name].default or only.when(given):
            continue
        raise UsageError(f"{_written(name, marks)} is for {only.what}; it would have no effect here")


def _written(name: str, marks: tuple[object, ...]) -> str:
    """An option as people write it; its first name is where Typer has a default outside of ``Annotated``."""
    options = (mark for mark in marks if isinstance(mark, OptionInfo))
    declared = (text for option in options for text in (option.default, *(option.param_decls or ())))
    return next((text for text in declared if isinstance(text, str)), f"--{name.replace('_', '-')}")
