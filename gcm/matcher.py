"""The matcher: from any two images to their matches.

It reads the images, brings them to working size, lets one of the two methods (:mod:`gcm.method.published`,
:mod:`gcm.method.guided`) match them, and maps the result back to the images as given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gcm.backbones.base import Backbone
from gcm.backbones.registry import backbone_info, create_backbone, create_fine_model
from gcm.config import DEFAULT_PRESET, MatcherConfig, load_config
from gcm.errors import GCMError, UsageError, WrongTypeError
from gcm.estimation.final import final_homography
from gcm.features.batching import Work, run_alone, run_batched
from gcm.features.device import choose_device, choose_precision
from gcm.features.extractor import FeatureExtractor
from gcm.features.folder import FEATURES_SIZE, FeatureFolder
from gcm.features.seeds import SeedMatcher, create_seed_matchers
from gcm.geometry import resize_matrix, resize_points
from gcm.images.arrays import images_of_batch
from gcm.images.files import ImageLike, RGBImage, read_image
from gcm.images.masks import Mask, MaskLike, both_masks, outside_mask, read_mask
from gcm.images.sizes import image_size, resize_to, working_size
from gcm.matches import Matches
from gcm.method.guided import match_guided
from gcm.method.published import match_published
from gcm.method.steps import Clock, matching_steps
from gcm.method.working_matches import MethodResult
from gcm.options import GuidedOptions, PublishedOptions

if TYPE_CHECKING:
    from gcm.backbones.onnx.session import Provider

__all__ = ["Matcher", "match"]

_PAIRS_AT_ONCE = 8


@dataclass(frozen=True)
class _WorkingImage:
    """An image as it is matched."""

    pixels: RGBImage
    """At working size."""
    size: tuple[int, int]
    """Width and height of the image as given."""
    notes: tuple[str, ...]
    mask: Mask | None = None
    """Of the image as given."""


class Matcher:
    """Finds point correspondences between pairs of images; build once, use for many pairs.

    Every match has a score in [0, 1] that ranks matches by how likely they are right; what it is made of
    is said by :func:`gcm.method.view.match_view` and :func:`gcm.method.published.match_published`.

    The features of the images last seen are kept (`feature_cache` megabytes of them), so that consecutive
    pairs that share an image compute them once. Several threads may use one matcher, and it can be copied
    and pickled; copies start with no features.

    Args:
        config: preset name, path of a YAML file, :class:`MatcherConfig`, or None for the default preset.
        name: what results call the configuration; its own name or file unless given.
        features: folder in which the backbone's maps are kept for other runs, so that an image that was
            seen before is not computed again; results are the same to the last bit. Processes may share it.
        features_size: GiB that it may take; what was not used for longest goes.
        **changes: configuration keys to change, as in ``Matcher("default", device="cpu")``.

    Raises:
        ConfigError: a configuration that cannot be used.
        WeightsError, DownloadError: weights missing, damaged or of another network.
        OutputError: the folder for features cannot be written.
    """

    def __init__(
        self,
        config: str | PathLike[str] | MatcherConfig | None = None,
        *,
        name: str | None = None,
        features: str | PathLike[str] | None = None,
        features_size: float = FEATURES_SIZE,
        **changes: Any,
    ) -> None:
        self.config = load_config(config, **changes)
        self.name = name or ("custom" if isinstance(config, MatcherConfig) else str(config or DEFAULT_PRESET))
        self.info = backbone_info(self.config.model)
        folder = None if features is None else FeatureFolder(features, int(features_size * 2**30))
        self.steps = matching_steps(self.config)
        device, self._notes = choose_device(self.config.device)
        self.precision = choose_precision(self.config.precision, device, runtime=self.config.runtime)
        backbone, providers = self._backbone()
        fine = None
        method = self.config.method
        if isinstance(method, PublishedOptions) and method.fine_model:
            fine = create_fine_model(method.fine_model, weights=method.fine_weights_path)
        self._seeds: tuple[SeedMatcher, ...] = ()
        if isinstance(method, GuidedOptions):
            seeds = method.seeds
            self._seeds = create_seed_matchers(
                seeds.matchers,
                sides=seeds.sides,
                keypoints=seeds.keypoints,
                device=device,
                providers=providers,
            )
        self.features = FeatureExtractor(
            backbone,
            fine,
            device,
            precision=self.precision,
            cache_bytes=self.config.feature_cache * 2**20,
            folder=folder,
        )

    def _backbone(self) -> tuple[Backbone, list[Provider] | None]:
        """The backbone, and what ONNX Runtime computes with where that is what computes."""
        backbone = create_backbone(self.config.model, weights=self.config.weights_path)
        if self.config.runtime == "torch":
            return backbone, None
        from gcm.backbones.onnx.runtime import OnnxBackbone
        from gcm.backbones.onnx.session import choose_providers

        providers, notes = choose_providers(self.config.device)
        self._notes += notes
        return OnnxBackbone(backbone, providers, precision=self.precision), providers

    def __repr__(self) -> str:
        return f"Matcher({self.name!r}: {self.info.name} on {self.device}, {self.precision})"

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.features.device

    @property
    def runtime(self) -> str:
        """What computes the networks; of ONNX Runtime also with which provider."""
        if self.config.runtime == "torch":
            return "torch"
        return f"onnxruntime, {self.features.backbone.provider}"

    def __call__(self, image0: ImageLike, image1: ImageLike) -> Matches:
        """Same as :meth:`match`."""
        return self.match(image0, image1)

    def match(
        self,
        image0: ImageLike,
        image1: ImageLike,
        *,
        mask0: MaskLike | None = None,
        mask1: MaskLike | None = None,
        alpha: bool = False,
    ) -> Matches:
        """Match two images.

        Args:
            image0, image1: anything :func:`gcm.images.read_image` reads: a path, ``-`` for standard input,
                bytes, an open file, a numpy array (H x W, H x W x 3 RGB, H x W x 4), a tensor or a PIL
                image; sizes may differ.
            mask0, mask1: an image file or an H x W array as large as the upright image; no match starts or
                ends where it is zero.
            alpha: nor where the alpha channel of its image is zero.

        Returns:
            Points in pixels of the upright images as given, whatever size the networks worked at. No
            matches is a valid answer.

        Raises:
            ImageError: an image that cannot be read, or a mask of another size.
        """
        with torch.inference_mode():
            return run_alone(self._work(image0, image1, (mask0, mask1), alpha), self.features.answer)

    @property
    def pairs_at_once(self) -> int:
        """How many pairs :meth:`match_many` should be given: a GPU is not busy with one alone."""
        return _PAIRS_AT_ONCE if self.device.type == "cuda" and self.features.fine is None else 1

    def match_many(self, pairs: Iterable[tuple[ImageLike, ImageLike]]) -> list[Matches | Exception]:
        """Match several pairs side by side, the network seeing their images of one size together.

        The same pairs give the same results however often repeated. From those of :meth:`match` they differ
        by the rounding of a larger batch, on which now and then hangs whether another round is made.
        Memory grows with the number of pairs. With a patch descriptor (`fine_model`) they are matched one
        after the other.

        Returns:
            For each pair its matches, or the error that prevented them.

        Raises:
            WrongTypeError: no list, or something in it is no pair of images.
        """
        if not isinstance(pairs, Iterable):
            raise WrongTypeError(f"match_many takes pairs, [(a, b), (c, d), ...], not {type(pairs).__name__}")
        pairs = list(pairs)  # gone through twice, and a generator gives its items once
        for number, pair in enumerate(pairs):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise WrongTypeError(f"match_many takes pairs, [(a, b), (c, d), ...]; entry {number} is none")
        with torch.inference_mode():
            if self.features.fine is None:
                works = [self._work(image0, image1) for image0, image1 in pairs]
                return run_batched(works, self.features.answer)
            return [
                result
                for image0, image1 in pairs
                for result in run_batched([self._work(image0, image1)], self.features.answer)
            ]

    def match_batch(
        self,
        images0: Tensor | NDArray[Any] | Sequence[ImageLike],
        images1: Tensor | NDArray[Any] | Sequence[ImageLike],
    ) -> list[Matches]:
        """Match each image of a batch with the one in its place in another.

        Args:
            images0, images1: B x C x H x W or B x H x W x C tensors on any device, B x H x W x C arrays, or
                lists of images as :meth:`match` takes them; as many in both, of any sizes.

        Returns:
            What :meth:`match` gives of each; on a GPU up to rounding, see :meth:`match_many`.

        Raises:
            WrongTypeError: no batches.
            UsageError: more images in one than in the other.
            ImageError: an image that cannot be used; which one is said.
        """
        first, second = images_of_batch(images0, "images0"), images_of_batch(images1, "images1")
        if len(first) != len(second):
            raise UsageError(
                f"match_batch takes as many images in both batches, not {len(first)} and {len(second)}"
            )
        pairs, results = list(zip(first, second, strict=True)), []
        for start in range(0, len(pairs), self.pairs_at_once):
            part = pairs[start : start + self.pairs_at_once]
            for number, result in enumerate(self.match_many(part), start):
                if isinstance(result, GCMError):
                    raise type(result)(f"pair {number} of the batch: {result}") from result
                if isinstance(result, Exception):
                    raise result
                results.append(result)
        return results

    # -- one pair ------------------------------------------------------------------------------

    def _work(
        self,
        source0: ImageLike,
        source1: ImageLike,
        masks: tuple[MaskLike | None, MaskLike | None] = (None, None),
        alpha: bool = False,
    ) -> Work[Matches]:
        """The match of a pair, which asks for features as it needs them."""
        clock = Clock()
        with clock("read"):
            images = (
                self._read(source0, "image 0", masks[0], alpha),
                self._read(source1, "image 1", masks[1], alpha),
            )
        work0, work1 = images[0].pixels, images[1].pixels
        method = self.config.method
        result: MethodResult
        if isinstance(method, GuidedOptions):
            result = yield from match_guided(work0, work1, self.steps, method, clock, self._seeds)
        else:
            result = yield from match_published(work0, work1, self.steps, method, clock)
        with clock("geometry"):
            matches = self._in_images_as_given(result, images)
        info = self._info(result, images, clock)
        if any(image.mask is not None for image in images):
            info["hidden"] = len(result.matches) - len(matches)
        return replace(matches, info=info)

    def _read(self, source: ImageLike, name: str, mask: MaskLike | None, alpha: bool) -> _WorkingImage:
        """An image at the size the networks work at, and where it is not to be matched."""
        loaded = read_image(source, max_pixels=self.config.max_pixels)
        config = self.config
        size = working_size(
            loaded.size, resize=config.resize, down_sample=config.down_sample, max_side=config.max_side
        )
        if image_size(loaded.pixels) != loaded.size:  # read at reduced size: enlarging it shows nothing more
            size = min(size, image_size(loaded.pixels))
        masked, notes = None if mask is None else read_mask(mask, loaded.size, name), loaded.notes
        if alpha:
            masked = both_masks(masked, loaded.visible)
            if loaded.visible is None:
                notes = (*notes, "has no alpha channel; all of it counts")
        return _WorkingImage(resize_to(loaded.pixels, size), loaded.size, notes, masked)

    def _in_images_as_given(
        self, result: MethodResult, images: tuple[_WorkingImage, _WorkingImage]
    ) -> Matches:
        """From the working images to those given, with the final homography."""
        works, sizes = [image_size(image.pixels) for image in images], [image.size for image in images]
        points0 = resize_points(result.matches.points0, works[0], sizes[0])
        points1 = resize_points(result.matches.points1, works[1], sizes[1])
        keep = outside_mask(images[0].mask, points0) & outside_mask(images[1].mask, points1)
        points0, points1, scores = points0[keep], points1[keep], result.matches.scores[keep]
        initial = np.eye(3) if result.h_1_to_0_initial is None else result.h_1_to_0_initial
        initial = resize_matrix(works[0], sizes[0]) @ initial @ resize_matrix(sizes[1], works[1])
        h_0_to_1, inliers = final_homography(points0, points1, self.config.homography_threshold)
        return Matches(
            points0,
            points1,
            scores,
            sizes[0],
            sizes[1],
            h_0_to_1,
            inliers,
            initial,
            confidence=result.confidence,
        )

    def _info(
        self, result: MethodResult, images: tuple[_WorkingImage, _WorkingImage], clock: Clock
    ) -> dict[str, Any]:
        notes = list(self._notes)
        if self.features.folder is not None and self.features.folder.problem is not None:
            notes.append(f"features are not kept any more: {self.features.folder.problem}")
        for number, image in enumerate(images):
            notes += [f"image {number}: {note}" for note in image.notes]
            worked_at = image_size(image.pixels)
            if worked_at != image.size:
                notes.append(
                    f"image {number}: worked at {_text(worked_at)} instead of {_text(image.size)}; "
                    "points are in original pixels"
                )
        return {
            **({"trace": list(result.trace)} if result.trace else {}),
            **({"evidence": dict(result.evidence)} if result.evidence else {}),
            "preset": self.name,
            "model": self.info.name,
            "device": str(self.device),
            "runtime": self.runtime,
            "precision": self.precision,
            "working_size0": list(image_size(images[0].pixels)),
            "working_size1": list(image_size(images[1].pixels)),
            "seconds": clock.seconds,
            "notes": notes,
        }


def match(
    image0: ImageLike,
    image1: ImageLike,
    config: str | PathLike[str] | MatcherConfig | None = None,
    **changes: Any,
) -> Matches:
    """Match two images once; for many pairs, build a :class:`Matcher` and keep it.

    Args and errors are those of :class:`Matcher` and :meth:`Matcher.match`.
    """
    return Matcher(config, **changes).match(image0, image1)


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
