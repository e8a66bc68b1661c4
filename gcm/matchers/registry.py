"""Matchers by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from pydantic import BaseModel

from gcm.errors import DependencyError, UsageError, did_you_mean
from gcm.matchers.base import OneAfterTheOther, PairMatcher

__all__ = ["GROUP", "MatcherSpec", "list_matchers", "matcher_spec"]

GROUP = "gcm.matchers"
"""Entry-point group that other packages add matchers by."""

_SHIPPED = {
    "gcm": "gcm.matchers.gcm:create",
    "sift": "gcm.matchers.opencv:sift",
    "orb": "gcm.matchers.opencv:orb",
    "akaze": "gcm.matchers.opencv:akaze",
    "kaze": "gcm.matchers.opencv:kaze",
    # Also entry points of this package; named here for a checkout that is not installed.
    "xfeat": "gcm.matchers.learned:xfeat",
    "aliked-lightglue": "gcm.matchers.learned:aliked_lightglue",
    "disk-lightglue": "gcm.matchers.learned:disk_lightglue",
}

_WITHOUT_EFFECT = ("features", "features_size")
"""Options that change no result: where maps are kept."""

Factory = Callable[..., Any]


@dataclass(frozen=True)
class MatcherSpec:
    """A matcher to be made: its name and all its options. Can be sent to other processes."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def create(self) -> PairMatcher:
        """Make it.

        Raises:
            DependencyError: a package it needs is missing.
            GCMError: its options, weights or configuration are wrong.
        """
        try:
            matcher = _factory(self.name)(**self.options)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.name}: {error}") from error
        if not hasattr(matcher, "match_many"):
            return OneAfterTheOther(matcher)
        return cast(PairMatcher, matcher)

    def describe(self) -> dict[str, Any]:
        """Its options as plain values; equal for equal results."""
        plain: dict[str, Any] = {}
        for key, value in self.options.items():
            if key in _WITHOUT_EFFECT:
                continue
            if isinstance(value, BaseModel):
                # Where results go does not change them.
                plain[key] = value.model_dump(mode="json", exclude={"output_directory"})
            else:
                plain[key] = value
        return {"algorithm": self.name, "configuration": plain}


def list_matchers() -> list[str]:
    """Names of the matchers this installation knows, whether or not what they need is installed."""
    return sorted({*_SHIPPED, *_entry_points()})


def matcher_spec(name: str, options: Mapping[str, Any] | None = None) -> MatcherSpec:
    """Check a name and options against what there is, and fill in the defaults.

    Raises:
        UsageError: unknown matcher or option.
        DependencyError: its module cannot be imported.
    """
    factory = _factory(name)
    parameters = inspect.signature(factory).parameters
    chosen = dict(options or {})
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for key in chosen:
        if key not in parameters and not open_ended:
            known = ", ".join(parameters) or "none"
            raise UsageError(
                f"{name}: no option '{key}'{did_you_mean(key, parameters)}; its options: {known}"
            )
    for key, value in chosen.items():
        _check_type(name, key, value, parameters[key].default if key in parameters else None)
    defaults = {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}
    return MatcherSpec(name.lower(), {**defaults, **chosen})


def _check_type(name: str, key: str, value: Any, default: Any) -> None:
    """Refuse what is no number where the default is one."""
    wanted = {int: "a whole number", float: "a number"}.get(type(default))
    fits = isinstance(value, int if isinstance(default, int) else int | float) and not isinstance(value, bool)
    if wanted is not None and not fits:
        raise UsageError(f"{name}: {key} must be {wanted} (not {value!r})")


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name.lower(): point for point in entry_points(group=GROUP)}


def _factory(name: str) -> Factory:
    key = name.lower()
    try:
        if key in _SHIPPED:
            module, _, attribute = _SHIPPED[key].partition(":")
            return cast(Factory, getattr(importlib.import_module(module), attribute))
        point = _entry_points().get(key)
        if point is not None:
            return cast(Factory, point.load())
    except ImportError as error:
        raise DependencyError(f"{name}: cannot be imported ({error}); install what it needs") from error
    known = list_matchers()
    raise UsageError(f"no matcher named '{name}'{did_you_mean(name, known)}; known: {', '.join(known)}")
