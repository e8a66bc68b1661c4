"""The real pairs that a recipe asks for, checked before the training, and those of them that are held out."""

from __future__ import annotations

from collections.abc import Callable

from gcm.distillation.data import held_out_every
from gcm.distillation.real_pairs import PairSource, RealPairs
from gcm.distillation.recipe import DistillRecipe
from gcm.distillation.rgbd import FramePair, RgbdPairs, find_frame_pairs

__all__ = ["OnPrepare", "gather_real_pairs"]

OnPrepare = Callable[[str, int, int], None]
"""Called with what is being done, and how much of how much is done."""


def gather_real_pairs(
    recipe: DistillRecipe, on_prepare: OnPrepare = lambda activity, done, total: None
) -> tuple[RealPairs, RealPairs]:
    """Pairs for training, and pairs for validation.

    As of single photos, every k-th frame is held out; a pair that shows one is for validation.

    Args:
        recipe: names folders and shares.
        on_prepare: told of the progress.

    Raises:
        DatasetError: a folder is missing, incomplete or wrong, or gives no pairs.
    """
    training: list[tuple[float, PairSource]] = []
    held_out: list[tuple[float, PairSource]] = []
    if recipe.rgbd.folders and recipe.rgbd.share:
        frames = find_frame_pairs(recipe.rgbd, lambda done, total: on_prepare("checking frames", done, total))
        for sources, pairs in zip((training, held_out), _split(frames, recipe.held_out), strict=True):
            if pairs:
                sources.append((recipe.rgbd.share, RgbdPairs(pairs, recipe.rgbd)))
    return RealPairs(tuple(training)), RealPairs(tuple(held_out))


def _split(pairs: list[FramePair], share: float) -> tuple[list[FramePair], list[FramePair]]:
    """Those for training and those held out."""
    every = held_out_every(share)
    if every is None:
        return pairs, []
    held = [pair.first % every == 0 or pair.second % every == 0 for pair in pairs]
    kept = [pair for pair, out in zip(pairs, held, strict=True) if not out]
    # Two or three frames, all held out, would leave nothing to learn from.
    return (kept, [pair for pair, out in zip(pairs, held, strict=True) if out]) if kept else (pairs, [])
