"""How like photos are: one descriptor a photo, pooled from the cells of its coarse map.

Cells of all photos are put into groups of like ones, and a photo is described by how its cells of each group
lie about the group's centre (VLAD, Jegou et al., CVPR 2010; each group of equal weight, as Arandjelovic and
Zisserman, CVPR 2013, propose). The groups are those of the photos themselves: nothing is learnt beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gcm.features.batching import Request
from gcm.features.extractor import FeatureExtractor
from gcm.images.files import read_image
from gcm.images.sizes import fit_within
from gcm.refinement.maps import DenseMap

__all__ = ["describe_photos", "pool_cells"]

_SIDE = 320
"""Pixels of the longer side at which photos are looked at."""
_GROUPS = 48
_SAMPLED = 200
"""Cells of a photo from which groups are made."""
_ROUNDS = 20

Array = NDArray[np.float32]


def describe_photos(
    paths: Sequence[Path],
    features: FeatureExtractor,
    on_photo: Callable[[], object] | None = None,
) -> Array:
    """N x D descriptors of photos, unit length; see :func:`pool_cells`.

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
            cells.append(np.asarray(coarse.flat().float().cpu().numpy(), np.float32))
            if on_photo is not None:
                on_photo()
    return pool_cells(cells)


def pool_cells(cells: Sequence[Array]) -> Array:
    """One descriptor for each photo's cells.

    Args:
        cells: of each photo, K x C unit descriptors; K differs.

    Returns:
        N x (groups C), unit length.
    """
    rng = np.random.default_rng(0)
    sample = np.concatenate([found[rng.permutation(len(found))[:_SAMPLED]] for found in cells])
    groups = min(_GROUPS, len(sample))
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, _ROUNDS, 1e-4)
    cv2.setRNGSeed(0)
    _, _, centres = cv2.kmeans(sample, groups, np.empty((0, 1), np.int32), criteria, 1, cv2.KMEANS_PP_CENTERS)
    described = []
    for found in cells:
        nearest = (2 * found @ centres.T - (centres**2).sum(axis=1)).argmax(axis=1)
        pooled = np.zeros(centres.shape)
        np.add.at(pooled, nearest, found - centres[nearest])
        pooled = pooled / (np.linalg.norm(pooled, axis=1, keepdims=True) + 1e-9)
        whole = pooled.ravel()
        described.append(whole / (np.linalg.norm(whole) + 1e-9))
    return np.stack(described).astype(np.float32)
