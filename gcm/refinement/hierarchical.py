"""Refine matches from one level of a pyramid to the next finer one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gcm.refinement.dense import CellMatches, TopTwo, common_stride, ratio
from gcm.refinement.maps import FeatureMap, inside_map

__all__ = ["refine"]

_CHUNK = 8192
"""Matches refined at once: bounds the memory of the gathered descriptors."""

_SURVIVORS = 2
"""A coarse match yields at most two finer ones."""


def refine(
    matches: CellMatches,
    map0: FeatureMap,
    map1: FeatureMap,
    *,
    threshold: float,
    bidirectional: bool = True,
    compat: bool = False,
    margin: int = 0,
    survivors: int = _SURVIVORS,
) -> CellMatches:
    """Replace each match of coarse cells by at most two matches of the cells they cover in finer maps.

    Each coarse cell covers r x r children; the children of the two cells are scored against each other.
    A child of map 0 keeps its best child of map 1 when it is that child's best too and the larger of
    the two ratios (best to second-best squared distance) is below `threshold`. Of the survivors of one
    coarse match the two with the smallest distance remain. (docs/method.md, "Refinement".)

    Args:
        matches: cells of the coarser level.
        map0, map1: maps of one finer stride; r is the stride of the matches over theirs, a whole number.
        threshold: largest ratio, exclusive; -1 turns the ratio and mutual tests off, then every child of
            map 0 keeps its best and the two best remain.
        bidirectional: False ignores map 1's ratio; the mutual test stays.
        compat: as the published code does, take map 1's ratio at the slot number of map 0's child
            instead of at the matched child, and when fewer than 4 matches survive of 4 or more, go on
            with all of them at their first child (coordinates times r). Without it, a child whose best
            two do not differ by more than rounding is dropped, too.
        margin: cells by which the children of map 1's cell are extended all round: where the maps are not
            aligned, a point's partner may lie in the cell beside.
        survivors: how many matches one coarse match yields at most.

    Returns:
        Matches in cells of the finer level, in the order of the coarse ones, a match's own survivors in
        that of map 0's children (the published code's order, on which its RANSAC's result depends).
    """
    stride = common_stride(map0, map1)
    if len(matches) == 0:
        return replace(matches, stride=stride)
    stride_ratio = matches.stride // stride
    children0 = _children(matches.cells0, stride_ratio)
    children1 = _children(matches.cells1, stride_ratio, margin)
    from0, from1 = _Descriptors(map0, children0), _Descriptors(map1, children1)
    rules = _Rules(threshold, bidirectional, compat, survivors, stride)
    parts = []
    for start in range(0, len(matches), _CHUNK):
        part = slice(start, start + _CHUNK)
        scores = from0[part] @ from1[part].transpose(1, 2)
        parts.append(_refine_chunk(children0[part], children1[part], scores, rules))
    refined = CellMatches.joined(parts)
    if compat and len(refined) < 4 <= len(matches):
        return replace(
            matches,
            cells0=matches.cells0 * stride_ratio,
            cells1=matches.cells1 * stride_ratio,
            stride=stride,
        )
    return refined


@dataclass(frozen=True)
class _Rules:
    """Which children survive; as the arguments of :func:`refine`."""

    threshold: float
    bidirectional: bool
    compat: bool
    survivors: int
    stride: int
    """Of the finer maps."""


class _Descriptors:
    """Unit descriptors of N x K cells, a slice of the N at a time."""

    def __init__(self, feature_map: FeatureMap, cells: Tensor) -> None:
        self._map = feature_map
        # A map may be a cell short of its coarser one when sizes are odd; the last cell then serves twice.
        self._cells = inside_map(feature_map, cells)
        self._all = feature_map.at(self._cells) if feature_map.cheaper_at_once else None

    def __getitem__(self, part: slice) -> Tensor:
        """n x K x C."""
        return self._map.at(self._cells[part]) if self._all is None else self._all[part]


def _refine_chunk(children0: Tensor, children1: Tensor, scores: Tensor, rules: _Rules) -> CellMatches:
    """One chunk: N x r^2 x 2 cells of each map and their N x r^2 x r^2 similarities."""
    n, slots = children0.shape[:2]
    by0, by1 = _best_two(scores), _best_two(scores.transpose(1, 2))
    to1 = by0.index
    ratio0, ratio1 = ratio(by0.best, by0.second), ratio(by1.best, by1.second)
    matched_ratio1 = ratio1 if rules.compat else ratio1.gather(1, to1)
    worst = torch.maximum(ratio0, matched_ratio1) if rules.bidirectional else ratio0
    if rules.threshold == -1:
        alive = torch.ones_like(to1, dtype=torch.bool)
    else:
        slot = torch.arange(slots, device=scores.device)
        alive = (by1.index.gather(1, to1) == slot) & (worst < rules.threshold)
        if not rules.compat:
            alive &= by0.distinct & by1.distinct.gather(1, to1)
    distance = (2 - 2 * by0.best).masked_fill(~alive, torch.inf)
    nearest, child0 = distance.topk(min(rules.survivors, slots), dim=1, largest=False)
    child0, order = child0.sort(dim=1)
    nearest = nearest.gather(1, order)
    kept = nearest.isfinite()
    row = torch.arange(n, device=scores.device)[:, None].expand_as(child0)[kept]
    child0 = child0[kept]
    child1 = to1[row, child0]
    return CellMatches(
        children0[row, child0], children1[row, child1], nearest[kept], worst[row, child0], rules.stride
    )


def _children(cells: Tensor, r: int, margin: int = 0) -> Tensor:
    """N x 2 coarse cells -> N x (r + 2 margin)^2 x 2 finer ones, x-major: (0,0), (0,1), ... as (dx, dy)."""
    steps = torch.arange(-margin, r + margin, device=cells.device)
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1).reshape(-1, 2)
    return cells[:, None, :] * r + offsets


def _best_two(scores: Tensor) -> TopTwo:
    """Highest and second highest along the last axis (-inf where there is none)."""
    best, index = scores.max(dim=-1)
    rest = scores.scatter(-1, index.unsqueeze(-1), -torch.inf)
    return TopTwo(best, rest.amax(dim=-1), index)
