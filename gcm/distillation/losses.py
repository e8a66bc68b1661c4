"""Distillation losses."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["cosine_loss", "pyramid_loss"]


def cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of 1 - cos over positions; both B x C x H x W, neither normalised. Scalar in [0, 2].

    The GCM paper's formula sums |cos| and minimises it, which would push the two apart; 1 - cos is
    the sensible reading.
    """
    return (1.0 - F.cosine_similarity(student.float(), teacher.float(), dim=1)).mean()


def pyramid_loss(student: Tensor, teacher: Tensor, *, levels: int, weight: float) -> Tensor:
    """:func:`cosine_loss` of the maps plus `weight` times that of each of `levels` successive pools.

    Coarse matching uses average-pooled descriptors; pooling un-normalised ones lets the strong dominate,
    and this is how the student learns which should be strong. The first pool is of the maps as they are,
    each further one of normalised ones, as in :func:`gcm.backbones.r2d2.patch_pyramid`.
    """
    loss = cosine_loss(student, teacher)
    a, b = student.float(), teacher.float()
    for _ in range(levels):
        a, b = (F.normalize(F.avg_pool2d(m, 2), dim=1) for m in (a, b))
        loss = loss + weight * cosine_loss(a, b)
    return loss
