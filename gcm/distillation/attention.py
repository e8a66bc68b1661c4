"""What the attention network is trained for: which keypoints of two views are the same place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from gcm.backbones.attention import AttentionNetwork
from gcm.distillation.pairs import PairBatch, PairDataset
from gcm.distillation.recipe import DistillRecipe
from gcm.distillation.starts import load_xfeat, start_attention
from gcm.distillation.steps import Steps
from gcm.features.keypoints import Keypoints, compare_batch, detect_keypoints, mutual_pairs
from gcm.images.network_input import standardise
from gcm.images.normalisation import NORMALISATIONS
from gcm.weights.loading import load_checkpoint
from gcm.weights.store import resolve_weights

__all__ = ["AttentionObjective", "true_matches"]

Compared = tuple[Tensor, Tensor, Tensor]
"""As :func:`gcm.features.keypoints.compare_keypoints` says it."""

_CELL = 2
"""Pixels between the places whose correspondences are known."""

_SAME, _OTHER = 3.0, 6.0
"""Pixels within which two keypoints are one place, and beyond which they are not; in between nobody says."""


class AttentionObjective:
    """The matcher of :class:`AttentionNetwork`, on the keypoints of pairs of views; all else is frozen."""

    def __init__(self, recipe: DistillRecipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.student = AttentionNetwork().to(device).requires_grad_(False)
        self.student.matcher.requires_grad_(True)

    def batches(self, steps: Steps) -> PairDataset:
        """Batches of pairs."""
        return PairDataset(steps, self.recipe, cell=_CELL)

    def begin(self, photos: list[Path]) -> dict[str, Tensor]:
        """Start from LighterGlue, on the stream as it was trained before; both are blended with XFeat's."""
        start_attention(self.student)
        load_xfeat(self.student.stream)
        origin = {name: tensor.clone() for name, tensor in self.student.state_dict().items()}
        state = load_checkpoint(self.recipe.stream or resolve_weights("gcm_context"))
        prefix = "context."
        self.student.stream.load_state_dict(
            {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
        )
        return origin

    def prepare(self) -> None:
        """There is no teacher."""

    def held_out_loss(self, batch: PairBatch, step: int) -> Tensor:
        """One less the F1 score of the matches."""
        found = right = true = 0
        for k, first, second, (log_probability, _, _) in self._compared(batch):
            pairs, _, _ = true_matches(first.points, second.points, *self._positions(batch, k))
            chosen, best1 = mutual_pairs(log_probability)
            # A match of a keypoint of which nobody knows where it lies is neither right nor wrong.
            chosen = chosen & self._known(batch, k, 0, first.points)
            found, true = found + int(chosen.sum()), true + len(pairs)
            right += int((chosen[pairs[:, 0]] & (best1[pairs[:, 0]] == pairs[:, 1])).sum())
        return 1 - torch.tensor(2 * right / max(1, found + true))

    def loss(self, batch: PairBatch, step: int) -> Tensor:
        """Negative log likelihood of the true matches, and of having none where there is none."""
        losses = []
        for k, first, second, (log_probability, logits0, logits1) in self._compared(batch):
            pairs, none0, none1 = true_matches(first.points, second.points, *self._positions(batch, k))
            if len(pairs):
                losses.append(-log_probability[pairs[:, 0], pairs[:, 1]].mean())
            none0 = none0 & self._known(batch, k, 0, first.points)
            none1 = none1 & self._known(batch, k, 1, second.points)
            for logits, none in ((logits0, none0), (logits1, none1)):
                if bool(none.any()):
                    losses.append(-0.5 * F.logsigmoid(-logits[none]).mean())
            losses.append(0.0 * log_probability.sum())  # a pair may have neither
        if not losses:  # nothing was to be seen, and nothing is learnt
            losses = [0.0 * parameter.sum() for parameter in self.student.matcher.parameters()]
        return torch.stack(losses).sum() / batch.degraded.shape[1]

    def _compared(self, batch: PairBatch) -> Iterator[tuple[int, Keypoints, Keypoints, Compared]]:
        """The pairs of :meth:`_pairs`, and what the matcher says of each; of those with as many keypoints in
        both views, of all at once."""
        groups: dict[tuple[int, int], list[tuple[int, Keypoints, Keypoints]]] = {}
        for k, first, second in self._pairs(batch):
            groups.setdefault((len(first.points), len(second.points)), []).append((k, first, second))
        for group in groups.values():
            compared = compare_batch(self.student, [pair[1] for pair in group], [pair[2] for pair in group])
            for pair, *said in zip(group, *compared, strict=True):
                yield *pair, (said[0], said[1], said[2])

    def _pairs(self, batch: PairBatch) -> list[tuple[int, Keypoints, Keypoints]]:
        """The numbers and the keypoints of the pairs that have any in both views; a black view has none."""
        n = batch.degraded.shape[1]
        x = standardise(batch.degraded.to(self.device), NORMALISATIONS[self.recipe.normalisation])
        with torch.no_grad():
            keypoints = detect_keypoints(
                self.student, x.flatten(0, 1).mean(dim=1, keepdim=True), self.recipe.keypoints
            )
        both = zip(range(n), keypoints[:n], keypoints[n:], strict=True)
        return [pair for pair in both if len(pair[1].points) and len(pair[2].points)]

    def _positions(self, batch: PairBatch, k: int) -> tuple[Tensor, Tensor]:
        positions = batch.positions.to(self.device)
        side = self.recipe.augmentation.crop // _CELL
        return positions[0, k].view(side, side, 2), positions[1, k].view(side, side, 2)

    def _known(self, batch: PairBatch, k: int, view: int, points: Tensor) -> Tensor:
        """Of which of N keypoints of a view it is known whether the other view shows them."""
        side = self.recipe.augmentation.crop // _CELL
        cell = _cells(points, side, side)
        known: Tensor = batch.known[view, k].to(points.device).view(side, side)[cell[:, 1], cell[:, 0]]
        return known


def true_matches(points0: Tensor, points1: Tensor, to1: Tensor, to0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which keypoints are the same place, and which have no partner.

    Args:
        points0, points1: M x 2 and N x 2, pixels.
        to1, to0: H x W x 2: where the places of view 0, every second pixel, lie in view 1, and the other way
            round; nan where they are not seen.

    Returns:
        K x 2 indices of true matches; which of the M, and of the N, have none.
    """
    moved0, moved1 = _moved(points0, to1), _moved(points1, to0)
    there = torch.cdist(moved0.nan_to_num(-1e4), points1)
    back = torch.cdist(moved1.nan_to_num(-1e4), points0).T
    distance = torch.maximum(there, back)
    best1, best0 = distance.argmin(dim=1), distance.argmin(dim=0)
    own = torch.arange(len(points0), device=points0.device)
    same = (best0[best1] == own) & (distance[own, best1] < _SAME)
    pairs = torch.stack([own[same], best1[same]], dim=1)
    return pairs, there.amin(dim=1) > _OTHER, back.amin(dim=0) > _OTHER


def _moved(points: Tensor, to: Tensor) -> Tensor:
    """Where keypoints lie in the other view: as the nearest place that is known."""
    cell = _cells(points, to.shape[1], to.shape[0])
    centre = cell * _CELL + (_CELL - 1) / 2
    return to[cell[:, 1], cell[:, 0]] + points - centre


def _cells(points: Tensor, width: int, height: int) -> Tensor:
    """N x 2 (x, y): the cells that points lie in."""
    cell = (points / _CELL).floor().long()
    return cell.minimum(torch.tensor([width - 1, height - 1], device=points.device))
