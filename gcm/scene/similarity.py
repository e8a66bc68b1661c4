"""Which photos are likest, by the cells of their coarse maps; in two steps, as image retrieval does it.

Of every two photos the descriptors are compared (:func:`pool_cells`), one a photo. The likest pairs are then
compared cell by cell (:mod:`gcm.scene.reranking`), which tells far better what shows the same, and costs a
millisecond a pair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gcm.features.batching import Request
from gcm.features.extractor import FeatureExtractor
from gcm.images.files import read_image
from gcm.images.sizes import fit_within
from gcm.refinement.maps import DenseMap
from gcm.scene.pair_lists import IndexPair, similar
from gcm.scene.reranking import cells_in_common

__all__ = ["likest_pairs", "photo_cells", "pool_cells"]

_SIDE = 320
"""Pixels of the longer side at which photos are looked at."""
_CELLS = 512
"""Cells of a photo that are kept, evenly spread: neighbours show nearly the same."""
_GROUPS = 48
_SAMPLED, _SAMPLED_IN_ALL = 200, 100_000
"""Cells of a photo, and of all together, from which groups are made."""
_ROUNDS = 20

Array = NDArray[np.floating[Any]]


def photo_cells(
    paths: Sequence[Path],
    features: FeatureExtractor,
    on_photo: Callable[[], object] | None = None,
) -> list[NDArray[np.float16]]:
    """Of each photo some hundred cells of its coarse map, K x C unit descriptors; K differs.

    They are kept in half precision: 64 KiB a photo with the network of ``default``.

    Args:
        paths: the photos.
        features: makes coarse maps, as a :class:`gcm.matcher.Matcher` has it.
        on_photo: called after each.

    Raises:
        ImageError: a photo that cannot be read.
    """
    cells = []
    with torch.inference_mode():
        for path in paths:
            image = fit_within(read_image(path).pixels, _SIDE)
            (coarse,) = features.answer([Request(image, "coarsest")])
            assert isinstance(coarse, DenseMap)
            flat = coarse.flat()
            chosen = np.linspace(0, len(flat) - 1, min(_CELLS, len(flat))).round().astype(np.int64)
            cells.append(np.asarray(flat[torch.from_numpy(chosen).to(flat.device)].half().cpu().numpy()))
            if on_photo is not None:
                on_photo()
    return cells


def likest_pairs(
    cells: Sequence[Array],
    most: int,
    asking: Collection[int] | None = None,
    *,
    device: torch.device | str = "cpu",
    on_compared: Callable[[int, int], object] | None = None,
) -> list[IndexPair]:
    """The pairs of photos that have most in common, with several for each; at most ``N most`` in all.

    The same photos give the same pairs, in whatever order they come.

    Args:
        cells: of each photo, K x C unit descriptors; K differs.
        most: pairs for each photo that asks, on average.
        asking: the photos that ask, without one of which no pair is made; all unless given.
        device: where cells are compared.
        on_compared: called now and then with how many comparisons are done, and how many there will be.

    Raises:
        UsageError: `most` below 1.
    """
    order = sorted(range(len(cells)), key=lambda k: hashlib.sha256(cells[k].tobytes()).digest())
    ordered = [cells[k] for k in order]

    def compare(pairs: NDArray[np.int64]) -> NDArray[np.float64]:
        return cells_in_common(ordered, pairs, device, on_compared)

    wanted = None if asking is None else set(asking)
    asks = None if wanted is None else [place for place, k in enumerate(order) if k in wanted]
    chosen = similar(pool_cells(ordered), most, asks, compare)
    return sorted((min(order[i], order[j]), max(order[i], order[j])) for i, j in chosen)


def pool_cells(cells: Sequence[Array]) -> NDArray[np.float32]:
    """One descriptor for each photo's cells.

    Cells of all photos are put into groups of like ones, and a photo is described by how its cells of each
    group lie about the group's centre (VLAD, Jegou et al., CVPR 2010; each group of equal weight, as
    Arandjelovic and Zisserman, CVPR 2013, propose). The groups are those of the photos themselves: nothing is
    learnt beforehand.

    Args:
        cells: of each photo, K x C unit descriptors; K differs.

    Returns:
        N x (groups C), unit length.
    """
    rng = np.random.default_rng(0)
    each = max(1, min(_SAMPLED, _SAMPLED_IN_ALL // len(cells)))
    sample = np.concatenate([found[rng.permutation(len(found))[:each]] for found in cells])
    groups = min(_GROUPS, len(sample))
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, _ROUNDS, 1e-4)
    cv2.setRNGSeed(0)
    _, _, centres = cv2.kmeans(
        sample.astype(np.float32), groups, np.empty((0, 1), np.int32), criteria, 1, cv2.KMEANS_PP_CENTERS
    )
    described = []
    for found in cells:
        values = found.astype(np.float32)
        nearest = (2 * values @ centres.T - (centres**2).sum(axis=1)).argmax(axis=1)
        members = (nearest == np.arange(groups)[:, None]).astype(np.float32)
        pooled = members @ values - members.sum(axis=1, keepdims=True) * centres
        pooled = pooled / (np.linalg.norm(pooled, axis=1, keepdims=True) + 1e-9)
        whole = pooled.ravel()
        described.append(whole / (np.linalg.norm(whole) + 1e-9))
    return np.stack(described).astype(np.float32)
