"""The steps of a match, from the coarsest map to the finest, and the clock of its stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gcm.backbones.registry import backbone_info
from gcm.config import MatcherConfig
from gcm.errors import ConfigError
from gcm.options import PublishedOptions

__all__ = ["Clock", "RefinementStep", "matching_steps"]


@dataclass(frozen=True)
class RefinementStep:
    """One step of a match: which map of the pyramid, its stride, the ratio it must pass."""

    map_index: int
    """Of the pyramid's maps, fine to coarse; -1 is the patch descriptor's."""
    stride: int
    """Pixels of the network's input a cell."""
    threshold: float
    """Largest ratio of best to second-best squared distance; 1 keeps every mutual pair, -1 is no test."""


def matching_steps(config: MatcherConfig) -> tuple[RefinementStep, ...]:
    """Stage 0, the dense match of stage 1, then each refinement (docs/method.md, "Feature pyramids").

    Raises:
        ConfigError: `ratio_th`, `up_sample` or `finest_stride` does not fit the backbone.
    """
    info = backbone_info(config.model)
    strides = info.step_strides
    if len(config.ratio_th) != len(strides):
        raise ConfigError(
            f"ratio_th has {len(config.ratio_th)} values where {info.name} needs {len(strides)}, "
            f"one for each of the strides {', '.join(map(str, strides))} (fine to coarse)"
        )
    last = len(info.strides) - 1
    steps = [
        RefinementStep(min(k, last), stride, threshold)
        for k, (stride, threshold) in enumerate(zip(strides, config.ratio_th, strict=True))
    ]
    published = config.method if isinstance(config.method, PublishedOptions) else PublishedOptions()
    if published.fine_model:
        if config.finest_stride > 1:
            raise ConfigError(
                f"finest_stride {config.finest_stride} leaves out the patch descriptor; "
                "leave one of them empty"
            )
        # The patch descriptor does the last step; a stride-1 map of the backbone makes way for it.
        steps = [
            RefinementStep(-1, 1, published.fine_ratio),
            *(step for step in steps if step.stride > 1),
        ]
    kept = [step for step in steps if step.stride >= config.finest_stride]
    if len(kept) < 2:
        raise ConfigError(
            f"finest_stride {config.finest_stride} leaves nothing of {info.name} to refine with"
        )
    if config.up_sample is not None and config.up_sample != (strides[-1], kept[0].stride):
        raise ConfigError(
            f"up_sample is {list(config.up_sample)} where {info.name}"
            f"{' with ' + published.fine_model if published.fine_model else ''} has "
            f"[{strides[-1]}, {kept[0].stride}]; correct it or leave it empty"
        )
    return tuple(reversed(kept))


class Clock:
    """Seconds spent by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
