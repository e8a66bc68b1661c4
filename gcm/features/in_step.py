"""Several functions that go on side by side and have their questions answered together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

__all__ = ["in_step"]

Question = TypeVar("Question")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


def in_step(
    works: Sequence[Callable[[Callable[[Question], Answer]], Result]],
    answer: Callable[[list[Question]], list[Answer]],
) -> list[Result | BaseException]:
    """Run functions in a thread each; whenever all that still run have asked something, answer them at once.

    Which questions meet depends on the functions alone and not on their speed, so that results repeat.

    Args:
        works: each is given a function that asks a question and waits for its answer.
        answer: from the questions of one round, in the order of `works`, to their answers. What it raises
            is raised in all that asked.

    Returns:
        What each of `works` returned or raised.
    """
    changed = threading.Condition()
    asked: dict[int, Question] = {}
    answered: dict[int, Answer | BaseException] = {}
    results: dict[int, Result | BaseException] = {}

    def ask(number: int, question: Question) -> Answer:
        with changed:
            asked[number] = question
            changed.notify_all()
            changed.wait_for(lambda: number in answered)
            found = answered.pop(number)
        if isinstance(found, BaseException):
            raise found
        return found

    def run(number: int) -> None:
        result: Any
        try:
            result = works[number](partial(ask, number))
        except BaseException as error:  # the caller's to raise or to report
            result = error
        with changed:
            results[number] = result
            changed.notify_all()

    # Daemons: should `answer` be interrupted from the keyboard, nothing waits for an answer to come.
    threads = [threading.Thread(target=run, args=(k,), daemon=True) for k in range(len(works))]
    for thread in threads:
        thread.start()
    while True:
        with changed:
            changed.wait_for(lambda: len(asked) + len(results) == len(works))
            round_ = dict(sorted(asked.items()))
            asked.clear()
        if not round_:
            break
        found: list[Any]
        try:
            found = answer(list(round_.values()))
        except Exception as error:
            found = [error] * len(round_)
        with changed:
            answered.update(zip(round_, found, strict=True))
            changed.notify_all()
    for thread in threads:
        thread.join()
    return [results[k] for k in range(len(works))]
