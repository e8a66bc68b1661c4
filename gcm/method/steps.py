"""The levels of a match, and the clock of its stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gcm.backbones.registry import backbone_info
from gcm.config import MatcherConfig
from gcm.errors import ConfigError

__all__ = ["Clock", "Level", "matching_levels"]


@dataclass(frozen=True)
class Level:
    """One step of the refinement: which map of the pyramid, its stride, the ratio it must pass."""

    index: int
    stride: int
    threshold: float


def matching_levels(config: MatcherConfig) -> tuple[Level, ...]:
    """Stage 0, the dense match of stage 1, then each refinement (specification, section 2).

    Raises:
        ConfigError: `ratio_th` or `up_sample` does not fit the backbone.
    """
    info = backbone_info(config.model)
    strides = info.level_strides
    if len(config.ratio_th) != len(strides):
        raise ConfigError(
            f"ratio_th has {len(config.ratio_th)} values where {info.name} needs {len(strides)}, "
            f"one for each of the strides {', '.join(map(str, strides))} (fine to coarse)"
        )
    last = len(info.strides) - 1
    levels = [
        Level(min(k, last), stride, threshold)
        for k, (stride, threshold) in enumerate(zip(strides, config.ratio_th, strict=True))
    ]
    if config.fine_model:
        # The patch descriptor does the last step; a stride-1 map of the backbone makes way for it.
        levels = [Level(-1, 1, config.fine_ratio), *(level for level in levels if level.stride > 1)]
    if config.up_sample is not None and config.up_sample != (strides[-1], levels[0].stride):
        raise ConfigError(
            f"up_sample is {list(config.up_sample)} where {info.name}"
            f"{' with ' + config.fine_model if config.fine_model else ''} has "
            f"[{strides[-1]}, {levels[0].stride}]; correct it or leave it empty"
        )
    if config.fine_model and config.finest_stride > 1:
        raise ConfigError(
            f"finest_stride {config.finest_stride} leaves out the patch descriptor; leave one of them empty"
        )
    kept = [level for level in levels if level.stride >= config.finest_stride]
    if len(kept) < 2:
        raise ConfigError(
            f"finest_stride {config.finest_stride} leaves nothing of {info.name} to refine with"
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
