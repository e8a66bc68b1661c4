"""The errors `gcm` raises on purpose.

Every message is one line that says what is wrong, where, and how to mend it. The command line
prints it and exits with `exit_code`; library users catch :class:`GCMError` or a child of it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "DatasetError",
    "DependencyError",
    "DownloadError",
    "GCMError",
    "ImageError",
    "InputError",
    "OutputError",
    "UsageError",
    "WeightsError",
    "WrongTypeError",
    "did_you_mean",
    "plainly",
    "to_install",
]


class GCMError(Exception):
    """Base of everything `gcm` raises for a reason the caller can mend."""

    exit_code: int = 1


class UsageError(GCMError):
    """The request itself is wrong: an unknown suffix, a value out of range."""

    exit_code = 2


class WrongTypeError(UsageError, TypeError):
    """An argument of another kind than is asked for, as a name where a pair should be."""


class ConfigError(UsageError):
    """A configuration that cannot be used: unknown key, wrong length, unknown preset."""


class ImageError(GCMError):
    """An image that cannot be read or used."""


class WeightsError(GCMError):
    """Weights that are missing, damaged, or made for another network."""


class DownloadError(GCMError):
    """A file that could not be fetched, or arrived other than promised."""


class DatasetError(GCMError):
    """A data set, pair list or prediction folder that is missing something."""


class InputError(GCMError):
    """A file of results that cannot be read."""


class OutputError(GCMError):
    """A result that could not be written."""


class DependencyError(GCMError):
    """An optional package that the request needs is not installed."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest of `choices`, or ``""`` when none is near."""
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean '{by_lower[near[0]]}'?)" if near else ""


def to_install(extra: str) -> str:
    """Return the command that installs what an extra of `gcm` needs: ``pip install "pycolmap>=4.0"``.

    It names the packages, not ``gcm[extra]``: `gcm` comes from a checkout, and what has its name on PyPI is
    another project. Its quotes hold in every shell, also in that of Windows.
    """
    from importlib.metadata import PackageNotFoundError, requires

    asks = re.compile(rf"""\bextra\s*==\s*['"]{re.escape(extra)}['"]""")
    try:
        lines = [line.partition(";") for line in requires("gcm") or []]
    except PackageNotFoundError:
        lines = []
    packages = [f'"{package.strip()}"' for package, _, condition in lines if asks.search(condition)]
    return f"pip install {' '.join(packages)}" if packages else f'pip install ".[{extra}]" in the checkout'


_PLAIN = (
    ("Value error, ", ""),
    (r", (unable to|got a number) .*", ""),
    ("Input should be ", "must be "),
    ("less than or equal to ", "at most "),
    ("greater than or equal to ", "at least "),
    ("greater than ", "more than "),
    ("a valid integer", "a whole number"),
    ("a valid number", "a number"),
    ("a valid boolean", "true or false"),
    ("a valid string", "text"),
    ("a valid (tuple|list)", "a list of values, as in [1, 2]"),
    (r"a valid dictionary or instance of \w+", "a group of keys, each with its value"),
    (r"(Tuple|List) should have (.*) items? after validation", r"must have \2 values"),
    ("Field required", "a value is missing"),
)
"""How a check of pydantic's says what it found, and how people do."""


def plainly(fault: str) -> str:
    """What pydantic says of a value, for people who set one: it follows the key's name."""
    for theirs, ours in _PLAIN:
        fault = re.sub(theirs, ours, fault)
    return fault
