"""The GCM matcher: read this file to understand the method.

Two images become two feature pyramids. The coarsest maps give an initial homography (stage 0), by which
image 1 is warped into image 0's frame; the dense match of the next map (stage 1) is then refined level by
level to single pixels, at last with a patch descriptor, and mapped back.

Source: GCM, arXiv 2403.05388; DFM, arXiv 2106.07791.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gcm.backbones.base import Backbone
from gcm.backbones.registry import backbone_info, create_backbone, create_fine_model
from gcm.config import DEFAULT_PRESET, MatcherConfig, load_config
from gcm.errors import ConfigError
from gcm.estimation import estimate_homography
from gcm.features.extractor import FeatureExtractor, Pyramid
from gcm.features.in_step import in_step
from gcm.geometry import (
    apply_homography,
    cell_to_pixel,
    inside,
    resize_matrix,
    resize_points,
    warp_image,
)
from gcm.images.content import on_flat_ground
from gcm.images.files import ImageLike, RGBImage, load_image
from gcm.images.sizes import image_size, resize_to
from gcm.matches import Matches
from gcm.method.coarse import PUBLISHED_THRESHOLD, CoarseMatching, search_hypotheses
from gcm.method.guided import Found, Guidance, guided_match
from gcm.method.steps import Clock, matching_levels
from gcm.refinement.dense import CellMatches, dense_match
from gcm.refinement.hierarchical import refine
from gcm.refinement.maps import whole_map

__all__ = ["Matcher", "match"]

_PAIRS_AT_ONCE = 8

_FINAL_THRESHOLD = 3.0
"""Pixels: reprojection error of the final homography's inliers."""


class Matcher:
    """Finds point correspondences between pairs of images; build once, use for many pairs.

    Every match has a score in [0, 1] that ranks matches by how likely they are right. With `geometry`
    set it is that of :func:`gcm.method.guided.guided_match`; as published it is ``1 - ratio / t`` of the last
    refinement, where *ratio* is the larger of the two directions' ratio of the best to the second-best
    squared descriptor distance among the pixels considered, and *t* the threshold it had to stay
    below: 1 is unmistakable, 0 just passed.

    The features of the images last seen are kept, so that consecutive pairs that share an image
    compute them once. A matcher is not safe for use by several threads at a time.

    Args:
        config: preset name, path of a YAML file, :class:`MatcherConfig`, or None for the default preset.
        name: what results call the configuration; its own name or file unless given.
        **changes: configuration keys to change, as in ``Matcher("default", device="cpu")``.

    Raises:
        ConfigError: a configuration that cannot be used.
        WeightsError, DownloadError: weights missing, damaged or of another network.
    """

    def __init__(
        self,
        config: str | PathLike[str] | MatcherConfig | None = None,
        *,
        name: str | None = None,
        **changes: Any,
    ) -> None:
        self.config = load_config(config, **changes)
        self.name = name or ("custom" if isinstance(config, MatcherConfig) else str(config or DEFAULT_PRESET))
        self.info = backbone_info(self.config.model)
        self.levels = matching_levels(self.config)
        device, self._notes = _choose_device(self.config.device)
        backbone: Backbone = create_backbone(self.config.model, weights=self.config.weights_path)
        fine = None
        if self.config.fine_model:
            fine = create_fine_model(self.config.fine_model, weights=self.config.fine_weights_path)
        self.precision = _choose_precision(self.config.precision, device)
        self.features = FeatureExtractor(backbone, fine, device, precision=self.precision)

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.features.device

    def __call__(self, image0: ImageLike, image1: ImageLike) -> Matches:
        """Same as :meth:`match`."""
        return self.match(image0, image1)

    def match(self, image0: ImageLike, image1: ImageLike) -> Matches:
        """Match two images.

        Args:
            image0, image1: path, numpy array (H x W, H x W x 3 RGB, H x W x 4) or PIL image; sizes may
                differ.

        Returns:
            Points in pixels of the upright images as given, whatever size the networks worked at. No
            matches is a valid answer; a score's meaning is in the class's docstring.

        Raises:
            ImageError: an image that cannot be read.
        """
        clock = Clock()
        with torch.inference_mode():
            with clock("read"):
                given0, given1 = load_image(image0), load_image(image1)
                work0, work1 = self._working_image(given0), self._working_image(given1)
            if self.config.geometry is None:
                found = self._match_as_published(work0, work1, clock)
            else:
                found = guided_match(self.features, work0, work1, self.levels, self._guidance(), clock)
            with clock("geometry"):
                result = self._assemble(found, work0, work1, given0, given1)
        return self._with_info(result, clock, work0, work1, given0, given1)

    @property
    def pairs_at_once(self) -> int:
        """How many pairs :meth:`match_many` should be given: a GPU is not busy with one alone."""
        return _PAIRS_AT_ONCE if self.device.type == "cuda" and self.features.fine is None else 1

    def match_many(self, pairs: Sequence[tuple[ImageLike, ImageLike]]) -> list[Matches | Exception]:
        """Match several pairs side by side, the network seeing their images of one size together.

        The same pairs give the same results however often repeated. From those of :meth:`match` they differ
        by the rounding of a larger batch, on which now and then hangs whether another round is made.
        Memory grows with the number of pairs. With a patch descriptor (`fine_model`) they are matched one
        after the other.

        Returns:
            For each pair its matches, or the error that prevented them.
        """
        if len(pairs) > 1 and self.features.fine is None:
            works = [partial(self._match_asking, pair) for pair in pairs]
            with torch.inference_mode():
                found = in_step(works, self.features.answer)
        else:
            found = [self._match_or_error(pair) for pair in pairs]
        for result in found:
            if isinstance(result, BaseException) and not isinstance(result, Exception):
                raise result
        return found  # type: ignore[return-value]

    def _match_asking(self, pair: tuple[ImageLike, ImageLike], ask: Callable[[Any], Any]) -> Matches:
        with self.features.asking(ask):
            return self.match(*pair)

    def _match_or_error(self, pair: tuple[ImageLike, ImageLike]) -> Matches | BaseException:
        try:
            return self.match(*pair)
        except Exception as error:
            return error

    def _guidance(self) -> Guidance:
        config = self.config
        return Guidance(
            config.geometry or "homography",
            config.hypotheses or "upright",
            config.second_round,
            config.subpixel,
            config.verify,
            config.smooth,
            config.matches_per_cell,
        )

    # -- as published --------------------------------------------------------------------------

    def _match_as_published(self, work0: RGBImage, work1: RGBImage, clock: Clock) -> Found:
        with clock("features 0"):
            pyramid0 = self.features.pyramid(work0)
        initial, h_1_to_0 = None, np.eye(3)
        if self.config.enable_two_stage:
            with clock("stage 0"):
                initial = self._initial_homography(work0, work1)
                h_1_to_0 = h_1_to_0 if initial is None else initial
        with clock("features 1"):
            # Where stage 0 finds nothing, the published code warps by the identity, which crops.
            if self.config.enable_two_stage and (initial is not None or self.config.compat):
                warped = warp_image(work1, h_1_to_0, *image_size(work0))
                pyramid1 = self.features.pyramid_of_warped(warped, work1)
            else:
                pyramid1 = self.features.pyramid(work1)
        with clock("match"):
            cells = self._refine_levels(pyramid0, pyramid1)
        with clock("geometry"):
            points0, points1, keep = self._map_back(cells, h_1_to_0, work0, work1)
            return Found(points0, points1, self._scores(cells, keep), h_1_to_0)

    def _initial_homography(self, image0: RGBImage, image1: RGBImage) -> NDArray[np.float64] | None:
        """Stage 0: homography from image 1 to image 0 from the coarsest maps; None when none is found."""
        level, config = self.levels[0], self.config
        matching = CoarseMatching(level.stride, level.threshold, config.bidirectional, config.compat)
        if config.hypotheses is None:
            maps = self.features.coarsest(image0), self.features.coarsest(image1)
            found = matching.support(*maps, tolerance=PUBLISHED_THRESHOLD)
        else:
            found = search_hypotheses(self.features, image0, image1, matching, mode=config.hypotheses)
        return None if found is None else found.matrix

    def _refine_levels(self, pyramid0: Pyramid, pyramid1: Pyramid) -> CellMatches:
        """Stage 1 and the refinements, from the coarsest map to the finest."""
        config = self.config
        first, *finer = self.levels[1:]
        cells = dense_match(
            whole_map(pyramid0.maps[first.index]),
            whole_map(pyramid1.maps[first.index]),
            threshold=first.threshold,
            bidirectional=config.bidirectional,
            compat=config.compat,
        )
        stride = first.stride
        for level in finer:
            cells = refine(
                cells,
                pyramid0.maps[level.index],
                pyramid1.maps[level.index],
                stride_ratio=stride // level.stride,
                threshold=level.threshold,
                bidirectional=config.bidirectional,
                compat=config.compat,
            )
            stride = level.stride
        return cells

    def _map_back(
        self,
        cells: CellMatches,
        h_1_to_0: NDArray[np.float64],
        image0: RGBImage,
        image1: RGBImage,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Cells of image 0 and of the warped image 1 to points of both images; drops what lies outside.

        Unless `compat`, what lies on flat ground is dropped as well.
        """
        stride = self.levels[-1].stride
        raw0, raw1 = cells.cells0.cpu().numpy(), cells.cells1.cpu().numpy()
        if self.config.compat:
            points0, points1 = raw0.astype(np.float64) * stride, raw1.astype(np.float64) * stride
        else:
            points0, points1 = cell_to_pixel(raw0, stride), cell_to_pixel(raw1, stride)
        if not np.array_equal(h_1_to_0, np.eye(3)):
            points1 = apply_homography(np.linalg.inv(h_1_to_0), points1)
        keep = inside(points0, *image_size(image0))
        if self.config.compat:
            # The published code tests y against the width, and neither coordinate against zero.
            width = image1.shape[1]
            keep &= (points1[:, 0] < width) & (points1[:, 1] < width) & np.isfinite(points1).all(axis=1)
        else:
            keep &= inside(points1, *image_size(image1))
            for points, image in ((points0, image0), (points1, image1)):
                keep[keep] = ~on_flat_ground(image, points[keep])
        return points0[keep], points1[keep], keep

    def _scores(self, cells: CellMatches, keep: NDArray[np.bool_]) -> NDArray[np.float64]:
        threshold = self.levels[-1].threshold
        ratios = cells.ratio.double().cpu().numpy()[keep]
        scores: NDArray[np.float64] = np.clip(1 - ratios / (threshold if threshold > 0 else 1.0), 0.0, 1.0)
        return scores

    def _assemble(
        self, found: Found, work0: RGBImage, work1: RGBImage, given0: RGBImage, given1: RGBImage
    ) -> Matches:
        """From the working images to those given, with the final homography."""
        enlarge0 = resize_matrix(image_size(work0), image_size(given0))
        reduce1 = resize_matrix(image_size(given1), image_size(work1))
        points0 = resize_points(found.points0, image_size(work0), image_size(given0))
        points1 = resize_points(found.points1, image_size(work1), image_size(given1))
        initial = enlarge0 @ (np.eye(3) if found.h_1_to_0 is None else found.h_1_to_0) @ reduce1
        final = estimate_homography(points1, points0, threshold=_FINAL_THRESHOLD)
        h_0_to_1: NDArray[np.float64] | None = None
        inliers: NDArray[np.bool_] | None = None
        if final.matrix is not None and abs(np.linalg.det(final.matrix)) > 1e-12:
            inverse: NDArray[np.float64] = np.linalg.inv(final.matrix).astype(np.float64)
            h_0_to_1 = inverse / inverse[2, 2] if abs(inverse[2, 2]) > 1e-12 else inverse
            inliers = final.inliers
        sizes = image_size(given0), image_size(given1)
        info = {"trace": list(found.trace)} if found.trace else {}
        return Matches(points0, points1, found.scores, *sizes, h_0_to_1, inliers, initial, info)

    # -- around them ---------------------------------------------------------------------------

    def _working_image(self, image: RGBImage) -> RGBImage:
        """The image at the size the networks work at."""
        return resize_to(image, working_size(image_size(image), self.config))

    def _with_info(
        self,
        matches: Matches,
        clock: Clock,
        work0: RGBImage,
        work1: RGBImage,
        given0: RGBImage,
        given1: RGBImage,
    ) -> Matches:
        notes = list(self._notes)
        for number, work, given in ((0, work0, given0), (1, work1, given1)):
            worked_at, full = image_size(work), image_size(given)
            if worked_at != full:
                notes.append(
                    f"image {number}: worked at {_text(worked_at)} instead of {_text(full)}; "
                    "points are in original pixels"
                )
        info = {
            **matches.info,
            "preset": self.name,
            "model": self.info.name,
            "device": str(self.device),
            "precision": self.precision,
            "working_size0": list(image_size(work0)),
            "working_size1": list(image_size(work1)),
            "seconds": clock.seconds,
            "notes": notes,
        }
        return replace(matches, info=info)


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


def working_size(size: tuple[int, int], config: MatcherConfig) -> tuple[int, int]:
    """Width and height the networks work at for an image of that width and height."""
    width, height = float(size[0]), float(size[1])
    if isinstance(config.resize, tuple):
        width, height = float(config.resize[0]), float(config.resize[1])
    elif config.resize is not None:
        factor = config.resize / max(width, height)
        width, height = width * factor, height * factor
    if config.down_sample is not None:
        factors = config.down_sample if isinstance(config.down_sample, tuple) else (config.down_sample,) * 2
        width, height = width / factors[0], height / factors[1]
    if config.max_side is not None and max(width, height) > config.max_side:
        factor = config.max_side / max(width, height)
        width, height = width * factor, height * factor
    return max(1, round(width)), max(1, round(height))


def _choose_device(name: str | None) -> tuple[torch.device, list[str]]:
    """The device a configuration asks for, or the best there is; with a note when it is not to be had."""
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name is None:
        return torch.device(best), []
    kind = name.partition(":")[0]
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and best != "mps"):
        # Published configurations name a GPU; they must run on a machine without one.
        return torch.device("cpu"), [f"device {name} is not available here; used cpu"]
    index = torch.device(name).index or 0
    if kind == "cuda" and index >= (count := torch.cuda.device_count()):
        raise ConfigError(f"device {name} does not exist; there are {count}, counted from cuda:0")
    return torch.device(name), []


def _choose_precision(name: str, device: torch.device) -> str:
    """The precision a configuration asks for; for ``auto`` what this hardware computes fastest in."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    # Without these instructions bfloat16 is emulated, and slower than float32. PyTorch tells only privately.
    tells = (getattr(torch.cpu, f"_is_{what}_supported", None) for what in ("avx512_bf16", "amx_tile"))
    return (
        "bfloat16"
        if device.type == "cpu" and any(tell is not None and tell() for tell in tells)
        else "float32"
    )


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
