"""How a network wants its input's colours normalised: a closed set of ways, declared without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gcm.errors import ConfigError

__all__ = ["IMAGENET", "NORMALISATIONS", "MeanDeviation", "Normalisation", "PerImage"]


@dataclass(frozen=True)
class MeanDeviation:
    """Subtract a fixed colour and divide by a fixed deviation, both of red, green and blue in 0..1.

    Raises:
        ConfigError: not three numbers each, or a deviation that is not positive.
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.deviation) != 3 or not all(d > 0 for d in self.deviation):
            raise ConfigError(
                f"mean {self.mean}, deviation {self.deviation}: give three numbers each, of red, green and "
                "blue in 0..1, and deviations above 0"
            )

    def __str__(self) -> str:
        if self == IMAGENET:
            return "imagenet"
        mean, deviation = (", ".join(f"{value:g}" for value in v) for v in (self.mean, self.deviation))
        return f"mean ({mean}), deviation ({deviation})"


@dataclass(frozen=True)
class PerImage:
    """Subtract an image's own mean colour and divide by its own contrast: exposure and tint cancel."""

    grey: bool = False
    """Only the mean of the three normalised channels is given, as one channel."""

    def __str__(self) -> str:
        return "standardised grey" if self.grey else "standardised"


Normalisation: TypeAlias = MeanDeviation | PerImage
"""What a backbone or fine model declares; ``str`` of it is for people to read."""

IMAGENET = MeanDeviation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What torchvision's networks, and most others, were trained with."""

NORMALISATIONS: dict[str, Normalisation] = {
    str(entry): entry for entry in (IMAGENET, PerImage(), PerImage(grey=True))
}
"""Those that have a name, for recipes."""
