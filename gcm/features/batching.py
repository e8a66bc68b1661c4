"""Matching as generators that ask for features, so that several pairs can have theirs computed together.

What needs features yields a :class:`Request` and is sent the answer, or several and is sent a list::

    pyramid = yield Request(image)
    map0, map1 = yield [Request(image0, "coarsest"), Request(image1, "coarsest")]

What is asked for together is computed together. :func:`run_alone` drives one such generator;
:func:`run_batched` drives several in rounds, and in each round the requests of all are answered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal, TypeAlias, TypeVar

from gcm.features.cache import image_key
from gcm.images.files import RGBImage

__all__ = ["Answerer", "Request", "Work", "run_alone", "run_batched"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Request:
    """Features of an image.

    The answer is a :class:`gcm.features.pyramid.Pyramid`, or the coarsest map alone, a
    :class:`gcm.refinement.maps.DenseMap`.
    """

    image: RGBImage
    """H x W x 3 uint8 RGB; of a warped image, black where it has no content."""
    kind: Literal["pyramid", "coarsest"] = "pyramid"
    original: RGBImage | None = None
    """Of a warped image, what it was warped from: brightness and contrast are measured there."""
    keep: bool = False
    """Remember the answer though the image is warped: it may be asked for again. Others always are."""

    @property
    def remembered(self) -> bool:
        """Whether the answer is worth keeping."""
        return self.original is None or self.keep

    @cached_property
    def key(self) -> bytes:
        """Under which the answer is remembered."""
        return image_key(self.image) + (b"" if self.original is None else b"warped")

    @cached_property
    def name(self) -> tuple[str, bytes, bytes]:
        """Equal for requests of equal answers."""
        return self.kind, self.key, b"" if self.original is None else image_key(self.original)


Asked: TypeAlias = Request | list[Request]

Work: TypeAlias = Generator[Asked, Any, Result]
"""Something that asks for features and at last returns a result."""

Answerer: TypeAlias = Callable[[list[Request]], Sequence[Any]]
"""From the requests of one round to their answers, in order."""


def run_alone(work: Work[Result], answer: Answerer) -> Result:
    """Drive one generator to its end and return its result; raises what it raises."""
    try:
        asked = next(work)
        while True:
            answers = answer(_several(asked))
            asked = work.send(list(answers) if isinstance(asked, list) else answers[0])
    except StopIteration as stop:
        result: Result = stop.value
        return result


def run_batched(works: Sequence[Work[Result]], answer: Answerer) -> list[Result | Exception]:
    """Drive generators side by side; in each round, the requests of all that still run are answered at once.

    Which requests meet depends on the generators alone, so that results repeat.

    Args:
        works: one for each result.
        answer: what it raises is raised in all generators that asked in that round.

    Returns:
        What each generator returned or raised.
    """
    results: dict[int, Result | Exception] = {}
    waiting: dict[int, Asked] = {}

    def advance(number: int, step: Callable[[], Asked]) -> None:
        try:
            waiting[number] = step()
        except StopIteration as stop:
            results[number] = stop.value
        except Exception as error:  # the caller's to raise or to report
            results[number] = error

    for number, work in enumerate(works):
        advance(number, lambda work=work: next(work))  # type: ignore[misc]
    while waiting:
        asked = dict(waiting)
        waiting.clear()
        try:
            answers = iter(answer([request for some in asked.values() for request in _several(some)]))
        except Exception as error:
            for number in asked:
                advance(number, lambda n=number, e=error: works[n].throw(e))  # type: ignore[misc]
            continue
        for number, some in asked.items():
            mine = list(islice(answers, len(_several(some))))
            response = mine if isinstance(some, list) else mine[0]
            advance(number, lambda n=number, r=response: works[n].send(r))  # type: ignore[misc]
    return [results[number] for number in range(len(works))]


def _several(asked: Asked) -> list[Request]:
    return asked if isinstance(asked, list) else [asked]
