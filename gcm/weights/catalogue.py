"""The weights `gcm` knows: where they come from, how they are checked, under which licence."""

from __future__ import annotations

from dataclasses import dataclass

from gcm.errors import WeightsError, did_you_mean

__all__ = ["CATALOGUE", "WeightEntry", "get_entry"]


@dataclass(frozen=True)
class WeightEntry:
    """One weight file.

    `sha256` is the full hash where it can be proven; torchvision proves only the first eight hex digits
    of its files (``sha256_prefix``, from their names). With neither, the file is *unverified*: its hash is
    recorded at the first download and checked from then on.
    """

    name: str
    filename: str
    urls: tuple[str, ...] = ()
    """Tried in order; empty for weights that are embedded or brought by hand."""
    sha256: str | None = None
    sha256_prefix: str | None = None
    size: int | None = None
    """Bytes, where known."""
    licence: str = ""
    non_commercial: bool = False
    citation: str = ""
    embedded: bool = False
    """True for our own weights, which are part of the package."""


def _torchvision(name: str, filename: str) -> WeightEntry:
    digits = filename.rsplit("-", 1)[1].split(".", maxsplit=1)[0]
    return WeightEntry(
        name,
        filename,
        (f"https://download.pytorch.org/models/{filename}",),
        sha256_prefix=digits,
        licence="BSD-3-Clause (torchvision); trained on ImageNet",
        citation="torchvision, https://github.com/pytorch/vision",
    )


_R2D2_CITATION = (
    "Revaud et al., R2D2: Repeatable and Reliable Detector and Descriptor, NeurIPS 2019 (arXiv 1906.06195)"
)

_ENTRIES = (
    _torchvision("vgg16", "vgg16-397923af.pth"),
    _torchvision("vgg19", "vgg19-dcbb9e9d.pth"),
    _torchvision("vgg19_bn", "vgg19_bn-c79401a0.pth"),
    _torchvision("resnet18", "resnet18-f37072fd.pth"),
    WeightEntry(
        "r2d2",
        "r2d2_WASF_N16.pt",
        ("https://github.com/naver/r2d2/raw/master/models/r2d2_WASF_N16.pt",),
        sha256="9ae90e02a9a133d100ca7aeaa32f4d4d7736a6dd222a530a25c8f7da5e508528",
        size=1950677,
        licence="CC BY-NC-SA 3.0 (non-commercial)",
        non_commercial=True,
        citation=_R2D2_CITATION,
    ),
    WeightEntry(
        "r2d2_student",
        "dstl_r2d2.pt",
        sha256="5edd42c5f6763359351affe0517a39f3cff5f52d3b22fce291834fcefa740b72",
        size=1174503,
        licence="derived from R2D2, CC BY-NC-SA 3.0 (non-commercial)",
        non_commercial=True,
        citation="GCM: Generalized Correspondence Matching (arXiv 2403.05388); teacher: " + _R2D2_CITATION,
    ),
    WeightEntry(
        "gcm_patch",
        "gcm_patch.safetensors",
        licence="Apache-2.0 (ours); teacher DISK, Apache-2.0",
        citation="this package; see gcm/weights/embedded/README.md",
        embedded=True,
    ),
)

CATALOGUE: dict[str, WeightEntry] = {entry.name: entry for entry in _ENTRIES}
"""Entries by name."""


def get_entry(name: str) -> WeightEntry:
    """Look a catalogue entry up.

    Raises:
        WeightsError: no such name.
    """
    try:
        return CATALOGUE[name.lower()]
    except KeyError:
        raise WeightsError(
            f"no weights named '{name}'{did_you_mean(name, CATALOGUE)}; "
            f"known: {', '.join(CATALOGUE)}, or give a path"
        ) from None
