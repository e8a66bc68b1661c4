"""Distillation losses."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["cosine_loss"]


def cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of 1 - cos over positions; both B x C x H x W, neither normalised. Scalar in [0, 2].

    The GCM paper's formula sums |cos| and minimises it, which would push the two apart; 1 - cos is
    the sensible reading.
    """
    return (1.0 - F.cosine_similarity(student.float(), teacher.float(), dim=1)).mean()
