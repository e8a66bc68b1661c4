"""Mutual nearest neighbours between two maps, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gcm.geometry import cell_to_pixel
from gcm.refinement.maps import FeatureMap, map_size

__all__ = [
    "CellMatches",
    "TopTwo",
    "coarse_match",
    "dense_match",
    "inner_matches",
    "mutual_match",
    "ratio",
    "top_two",
]

SIMILARITY_BUDGET = 4 * 2**20
"""Bytes the similarity of one block may take: as much as stays in a core's cache from pass to pass."""

_BLOCK_COLUMNS = 2**11
"""Columns of such a block on a CPU: products of long narrow matrices do not run at full speed."""

_EPS = 1e-8

ROUNDING = 1e-6
"""Differences of float32 similarities up to this size mean nothing."""


@dataclass(frozen=True)
class CellMatches:
    """Matched cells of two maps of one stride."""

    cells0: Tensor
    """N x 2 int64, (x, y) in map 0."""
    cells1: Tensor
    """N x 2 int64, (x, y) in map 1."""
    distance: Tensor
    """N float, squared distance 2 - 2 <a, b> of the unit descriptors."""
    ratio: Tensor
    """N float, the larger of the two directions' ratio of best to second-best squared distance."""
    stride: int
    """Pixels of the network's input a cell."""

    def __len__(self) -> int:
        return len(self.cells0)

    def take(self, index: Tensor) -> CellMatches:
        """The matches an index or boolean mask names."""
        return replace(
            self,
            cells0=self.cells0[index],
            cells1=self.cells1[index],
            distance=self.distance[index],
            ratio=self.ratio[index],
        )

    def swapped(self) -> CellMatches:
        """The same matches, map 1's cells first; `ratio` stays what it is."""
        return replace(self, cells0=self.cells1, cells1=self.cells0)

    def points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres of the matched cells, N x 2 float64 each, in pixels of the networks' input."""
        points0, points1 = (
            cell_to_pixel(cells.cpu().numpy(), self.stride) for cells in (self.cells0, self.cells1)
        )
        return points0, points1

    @staticmethod
    def joined(parts: Sequence[CellMatches]) -> CellMatches:
        """The matches of all parts, at least one, in their order; of one stride."""
        return CellMatches(
            torch.cat([part.cells0 for part in parts]),
            torch.cat([part.cells1 for part in parts]),
            torch.cat([part.distance for part in parts]),
            torch.cat([part.ratio for part in parts]),
            parts[0].stride,
        )

    @staticmethod
    def empty(stride: int, device: torch.device | None = None) -> CellMatches:
        """No matches."""
        cells = torch.zeros((0, 2), dtype=torch.int64, device=device)
        values = torch.zeros(0, dtype=torch.float32, device=device)
        return CellMatches(cells, cells, values, values, stride)


@dataclass(frozen=True)
class TopTwo:
    """The two highest similarities of each row of one set to the other, and the index of the highest."""

    best: Tensor
    second: Tensor
    index: Tensor

    @property
    def distinct(self) -> Tensor:
        """Where the best is better than the second by more than rounding."""
        return self.best - self.second > ROUNDING


def ratio(best: Tensor, second: Tensor) -> Tensor:
    """Ratio of best to second-best squared distance, from similarities: (2 - 2 s1) / (2 - 2 s2 + 1e-8)."""
    return (2 - 2 * best) / (2 - 2 * second + _EPS)


def top_two(a: Tensor, b: Tensor, *, budget: int = SIMILARITY_BUDGET) -> tuple[TopTwo, TopTwo]:
    """Best and second-best match of each descriptor, both ways, in one pass over blocks of rows.

    Args:
        a: N x C, b: M x C, unit length, N and M at least 2.
        budget: bytes one block of the similarity matrix may take.

    Returns:
        For each of `a` over `b`, and for each of `b` over `a`. Among equal similarities the lower index
        wins, whatever the block size.
    """
    n, m = len(a), len(b)
    rows = max(1, min(n, budget // (m * a.element_size())))
    row_best, row_second = a.new_empty(n), a.new_empty(n)
    row_index = torch.empty(n, dtype=torch.int64, device=a.device)
    col_best, col_second = a.new_full((m,), -torch.inf), a.new_full((m,), -torch.inf)
    col_index = torch.zeros(m, dtype=torch.int64, device=a.device)
    for start in range(0, n, rows):
        block = a[start : start + rows] @ b.T
        stop = start + len(block)
        by_row = _top_two_along(block, 1)
        row_best[start:stop], row_second[start:stop], row_index[start:stop] = by_row
        best, second, index = _top_two_along(block, 0)
        # The runner-up over all rows is the better of the loser of the two bests and the winner's second.
        new = best > col_best
        col_second = torch.where(new, torch.maximum(col_best, second), torch.maximum(col_second, best))
        col_index = torch.where(new, index + start, col_index)
        col_best = torch.where(new, best, col_best)
    return TopTwo(row_best, row_second, row_index), TopTwo(col_best, col_second, col_index)


def _top_two_along(block: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Highest, second highest, index of the highest; -inf where there is no second."""
    if dim == 1:
        index = _first_highest(block)
        best = block.gather(1, index[:, None])[:, 0]
    else:
        best, index = block.max(dim=dim)
    if block.shape[dim] == 1:
        return best, torch.full_like(best, -torch.inf), index
    # Masking the winner and looking again beats torch.topk severalfold on a CPU.
    where = index.unsqueeze(dim)
    block.scatter_(dim, where, -torch.inf)
    second = block.amax(dim=dim)
    block.scatter_(dim, where, best.unsqueeze(dim))
    return best, second, index


def _first_highest(block: Tensor) -> Tensor:
    """Index of each row's highest value, the first of equals."""
    if block.device.type == "cpu":  # NumPy's is an order of magnitude faster than torch's
        return torch.from_numpy(block.numpy().argmax(axis=1))
    return block.argmax(dim=1)


def mutual_match(
    map0: FeatureMap, map1: FeatureMap, *, slack: int = 0, budget: int = SIMILARITY_BUDGET
) -> CellMatches:
    """Mutual nearest neighbours without a ratio test, at half the time of :func:`dense_match`.

    Args:
        map0, map1: maps of one stride; their sizes may differ.
        slack: beside the mutual ones, keep also a cell of either map whose nearest has its own mutual partner
            at most that many cells away. A surface seen at a slant has fewer cells in one image than in the
            other, and each of them can be mutual with one only.
        budget: see :func:`top_two`.

    Returns:
        As of :func:`dense_match` with a threshold of 1, but `ratio` is that of map 0's cells alone.
    """
    stride, sizes = common_stride(map0, map1), (map_size(map0), map_size(map1))
    if min(*sizes[0], *sizes[1]) < 3:  # nothing but border
        return CellMatches.empty(stride, map0.device)
    a, b = map0.flat(), map1.flat()
    n, m = len(a), len(b)
    nearest = _Nearest(a, b, budget)
    (best, second, j), best1 = nearest.both_ways(), nearest.best1
    # Of equals, which flat ground and exactly repeated patterns have, none is the nearest.
    distinct = best - second > ROUNDING
    mutual = (best == best1[j]) & distinct
    mutual &= torch.bincount(j[mutual], minlength=m)[j] == 1
    i = mutual.nonzero()[:, 0]
    if not slack:
        return inner_matches(i, j[i], *sizes, best[i], ratio(best, second)[i], stride)
    partner0, partner1 = j.new_full((n,), -1), j.new_full((m,), -1)
    partner0[i], partner1[j[i]] = j[i], i
    beside0 = distinct & ~mutual & _close(partner1[j], torch.arange(n, device=j.device), sizes[0][0], slack)
    more0, alone1 = beside0.nonzero()[:, 0], (partner1 < 0).nonzero()[:, 0]
    i1 = nearest.of_second(alone1)
    beside1 = _close(partner0[i1], alone1, sizes[1][0], slack)
    more1, i1 = alone1[beside1], i1[beside1]
    rows0 = torch.cat([i, more0, i1])
    rows1 = torch.cat([j[i], j[more0], more1])
    similar = torch.cat([best[i], best[more0], best1[more1]])
    order = torch.argsort(rows0 * m + rows1)
    rows0, rows1 = rows0[order], rows1[order]
    return inner_matches(rows0, rows1, *sizes, similar[order], ratio(best, second)[rows0], stride)


class _Nearest:
    """The nearest of two sets of descriptors in each other, from blocks of their similarities.

    Args:
        a, b: N x C and M x C, unit length.
        budget: bytes a block may take.
    """

    def __init__(self, a: Tensor, b: Tensor, budget: int) -> None:
        self.a, self.b = a, b
        self.columns = min(len(b), _BLOCK_COLUMNS) if a.device.type == "cpu" else len(b)
        self.rows = max(1, min(len(a), budget // (self.columns * a.element_size())))
        self.best1 = a.new_full((len(b),), -torch.inf)
        """Of each of `b`, the highest similarity to any of `a`."""
        self._block1 = torch.zeros(len(b), dtype=torch.int64, device=a.device)
        """The number of the block of rows in which that was found."""

    def both_ways(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of each of `a`: the highest similarity, the second highest, the index of the former."""
        n, m = len(self.a), len(self.b)
        best, second = self.a.new_full((n,), -torch.inf), self.a.new_full((n,), -torch.inf)
        index = torch.zeros(n, dtype=torch.int64, device=self.a.device)
        memory = self.a.new_empty(self.rows * self.columns)
        for number, top in enumerate(range(0, n, self.rows)):
            rows = slice(top, min(n, top + self.rows))
            for left in range(0, m, self.columns):
                columns = slice(left, min(m, left + self.columns))
                shape = rows.stop - top, columns.stop - left
                block = memory[: shape[0] * shape[1]].view(shape)
                torch.mm(self.a[rows], self.b[columns].T, out=block)
                highest = block.amax(dim=0)
                self._block1[columns].masked_fill_(highest > self.best1[columns], number)
                torch.maximum(self.best1[columns], highest, out=self.best1[columns])
                value, runner_up, where = _top_two_along(block, 1)
                new = value > best[rows]  # among equals the first stays
                loser = torch.minimum(value, best[rows])
                second[rows] = torch.maximum(loser, torch.where(new, runner_up, second[rows]))
                index[rows] = torch.where(new, where + left, index[rows])
                torch.maximum(best[rows], value, out=best[rows])
        return best, second, index

    def of_second(self, chosen: Tensor) -> Tensor:
        """The index of the nearest in `a` of chosen ones of `b`, after :meth:`both_ways`.

        Similarities to the rows of the block that holds the nearest are computed once more, which costs less
        than to keep track of all.
        """
        found = torch.zeros_like(chosen)
        blocks = self._block1[chosen]
        counts: list[int] = torch.bincount(blocks).tolist()
        for number, here in enumerate(torch.split(blocks.argsort(), counts)):
            top = number * self.rows
            similarity = self.b[chosen[here]] @ self.a[top : top + self.rows].T
            found[here] = top + _first_highest(similarity)
        return found


def _close(cells: Tensor, others: Tensor, width: int, reach: int) -> Tensor:
    """Whether cells, by number and -1 for none, lie at most `reach` from others, in x and in y."""
    dx = (cells % width - others % width).abs()
    dy = (cells // width - others // width).abs()
    return (cells >= 0) & (dx <= reach) & (dy <= reach)


def dense_match(
    map0: FeatureMap,
    map1: FeatureMap,
    *,
    threshold: float,
    bidirectional: bool = True,
    compat: bool = False,
    budget: int = SIMILARITY_BUDGET,
) -> CellMatches:
    """Mutual nearest neighbours with a symmetric ratio test (docs/method.md, "Dense match").

    Args:
        map0, map1: maps of one stride; their sizes may differ.
        threshold: largest ratio kept, in both directions; 1 keeps every mutual pair, and so does -1,
            "no test", as it does in :func:`gcm.refinement.hierarchical.refine`.
        bidirectional: False drops the ratio test from map 1 to map 0.
        compat: as the published code does, keep also the first of several equally good cells; otherwise
            a cell whose best two do not differ (flat ground, an exactly repeated pattern) has no match.
        budget: see :func:`top_two`.

    Returns:
        The matches in the order of map 0's cells, row by row. Matches that touch the first or last row
        or column of either map are left out.
    """
    stride, sizes = common_stride(map0, map1), (map_size(map0), map_size(map1))
    if min(*sizes[0], *sizes[1]) < 3:  # nothing but border
        return CellMatches.empty(stride, map0.device)
    a, b = map0.flat(), map1.flat()
    forward, backward = top_two(a, b, budget=budget)
    i = torch.arange(len(a), device=a.device)
    j = forward.index
    r01 = ratio(forward.best, forward.second)
    r10 = ratio(backward.best, backward.second)[j]
    worst = torch.maximum(r01, r10) if bidirectional else r01
    keep = backward.index[j] == i
    if threshold != -1:
        keep &= worst <= threshold
    if not compat:
        keep &= forward.distinct & backward.distinct[j]
    return inner_matches(i[keep], j[keep], *sizes, forward.best[keep], worst[keep], stride)


def coarse_match(
    map0: FeatureMap, map1: FeatureMap, *, threshold: float, bidirectional: bool = True, compat: bool = False
) -> CellMatches:
    """:func:`dense_match`, or :func:`mutual_match` where that finds the same; arguments as of the former."""
    if threshold == 1 and not compat:
        return mutual_match(map0, map1)
    return dense_match(map0, map1, threshold=threshold, bidirectional=bidirectional, compat=compat)


def common_stride(map0: FeatureMap, map1: FeatureMap) -> int:
    """The stride of two maps whose cells are to be matched.

    Raises:
        ValueError: their strides differ.
    """
    if map0.stride != map1.stride:
        raise ValueError(f"maps of strides {map0.stride} and {map1.stride} have no cells in common")
    return map0.stride


def inner_matches(
    i: Tensor,
    j: Tensor,
    size0: tuple[int, int],
    size1: tuple[int, int],
    best: Tensor,
    ratios: Tensor,
    stride: int,
) -> CellMatches:
    """Matches of cells by number, row by row, less those that touch a border of either map.

    Args:
        i, j: numbers of N matched cells.
        size0, size1: width and height of the maps.
        best: N similarities.
        ratios: N.
        stride: of both maps.
    """
    inner = torch.ones_like(i, dtype=torch.bool)
    cells = []
    for number, (width, height) in ((i, size0), (j, size1)):
        x, y = number % width, number // width
        inner &= (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
        cells.append(torch.stack([x, y], 1))
    return CellMatches(cells[0], cells[1], 2 - 2 * best, ratios, stride).take(inner)
