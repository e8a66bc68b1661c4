"""The real pairs that a recipe asks for, made ready before the training, and those of them held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gcm.distillation.data import held_out_every
from gcm.distillation.labels import Labeller
from gcm.distillation.photo_collections import (
    LabelledPairs,
    PhotoPair,
    find_photo_pairs,
    label_pairs,
)
from gcm.distillation.process_group import ProcessGroup
from gcm.distillation.real_pairs import PairSource, RealPairs
from gcm.distillation.recipe import DistillRecipe
from gcm.distillation.rgbd import FramePair, RgbdPairs, find_frame_pairs
from gcm.errors import DatasetError
from gcm.storage.yaml_files import split_spec

__all__ = ["OnPrepare", "Preparation", "gather_real_pairs"]


@dataclass(frozen=True)
class Preparation:
    """How far something stands that is done before the first step."""

    activity: str
    done: int
    total: int
    note: str = ""
    """A sentence to tell, once."""


OnPrepare = Callable[[Preparation], None]

Item = TypeVar("Item")
Numbers = tuple[int, int]


def gather_real_pairs(
    recipe: DistillRecipe,
    on_prepare: OnPrepare = lambda preparation: None,
    group: ProcessGroup | None = None,
) -> tuple[RealPairs, RealPairs]:
    """Pairs for training, and pairs for validation.

    As of single photos, every k-th frame of a sequence and every k-th photo of a folder is held out; a pair
    that shows one is for validation.

    Args:
        recipe: names folders and shares.
        on_prepare: told of the progress.
        group: the processes that share the work of labelling.

    Raises:
        DatasetError: a folder is missing, incomplete or wrong, or gives no pairs.
        DependencyError: what a teacher needs is not installed.
        UsageError: no such teacher, or it has no such option.
        OutputError: labels cannot be kept.
    """
    training: list[tuple[float, PairSource]] = []
    held_out: list[tuple[float, PairSource]] = []
    if recipe.rgbd.folders and recipe.rgbd.share:
        frames = _frames(recipe, on_prepare)
        numbers = [(pair.first, pair.second) for pair in frames]
        for sources, pairs in zip((training, held_out), _split(frames, numbers, recipe), strict=True):
            if pairs:
                sources.append((recipe.rgbd.share, RgbdPairs(pairs, recipe.rgbd)))
    if recipe.collections.folders and recipe.collections.share:
        photos = _photos(recipe, on_prepare, group)
        split = _split(photos, [pair.numbers for pair in photos], recipe)
        for sources, labelled in zip((training, held_out), split, strict=True):
            if labelled:
                sources.append((recipe.collections.share, LabelledPairs(labelled)))
    return RealPairs(tuple(training)), RealPairs(tuple(held_out))


def _frames(recipe: DistillRecipe, on_prepare: OnPrepare) -> list[FramePair]:
    def show(done: int, total: int) -> None:
        on_prepare(Preparation("checking frames", done, total))

    return find_frame_pairs(recipe.rgbd, show)


def _photos(recipe: DistillRecipe, on_prepare: OnPrepare, group: ProcessGroup | None) -> list[PhotoPair]:
    labeller = Labeller(recipe.collections)
    found = find_photo_pairs(recipe.collections)
    first, other = (split_spec(teacher)[0] for teacher in recipe.collections.teachers)

    def show(done: int, total: int) -> None:
        note = f"labelling {total} pairs of photos by {first} and {other}, once; kept in {labeller.folder}"
        on_prepare(Preparation("labelling photos", done, total, note if done == 0 else ""))

    if group is not None and group.world_size > 1:
        # Each process labels its part; then all lie on disk.
        label_pairs(found[group.rank :: group.world_size], labeller, show)
        group.barrier()
    labelled = label_pairs(found, labeller, show)
    if not labelled:
        folders = ", ".join(map(str, recipe.collections.folders))
        raise DatasetError(
            f"{folders}: in none of {len(found)} pairs of photos do {first} and {other} agree in "
            f"{recipe.collections.fewest} places; put photos of one place into a folder, or lower "
            "collections.fewest"
        )
    count = sum(len(pair.labels) for pair in labelled)
    note = f"{len(labelled)} of {len(found)} pairs of photos show the same place ({count} labels)"
    on_prepare(Preparation("labelling photos", len(found), len(found), note))
    return labelled


def _split(pairs: list[Item], numbers: list[Numbers], recipe: DistillRecipe) -> tuple[list[Item], list[Item]]:
    """Those for training and those held out."""
    every = held_out_every(recipe.held_out)
    if every is None:
        return pairs, []
    held = [first % every == 0 or second % every == 0 for first, second in numbers]
    kept = [pair for pair, out in zip(pairs, held, strict=True) if not out]
    # Two photos, one of them held out, would leave nothing to learn from.
    return (kept, [pair for pair, out in zip(pairs, held, strict=True) if out]) if kept else (pairs, [])
