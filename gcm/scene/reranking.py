"""How much two photos have in common, cell by cell.

What shows the same in two photos are cells that are each other's likest. Such pairs of cells are found in any
two photos, so each counts by how much liker its cells are than what an unrelated photo offers them: a cell of
sky finds its like everywhere and counts for nothing, a cell of a sculpture only where that stands. Mutual
nearest neighbours as evidence are common in image retrieval; that a collection's own photos say what is
nothing special is the idea of its weights by frequency (Sivic and Zisserman, ICCV 2003).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["cells_in_common"]

_OTHERS = 32
"""Photos, evenly spread over the list, that stand for unrelated ones."""
_TOLD = 100
"""Comparisons between two reports."""


def cells_in_common(
    cells: Sequence[NDArray[np.floating[Any]]],
    pairs: NDArray[np.int64],
    device: torch.device | str = "cpu",
    on_compared: Callable[[int, int], object] | None = None,
) -> NDArray[np.float64]:
    """How much the photos of each pair have in common; 0 for nothing, and no upper bound.

    A cell is worth how much liker it is to its counterpart than to the likest cell of an unrelated photo, at
    the median of some photos of the list; nothing where it is less. A pair of cells is worth the mean of its
    two.

    Args:
        cells: of each of N photos, K x C unit descriptors; K differs.
        pairs: M x 2, the photos to compare.
        device: where to compute.
        on_compared: called now and then with how many comparisons are done, and how many there will be.

    Returns:
        M sums over pairs of cells that are each other's likest.
    """
    compared = np.unique(pairs).tolist()
    total, done = len(compared) + len(pairs), 0

    def tell() -> None:
        nonlocal done
        done += 1
        if on_compared is not None and (done % _TOLD == 0 or done == total):
            on_compared(done, total)

    spread = np.linspace(0, len(cells) - 1, min(_OTHERS, len(cells))).round().astype(int)
    others = {int(k): _on(cells[k], device) for k in spread}
    usual: dict[int, Tensor] = {}
    worth = np.zeros(len(pairs))
    with torch.inference_mode(), _one_thread():
        for k in compared:
            usual[k] = _usual_likeness(_on(cells[k], device), [v for o, v in others.items() if o != k])
            tell()
        for number, (i, j) in enumerate(pairs.tolist()):
            alike = _on(cells[i], device) @ _on(cells[j], device).T
            worth[number] = _worth(alike, usual[i], usual[j])
            tell()
    return worth


@contextmanager
def _one_thread() -> Iterator[None]:
    """On a processor, a product this small is done before a second thread has been woken."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _on(cells: NDArray[np.floating[Any]], device: torch.device | str) -> Tensor:
    return torch.from_numpy(cells).to(device).float()


def _usual_likeness(cells: Tensor, others: Sequence[Tensor]) -> Tensor:
    """K: how like to each cell the likest of another photo is, at the median of these photos."""
    return torch.stack([(cells @ other.T).amax(dim=1) for other in others]).median(dim=0).values


def _worth(alike: Tensor, usual0: Tensor, usual1: Tensor) -> float:
    """Of one pair, from how like each cell is to each."""
    likeness, best1 = alike.max(dim=1)
    mutual = alike.argmax(dim=0)[best1] == torch.arange(len(best1), device=alike.device)
    likeness, usual1 = likeness[mutual], usual1[best1[mutual]]
    beyond = (likeness - usual0[mutual]).clamp(min=0) + (likeness - usual1).clamp(min=0)
    return float(beyond.double().sum()) / 2
