"""Libraries that estimate, by name."""

from __future__ import annotations

import importlib

from gcm.errors import UsageError, did_you_mean
from gcm.estimation.base import Estimator

__all__ = ["estimator", "list_estimators"]

_LIBRARIES = {
    "opencv": ("gcm.estimation.opencv", "OpenCVEstimator"),
    "poselib": ("gcm.estimation.poselib", "PoseLibEstimator"),
}


def list_estimators() -> list[str]:
    """Names that :func:`estimator` takes, whether or not the library is installed; the default first."""
    return list(_LIBRARIES)


def estimator(library: str = "opencv") -> Estimator:
    """The estimator of a library.

    Raises:
        UsageError: no such library.
        DependencyError: it is not installed.
    """
    if library not in _LIBRARIES:
        known = ", ".join(_LIBRARIES)
        hint = did_you_mean(library, _LIBRARIES)
        raise UsageError(f"'{library}': no estimation library of that name{hint}; known are {known}")
    module, name = _LIBRARIES[library]
    chosen: Estimator = getattr(importlib.import_module(module), name)()
    return chosen
