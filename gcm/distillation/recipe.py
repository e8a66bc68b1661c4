"""What a distillation run does, as a validated file (``configs/distill/*.yml``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from gcm.errors import ConfigError, did_you_mean, plainly
from gcm.storage.yaml_files import read_yaml

__all__ = [
    "AugmentationRecipe",
    "CollectionsRecipe",
    "DistillRecipe",
    "RgbdRecipe",
    "find_recipe",
    "load_recipe",
]


_LARGEST_CELLS = {"compact": 32, "slim": 32, "small": 32, "context": 32, "attention": 8}
"""Of each student, pixels a cell of its coarsest map."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AugmentationRecipe(_Strict):
    """How training crops are made from photos; sizes in pixels, intensities in grey levels of 255."""

    crop: int = Field(192, ge=64, description="side of a training crop")
    scale: tuple[float, float] = Field((256, 1024), description="range of the photo's longer side")

    @field_validator("scale")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("must be two positive numbers, the smaller first")
        return value

    homography_share: float = Field(0.8, ge=0, le=1, description="share of crops that are warped")
    tilt: float = Field(0.5, ge=0, lt=1, description="corner displacement, in quarters of the crop")
    rotation: float = Field(30.0, ge=0, le=180, description="largest rotation in degrees")
    view_scale: float = Field(
        1.4, ge=1, description="compact: largest change of scale between the two views of a photo"
    )
    exposure: float = Field(
        0.0, ge=0, description="largest |log| of a contrast change of the network's input"
    )
    shift: float = Field(0.0, ge=0, description="deviation of a brightness shift of the network's input")
    variants: int = Field(1, ge=1, description="degraded copies of each crop the student sees")
    noise: float = Field(25.0, ge=0)
    noise_share: float = Field(0.5, ge=0, le=1)
    blur: float = Field(2.0, ge=0.3, description="largest standard deviation of a Gaussian, pixels")
    blur_share: float = Field(0.0, ge=0, le=1)
    jpeg: int = Field(30, ge=1, le=95, description="lowest JPEG quality")
    jpeg_share: float = Field(0.0, ge=0, le=1)
    gamma: float = Field(0.7, ge=0, description="largest |log gamma|")
    gamma_share: float = Field(0.0, ge=0, le=1)
    brightness: float = Field(0.2, ge=0, lt=1)
    contrast: float = Field(0.2, ge=0, lt=1)
    saturation: float = Field(0.2, ge=0, lt=1)
    tint: float = Field(0.1, ge=0, lt=1)
    colour_share: float = Field(1.0, ge=0, le=1)


class LightRecipe(_Strict):
    """What other light does to the views of student `context`; shares are of views."""

    sensor_share: float = Field(0.1, ge=0, le=1, description="grey by random weights of the channels")
    tone_share: float = Field(0.4, ge=0, le=1, description="regions of one colour change their tone")
    tone: float = Field(0.4, ge=0, description="deviation of the log of their gain and gamma")
    tones: int = Field(4, ge=1, description="how many regions")
    haze_share: float = Field(0.1, ge=0, le=1)
    haze: float = Field(0.7, ge=0, le=1, description="most of the contrast that it takes")
    shadow_share: float = Field(0.25, ge=0, le=1)
    shadow: float = Field(0.75, ge=0, le=1, description="most of the light that it takes")
    night_share: float = Field(0.1, ge=0, le=1, description="little light, and lamps")
    lamp_share: float = Field(0.15, ge=0, le=1)
    lamp: float = Field(4.0, ge=0, description="most that a lamp adds, as a multiple of what there is")
    invert_share: float = Field(0.03, ge=0, le=1)


class SceneRecipe(_Strict):
    """Procedural scenes with depth; student `context`."""

    share: float = Field(
        0.5, ge=0, le=1, description="of the pairs made of single photos; the rest of those are planes"
    )
    photos: int = Field(6, ge=1, description="different textures of a scene")
    baseline: float = Field(
        0.5, gt=0, description="largest distance of the cameras, as a share of that of what they look at"
    )
    zoom: float = Field(1.6, ge=1, description="largest ratio of their focal lengths")
    light: float = Field(
        0.25, ge=0, description="deviation of the log of a surface's brightness from view to view"
    )


def _as_folders(value: Any) -> Any:
    """One folder may stand without brackets, and ``~`` is the home folder."""
    if isinstance(value, str | Path):
        value = (value,)
    if isinstance(value, list | tuple):
        return tuple(Path(v).expanduser() if isinstance(v, str | Path) else v for v in value)
    return value


Folders = Annotated[tuple[Path, ...], BeforeValidator(_as_folders)]


class RgbdRecipe(_Strict):
    """Pairs of frames of RGB-D sequences with poses; students `context` and `attention`."""

    folders: Folders = Field(
        (), description="searched for sequences: folders with K.txt, poses.txt, images/ and depth/"
    )
    share: float = Field(0.3, ge=0, le=1, description="of all pairs, where there are folders")
    overlap: float = Field(
        0.3, gt=0, le=1, description="least share of a frame's depths that the other frame shows, too"
    )
    pairs: int = Field(1000, ge=1, description="most pairs of frames of a sequence")
    depth_tolerance: float = Field(
        0.03, gt=0, lt=0.5, description="share of the depth by which two frames that agree may differ"
    )
    way_back: float = Field(
        2.0, gt=0, description="pixels: a place, taken to the other frame and back, ends so near"
    )
    misalignment: float = Field(
        1.0, gt=0, description="pixels by which depth and poses may put a frame beside where it fits another"
    )
    correlation: float = Field(
        0.3, ge=-1, lt=1, description="least correlation of the brightness around a place in both frames"
    )


class CollectionsRecipe(_Strict):
    """Pairs of photos without truth, labelled by two matchers; students `context` and `attention`."""

    folders: Folders = Field(
        (), description="searched for photos; those of a place lie in a folder of their own"
    )
    share: float = Field(0.3, ge=0, le=1, description="of all pairs, where there are folders")
    pairs: int = Field(400, ge=1, description="most pairs of photos of a folder that are labelled")
    teachers: tuple[str, str] = Field(
        ("aliked-lightglue", "disk-lightglue:resize=704"),
        description="the matcher that labels, and the one that must agree",
    )
    turned: bool = Field(True, description="where it finds little, turn one photo by quarters")
    epipolar: float = Field(2.0, gt=0, description="pixels that a match may lie off its epipolar line")
    nearby: float = Field(24.0, gt=0, description="pixels within which both must have found something")
    fewest: int = Field(40, ge=8, description="labels below which photos do not show the same place")
    labels: Path | None = Field(None, description="folder that keeps labels; gcm's cache when empty")


class DistillRecipe(_Strict):
    """One distillation run."""

    teacher: Literal["disk", "r2d2", "xfeat"] = "disk"
    teacher_weights: Path | None = Field(None, description="R2D2 only: the teacher's checkpoint")
    student: Literal["r2d2_student", "compact", "slim", "small", "context", "attention"] = "r2d2_student"
    normalisation: Literal["imagenet", "standardised"] = "imagenet"
    steps: int = Field(20_000, ge=1)
    batch_size: int = Field(4, ge=1, description="different crops in a step")
    sample_step: int = Field(4, ge=1, description="grid step, in pixels, at which the loss is taken")
    pooled_levels: int = Field(0, ge=0, le=4, description="2 x 2 pools of the samples that are compared, too")
    pooled_weight: float = Field(0.5, ge=0, description="weight of each of them")
    temperature: float = Field(0.1, gt=0, description="compact: of the softmax over cosines")
    matching_weight: float = Field(0.5, ge=0, description="compact: weight of the coarse matching loss")
    window_weight: float = Field(0.3, ge=0, description="compact: weight of the loss of each finer level")
    window: int = Field(7, ge=3, description="compact: side of the window searched, in cells")
    window_samples: int = Field(192, ge=1, description="compact: cells searched for, a view and level")
    teacher_weight: float = Field(1.0, ge=0, description="context: weight of imitating the teacher")
    keypoints: int = Field(512, ge=8, description="attention: most keypoints of a view")
    stream: Path | None = Field(
        None, description="attention: weights of student `context` whose maps it looks at; ours when empty"
    )
    trunk: Path | None = Field(
        None, description="small: weights of student `compact` whose coarser layers it keeps; ours when empty"
    )
    slim: Path | None = Field(
        None, description="small: weights of student `slim` whose finer maps it imitates"
    )
    blend: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the trained weights in those that are written, the rest is what they started "
        "from: what was learnt before is kept (Wortsman et al., CVPR 2022)",
    )
    learning_rate: float = Field(1e-3, gt=0)
    final_learning_rate: float = Field(1e-5, gt=0, description="reached by a cosine")
    warmup_steps: int = Field(50, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    held_out: float = Field(0.05, ge=0, lt=0.5, description="share of photos kept for validation")
    validate_every: int = Field(250, ge=1)
    checkpoint_every: int = Field(250, ge=1)
    validation_batches: int = Field(8, ge=1)
    augmentation: AugmentationRecipe = AugmentationRecipe()
    light: LightRecipe = LightRecipe()
    scenes: SceneRecipe = SceneRecipe()
    rgbd: RgbdRecipe = RgbdRecipe()
    collections: CollectionsRecipe = CollectionsRecipe()

    @model_validator(mode="after")
    def _crops_are_whole_cells(self) -> DistillRecipe:
        crop, cell = self.augmentation.crop, _LARGEST_CELLS.get(self.student, 1)
        if crop % cell:
            below = crop // cell * cell
            raise ValueError(
                f"augmentation.crop: {crop} is no multiple of {cell}, as student {self.student} needs; "
                f"use {below} or {below + cell}"
            )
        return self

    @model_validator(mode="after")
    def _pairs_are_used(self) -> DistillRecipe:
        given: dict[str, float] = {}
        if self.rgbd.folders:
            given["rgbd"] = self.rgbd.share
        if self.collections.folders:
            given["collections"] = self.collections.share
        if given and self.student not in ("context", "attention"):
            raise ValueError(
                f"{next(iter(given))}.folders: student {self.student} learns from single photos; pairs of "
                "photos are for context and attention"
            )
        if sum(given.values()) > 1:
            raise ValueError("rgbd.share and collections.share: together more than 1; lower one of them")
        return self


def load_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> DistillRecipe:
    """Read a recipe file.

    Args:
        path: a YAML file.
        changes: values to set in place of the file's, by key; ``augmentation.blur`` is a key of a group.

    Raises:
        ConfigError: unreadable, unknown key, or a value out of range.
    """
    values = read_yaml(path)
    for key, value in (changes or {}).items():
        group, dot, name = key.partition(".")
        if not dot:
            values[key] = value
        elif isinstance(values.setdefault(group, {}), dict):
            values[group] = {**values[group], name: value}
        else:
            groups = ", ".join(_groups())
            raise ConfigError(f"{key}: is no group of keys; those are {groups}, as in augmentation.blur")
    try:
        return DistillRecipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, str(path), changes or {})) from error


def _groups() -> dict[str, list[str]]:
    """The keys of each group."""
    return {
        name: list(field.annotation.model_fields)
        for name, field in DistillRecipe.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _explain(error: ValidationError, origin: str, changes: Mapping[str, Any]) -> str:
    """The first fault, in one line; what the caller changed is not the file's."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    hint = ""
    if first["type"] == "extra_forbidden":
        word = str(first["loc"][-1])
        groups = _groups()
        group = key.split(".")[0]
        if group in groups:
            hint = did_you_mean(word, groups[group])
        elif word in groups["augmentation"]:
            hint = f" (did you mean 'augmentation.{word}'?)"
        else:
            hint = did_you_mean(word, DistillRecipe.model_fields)
    message = plainly(first["msg"])
    changed = any(key == name or key.startswith(f"{name}.") for name in changes)
    told = f"{key}: {message}{hint}" if key else message  # of several keys at once, it names them itself
    return f"{'' if changed else f'{origin}: '}{told}"


def find_recipe(source: str, folder: Path) -> Path:
    """A recipe file by path, or by name among those in `folder`.

    Raises:
        ConfigError: neither.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    names = sorted(recipe.stem for recipe in folder.glob("*.yml"))
    if source in names:
        return folder / f"{source}.yml"
    raise ConfigError(f"{source}: no such recipe{did_you_mean(source, names)}; known: {', '.join(names)}")
