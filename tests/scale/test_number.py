"""Which shard: written by a person, or told by a scheduler."""

from __future__ import annotations

import pytest

from gcm.errors import UsageError
from gcm.scale.number import ShardNumber, scheduled_number


def test_written_and_read() -> None:
    number = ShardNumber.parse("3/64")
    assert (number.index, number.count, str(number), number.folder) == (3, 64, "3/64", "3-of-64")
    assert ShardNumber.of_folder(number.folder) == number
    assert ShardNumber.of_folder("jobs") is None


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "-1/4", "1/0", ""])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        ShardNumber.parse(text)


def slurm(task: int, low: int, high: int, count: int, step: int = 1) -> dict[str, str]:
    values = {"ID": task, "MIN": low, "MAX": high, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{key}": str(value) for key, value in values.items()}


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, None),
        (slurm(0, 0, 63, 64), "1/64"),
        (slurm(64, 1, 64, 64), "64/64"),
        (slurm(5, 1, 9, 5, step=2), "3/5"),
        (slurm(4, 4, 4, 1), None),
        ({"SGE_TASK_ID": "2", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "4", "SGE_TASK_STEPSIZE": "1"}, "2/4"),
        ({"SGE_TASK_ID": "undefined", "SGE_TASK_FIRST": "undefined", "SGE_TASK_LAST": "undefined"}, None),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "8"}, "1/8"),
        ({"CLOUD_RUN_TASK_INDEX": "3", "CLOUD_RUN_TASK_COUNT": "4"}, "4/4"),
        ({"SLURM_JOB_ID": "7"}, None),
    ],
)
def test_schedulers(environment: dict[str, str], told: str | None) -> None:
    found = scheduled_number(environment)
    assert (None if found is None else str(found[0])) == told


def test_an_array_with_gaps_is_not_guessed_at() -> None:
    with pytest.raises(UsageError, match=r"--shard \$SLURM_ARRAY_TASK_ID/"):
        scheduled_number(slurm(9, 3, 9, 2))


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (
            {"SLURM_ARRAY_TASK_ID": "3"},
            "TASK_MIN is missing beside SLURM_ARRAY_TASK_ID; say which",
        ),
        ({**slurm(3, 0, 3, 4), "SLURM_ARRAY_TASK_ID": "abc"}, "SLURM_ARRAY_TASK_ID is 'abc', no number"),
        ({**slurm(3, 0, 3, 4), "SLURM_ARRAY_TASK_ID": "-1"}, "is '-1', no number"),
        (slurm(3, 0, 2, 3), "SLURM_ARRAY_TASK_ID is of none of the 3 tasks of its array"),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "2"}, "AWS_BATCH_JOB_ARRAY_SIZE is missing beside"),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "4", "AWS_BATCH_JOB_ARRAY_SIZE": "4"}, "is of none of the 4 tasks"),
    ],
)
def test_an_array_that_says_half_of_it_is_told(environment: dict[str, str], told: str) -> None:
    """Were it left aside, each of its tasks would match the whole list."""
    with pytest.raises(UsageError, match=told):
        scheduled_number(environment)
