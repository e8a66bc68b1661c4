"""Whether another motion explains a pair as well: repeated structure, and what tells its repetitions apart.

A facade of equal windows matches itself moved by a window as well as where it is. What decides is what is not
repeated, a sign or an edge: there one of the two motions finds the same again, and the other does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from gcm.geometry import Matrix, inverse
from gcm.method.sightings import Sighting
from gcm.options import RivalOptions
from gcm.refinement.maps import FeatureMap

__all__ = ["Rivalry", "settle_rivalry"]

_FLAT = 0.99
"""Cosine of a cell and the next from which there is nothing to see: texture changes more than that."""

_SEEN = 0.3
"""Length of a descriptor between cells, of which some show nothing, from which it counts."""


@dataclass(frozen=True)
class Rivalry:
    """What repeated structure leaves open."""

    h_1_to_0: Matrix
    """The motion that finds most of what is not repeated, as a homography."""
    seen: bool
    """Whether it is the one that was seen."""
    decided: bool
    """Whether something that is not repeated tells the best motion from all others."""


def settle_rivalry(sighting: Sighting, options: RivalOptions) -> Rivalry | None:
    """Compare the motion of a sighting with those that differ from it by a repetition.

    Args:
        sighting: what was seen; that it is mostly of one plane is not asked, a rough affine motion does.
        options: what counts as repeated, and as alike.

    Returns:
        None where nothing is repeated.
    """
    matches = sighting.matches
    map0, map1 = _grid(matches.map0), _grid(matches.map1)
    shifts = _repetitions(map0, options)
    motions = _motions(sighting) if shifts else []
    if not motions:
        return None
    self_alike = [_likeness(map0, map0, np.eye(2, 3), shift) for shift in shifts]
    distinct = _distinct(self_alike, options)
    refined = [_refined(map0, map1, motion, np.zeros(2)) for motion in motions]
    found = max(refined, key=lambda motion: _usual(_likeness(map0, map1, motion, np.zeros(2)), options))
    scores = []
    for shift in [np.zeros(2), *shifts]:
        similarity, inside = _likeness(map0, map1, found, shift)
        told = distinct & inside
        agree = int((told & (similarity >= options.same)).sum())
        contradict = int((told & (similarity < options.other)).sum())
        scores.append((agree - contradict, _usual((similarity, inside), options), shift))
    likely = max(value for _, value, _ in scores)
    ranked = sorted((s for s in scores if s[1] >= likely * options.repeated), key=lambda score: -score[0])
    if len(ranked) < 2:
        return None
    # What is repeated must be found again at least about as well as the image finds itself, a repetition on.
    itself = max(_usual(alike, options) for alike in self_alike)
    decided = ranked[0][0] >= ranked[1][0] + options.decisive and likely >= itself * options.repeated
    shift = ranked[0][2]
    moved = found.copy()
    moved[:, 2] += found[:, :2] @ shift
    return Rivalry(_in_images(moved, sighting), not shift.any(), decided)


def _motions(sighting: Sighting) -> list[NDArray[np.float64]]:
    """Motions of a sighting, 2 x 3, from cells of map 0 to those of map 1: an affine one, and a shift.

    Matches of repeated structure jump between its repetitions, which a single affine motion may stretch over.
    """
    chosen = torch.from_numpy(sighting.agreement.together).to(sighting.matches.map0.device)
    cells = sighting.matches.cells.take(chosen)
    if len(cells) < 3:
        return []
    cells0, cells1 = (c.cpu().numpy().astype(np.float64) for c in (cells.cells0, cells.cells1))
    shifts, counts = np.unique(np.rint(cells1 - cells0), axis=0, return_counts=True)
    motions = [np.column_stack([np.eye(2), shifts[counts.argmax()]])]
    affine, _ = cv2.estimateAffine2D(cells0, cells1, method=cv2.RANSAC, ransacReprojThreshold=1.5)
    if affine is not None:
        motions.insert(0, np.asarray(affine, dtype=np.float64))
    return motions


def _usual(alike: tuple[NDArray[np.float64], NDArray[np.bool_]], options: RivalOptions) -> float:
    """The median cosine of what a motion takes inside; 0 where that is too little of the image."""
    similarity, inside = alike
    return float(np.median(similarity[inside])) if inside.mean() >= options.overlap else 0.0


def _grid(feature_map: FeatureMap) -> torch.Tensor:
    """1 x C x H x W unit descriptors; zero where there is nothing to see, as beside a turned image."""
    channels, height, width = feature_map.shape
    grid = feature_map.flat().T.reshape(1, channels, height, width)
    flat = torch.zeros(height, width, dtype=torch.bool, device=grid.device)
    beside = (grid[..., :, 1:] * grid[..., :, :-1]).sum(dim=1)[0] > _FLAT
    below = (grid[..., 1:, :] * grid[..., :-1, :]).sum(dim=1)[0] > _FLAT
    flat[:, 1:] |= beside
    flat[:, :-1] |= beside
    flat[1:] |= below
    flat[:-1] |= below
    return grid.masked_fill(flat, 0.0)


def _repetitions(map0: torch.Tensor, options: RivalOptions) -> list[NDArray[np.float64]]:
    """Shifts, to half a cell, by which a map is most like itself, the best first."""
    _, _, height, width = map0.shape
    size = (2 * height, 2 * width)
    spectrum = torch.fft.rfft2(map0[0], s=size)
    power = torch.fft.irfft2((spectrum.abs() ** 2).sum(dim=0), s=size)
    seen = (map0[0] != 0).any(dim=0).float()
    count = torch.fft.irfft2(torch.fft.rfft2(seen, s=size).abs() ** 2, s=size)
    enough = count >= options.overlap * seen.sum().clamp(min=1)
    likeness = torch.fft.fftshift(torch.where(enough, power / count.clamp(min=1), 0.0))
    peaks = F.max_pool2d(likeness[None, None], 3, stride=1, padding=1)[0, 0] == likeness
    rows, columns = torch.nonzero(peaks & (likeness >= options.likeness), as_tuple=True)
    shifts = torch.stack([columns - width, rows - height], dim=1)
    far = shifts.abs().amax(dim=1) >= options.least_shift
    values = likeness[rows, columns][far]
    chosen = shifts[far][torch.argsort(values, descending=True)[: options.most]]
    whole = [shift.cpu().numpy().astype(np.float64) for shift in chosen]
    return [_refined(map0, map0, np.eye(2, 3), shift)[:, 2] for shift in whole]


def _distinct(
    self_alike: list[tuple[NDArray[np.float64], NDArray[np.bool_]]], options: RivalOptions
) -> NDArray[np.bool_]:
    """Cells that no repetition shows again, though some could."""
    highest = np.max([np.where(inside, similarity, -1.0) for similarity, inside in self_alike], axis=0)
    possible = np.sum([inside for _, inside in self_alike], axis=0)
    result: NDArray[np.bool_] = (possible >= 1) & (highest < options.other)
    return result


def _refined(
    map0: torch.Tensor, map1: torch.Tensor, affine: NDArray[np.float64], shift: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A motion moved by a shift, and by up to half a cell more to where most is alike."""
    best, highest = affine, -1.0
    for step in np.stack(np.meshgrid([-0.5, 0.0, 0.5], [-0.5, 0.0, 0.5]), axis=-1).reshape(-1, 2):
        similarity, inside = _likeness(map0, map1, affine, shift + step)
        mean = float(similarity[inside].mean()) if inside.any() else -1.0
        if mean > highest:
            moved = affine.copy()
            moved[:, 2] += affine[:, :2] @ (shift + step)
            best, highest = moved, mean
    return best


def _likeness(
    map0: torch.Tensor, map1: torch.Tensor, affine: NDArray[np.float64], shift: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cosine of each cell of map 0 and of where a motion, shifted, takes it; and whether that is inside.

    Args:
        map0, map1: 1 x C x H x W.
        affine: 2 x 3, cells of map 0 to those of map 1.
        shift: in cells of map 0, added before.
    """
    height, width = map0.shape[2:]
    limit = np.array([map1.shape[3], map1.shape[2]]) - 1
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    places = (np.stack([x, y], axis=-1) + shift) @ affine[:, :2].T + affine[:, 2]
    inside: NDArray[np.bool_] = np.asarray(((places >= 1) & (places <= limit - 1)).all(axis=-1))
    grid = torch.from_numpy(2 * places[None] / limit - 1).to(map1)
    sampled = F.grid_sample(map1, grid, align_corners=True)
    length = sampled.norm(dim=1)[0]
    similarity = (map0 * F.normalize(sampled, dim=1)).sum(dim=1)[0].cpu().numpy().astype(np.float64)
    seen = (map0[0] != 0).any(dim=0) & (length > _SEEN)
    return similarity, inside & seen.cpu().numpy()


def _in_images(affine: NDArray[np.float64], sighting: Sighting) -> Matrix:
    """From cells of map 0 to those of map 1, to from pixels of image 1 to those of image 0."""
    stride = sighting.matches.map0.stride
    to_pixels = np.array([[stride, 0.0, stride / 2 - 0.5], [0.0, stride, stride / 2 - 0.5], [0.0, 0.0, 1.0]])
    cells_1_to_0 = inverse(np.vstack([affine, [0.0, 0.0, 1.0]]))
    matches = sighting.matches
    result: Matrix = matches.to0 @ to_pixels @ cells_1_to_0 @ inverse(matches.to1 @ to_pixels)
    return result
