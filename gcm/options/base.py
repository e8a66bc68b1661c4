"""What all options have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Hypotheses", "MethodOptions", "Options", "Positive", "Share", "inapplicable", "ordered"]

Hypotheses = Literal["upright", "auto", "full"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Number = TypeVar("Number", int, float)


def ordered(bounds: tuple[Number, Number]) -> tuple[Number, Number]:
    """Two positive numbers, the smaller first; for pydantic."""
    if not 0 < bounds[0] <= bounds[1]:
        raise ValueError("must be two positive numbers, the smaller first")
    return bounds


class Options(BaseModel):
    """Base of all options: frozen, and strict about keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodOptions(Options):
    """Base of the options of a method."""

    @model_validator(mode="before")
    @classmethod
    def _applicable(cls, values: Any) -> Any:
        """Refuse what was set and would not be looked at."""
        if isinstance(values, dict):
            for key, reason in cls._pointless(values).items():
                if key in cls.model_fields and cls._was_set(key, values.get(key)):
                    raise ValueError(f"{key} does not apply {reason}; leave it out")
        return values

    @classmethod
    def _pointless(cls, values: Mapping[str, Any]) -> dict[str, str]:
        return inapplicable(values)

    @classmethod
    def _was_set(cls, key: str, value: Any) -> bool:
        """Whether a value asks for something; a group or number at its default, as in a dump, does not."""
        default = cls.model_fields[key].default
        if isinstance(default, BaseModel):
            return value not in (None, default, default.model_dump())
        return value not in (None, False) and not (isinstance(default, float) and value == default)


def inapplicable(values: Mapping[str, Any]) -> dict[str, str]:
    """Keys of a method's options that others of its keys make pointless, and why."""
    pointless: dict[str, str] = {}
    if values.get("geometry") == "none":
        pointless |= dict.fromkeys(("hypotheses", "second_round"), "with geometry none")
    if values.get("smooth") is False:
        pointless |= dict.fromkeys(("smoothing", "alignment"), "without smooth")
    if values.get("verify") is False:
        pointless |= dict.fromkeys(
            ("smooth", "smoothing", "alignment", "lines", "min_confidence"), "without verify"
        )
    if values.get("hypotheses") is not None:
        pointless["coarse_threshold"] = "with hypotheses"
    if values.get("enable_two_stage") is False:
        pointless |= dict.fromkeys(("hypotheses", "coarse_threshold", "search"), "without enable_two_stage")
    return pointless
