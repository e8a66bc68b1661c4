"""Which shard of how many: as a person writes it, and as schedulers say it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gcm.errors import UsageError

__all__ = ["ShardNumber", "scheduled_number"]


@dataclass(frozen=True, order=True)
class ShardNumber:
    """Shard `index` of `count`, from 1 on."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"{self.index}-of-{self.count}"

    @classmethod
    def of_folder(cls, name: str) -> ShardNumber | None:
        """The inverse of :attr:`folder`; None for another name."""
        match = re.fullmatch(r"(\d+)-of-(\d+)", name)
        return None if match is None else cls(int(match[1]), int(match[2]))

    @classmethod
    def parse(cls, text: str) -> ShardNumber:
        """Read ``3/64``.

        Raises:
            UsageError: not of this form, or not from 1 to the number of shards.
        """
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if match is None:
            raise UsageError(f"--shard {text}: write I/N, as in --shard 3/64 for the third of 64")
        index, count = int(match[1]), int(match[2])
        if not 1 <= index <= count:
            raise UsageError(f"--shard {text}: there are shards 1 to {count} of {count}")
        return cls(index, count)


_ARRAYS = {
    "SLURM_ARRAY_TASK_ID": ("SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP"),
    "SGE_TASK_ID": ("SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
}
"""By the variable with a task's number those with the first, the last and the step."""
_FROM_ZERO = {
    "AWS_BATCH_JOB_ARRAY_INDEX": "AWS_BATCH_JOB_ARRAY_SIZE",
    "CLOUD_RUN_TASK_INDEX": "CLOUD_RUN_TASK_COUNT",
}
"""By the variable with a task's number, which counts from 0, that with how many there are."""


def scheduled_number(environment: Mapping[str, str] | None = None) -> tuple[ShardNumber, str] | None:
    """The shard that a scheduler's array gives this process, and the variable that says so.

    Known are the arrays of Slurm, Grid Engine, AWS Batch and Cloud Run. None outside of an array, and in one
    of a single task.

    Args:
        environment: variables; those of the process unless given.

    Raises:
        UsageError: an array with gaps, as one that does some tasks again: its shards cannot be told; nor can
            they where a variable is missing, or no number of the array.
    """
    values = os.environ if environment is None else environment
    for variable, (first, last, step) in _ARRAYS.items():
        if values.get(variable, "undefined") == "undefined":  # so says Grid Engine outside of an array
            continue
        task, low, high = _numbers(values, variable, first, last)
        stride = int(values.get(step) or 1)
        count = (high - low) // stride + 1
        listed = values.get("SLURM_ARRAY_TASK_COUNT", "") if variable.startswith("SLURM") else ""
        if listed.isdigit() and int(listed) != count:
            raise UsageError(
                f"{variable}={task} is of an array with gaps; say which shard it is, "
                f"as in --shard ${variable}/{high}"
            )
        return _of_several((task - low) // stride + 1, count, variable)
    for variable, size in _FROM_ZERO.items():
        if variable in values:
            index, count = _numbers(values, variable, size)
            return _of_several(index + 1, count, variable)
    return None


_SAY_WHICH = "say which shard this is, as in --shard 3/64"


def _numbers(values: Mapping[str, str], *variables: str) -> list[int]:
    """What the variables of an array say."""
    for name in variables:
        given = values.get(name)
        if given is None or not given.isdigit():
            told = f"is missing beside {variables[0]}" if given is None else f"is {given!r}, no number"
            raise UsageError(f"{name} {told}; {_SAY_WHICH}, or unset {variables[0]}")
    return [int(values[name]) for name in variables]


def _of_several(index: int, count: int, variable: str) -> tuple[ShardNumber, str] | None:
    if not 1 <= index <= count:
        raise UsageError(f"{variable} is of none of the {count} tasks of its array; {_SAY_WHICH}")
    return (ShardNumber(index, count), variable) if count > 1 else None
