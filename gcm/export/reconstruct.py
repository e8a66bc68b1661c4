"""From a database to a sparse model, by COLMAP's incremental mapping."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcm.errors import GCMError, OutputError
from gcm.export.cameras import UNKNOWN, Cameras
from gcm.export.colmap import LOG_SUFFIXES, first_line, load_pycolmap
from gcm.storage.atomic import clear_leftovers
from gcm.storage.disk import try_room

__all__ = [
    "DATABASE",
    "POINTS",
    "SPARSE",
    "Model",
    "NoModelError",
    "clear_killed",
    "make_model",
    "mapping_options",
]

DATABASE = "database.db"
SPARSE = "sparse"
POINTS = "points.ply"

_PLY_POINT = 15
"""Bytes of a point in a PLY file: three floats and a colour."""
_WORK = ".model."
"""How the folder begins in which a model is made."""


class NoModelError(GCMError):
    """Photos that do not make a model, or a mapper that fails."""


@dataclass(frozen=True)
class Model:
    """A sparse model; of several, the one with most photos."""

    registered: int
    """Photos that it places."""
    photos: int
    points: int
    observations: int
    track_length: float
    """Photos that show a point, on average."""
    reprojection_error: float
    """Pixels, on average."""
    models: int
    """How many separate models the photos fell into."""
    unregistered: tuple[str, ...]
    """Photos that it does not place."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def mapping_options(cameras: Cameras, seed: int = 0) -> Any:
    """COLMAP's options of incremental mapping: intrinsics that are known stay as they are."""
    options = load_pycolmap().IncrementalPipelineOptions()
    options.random_seed = seed
    if cameras.known:
        options.ba_refine_focal_length = False
        options.ba_refine_principal_point = False
        options.ba_refine_extra_params = False
    return options


def clear_killed(output: Path, names: Iterable[str] = ()) -> None:
    """Remove what a killed call left of its work and of files of these names; only where no other works."""
    for left in output.glob(f"{_WORK}*"):
        shutil.rmtree(left, ignore_errors=True)
    logs = [f"{DATABASE}{suffix}" for suffix in ("", *LOG_SUFFIXES)]
    clear_leftovers([output], [*logs, *names])


def make_model(folder: Path, output: Path, cameras: Cameras = UNKNOWN, *, seed: int = 0) -> Model:
    """Make a model from ``output/database.db``: ``output/sparse/0`` in COLMAP's binary form, and a PLY.

    Args:
        folder: of the photos, for the colours of points.
        output: where the database lies, and the model goes; a model that is there is replaced once the new
            one is whole.
        cameras: of the photos; intrinsics that are known stay as they are.
        seed: equal databases and seeds give equal models, as far as COLMAP's threads allow.

    Raises:
        NoModelError: not even two photos could be placed.
        DependencyError: pycolmap is missing or too old.
        OutputError: it cannot be written.
    """
    pycolmap = load_pycolmap()
    options = mapping_options(cameras, seed)
    try:
        work = Path(tempfile.mkdtemp(prefix=_WORK, dir=output))
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})") from error
    try:
        models = _map(pycolmap, output, folder, work, options)
        for model in models:
            _adjust(model, options)
        whole, best = work / SPARSE, models[0]
        _write(models, whole, work / POINTS)
        shutil.rmtree(output / SPARSE, ignore_errors=True)
        whole.replace(output / SPARSE)
        (work / POINTS).replace(output / POINTS)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    with pycolmap.Database.open(str(output / DATABASE)) as database:
        names = {image.name for image in database.read_all_images()}
    placed = {image.name for image in best.images.values() if image.has_pose}
    return Model(
        registered=len(placed),
        photos=len(names),
        points=best.num_points3D(),
        observations=best.compute_num_observations(),
        track_length=best.compute_mean_track_length(),
        reprojection_error=best.compute_mean_reprojection_error(),
        models=len(models),
        unregistered=tuple(sorted(names - placed)),
    )


def _adjust(model: Any, mapping: Any) -> None:
    """Adjust all of a model once more, with less weight for what agrees with it less.

    Most positions of dense matches lie within a quarter of a pixel, and a few, at edges of depth, off by
    several times that. COLMAP's own adjustment gives every position the same weight, so that those few shift
    cameras; a Cauchy loss at the size of the usual error does not let them.
    """
    pycolmap = load_pycolmap()
    residuals = _residuals(model)
    if not len(residuals):
        return
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = mapping.ba_refine_focal_length
    options.refine_principal_point = mapping.ba_refine_principal_point
    options.refine_extra_params = mapping.ba_refine_extra_params
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = max(float(np.median(residuals)), 1e-3)
    photos = pycolmap.BundleAdjustmentConfig()
    for image in model.reg_image_ids():
        photos.add_image(image)
    photos.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    # What pycolmap.bundle_adjustment does; that one also writes its log to the terminal, whatever it is told.
    pycolmap.create_default_bundle_adjuster(options, photos, model).solve()
    model.update_point_3d_errors()


def _residuals(model: Any) -> NDArray[np.float64]:
    """Pixels between where photos show points and where the model puts them, of every position."""
    residuals = [np.zeros(0)]
    for image in model.images.values():
        if image.has_pose and image.num_points3D:
            seen = [point for point in image.points2D if point.has_point3D()]
            world = np.array([model.points3D[point.point3D_id].xyz for point in seen])
            pose = image.cam_from_world().matrix()
            put = model.cameras[image.camera_id].img_from_cam(world @ pose[:, :3].T + pose[:, 3])
            residuals.append(np.linalg.norm(put - [point.xy for point in seen], axis=1))
    return np.concatenate(residuals)


def _map(pycolmap: Any, output: Path, folder: Path, work: Path, options: Any) -> list[Any]:
    """COLMAP's models, that of most photos first."""
    try:
        found = pycolmap.incremental_mapping(str(output / DATABASE), str(folder), str(work), options=options)
    except RuntimeError as error:
        raise NoModelError(f"{output}: COLMAP's mapper failed ({first_line(error)})") from error
    if not found:
        raise NoModelError(
            "no model: no two photos show the same scene from two places, or none shares enough with "
            "others; more photos with more overlap may help"
        )
    for written in work.iterdir():  # they are written anew, in order
        shutil.rmtree(written, ignore_errors=True)
    return sorted(found.values(), key=lambda model: -model.num_reg_images())


def _write(models: list[Any], folder: Path, points: Path) -> None:
    """Write models into numbered folders, and the points of the first.

    COLMAP does not notice when the disk is full: it is asked for room before, and sizes are looked at after.
    """
    folder.mkdir()
    sizes = [_sizes(model) for model in models]
    total = sum(sum(each.values()) for each in sizes)
    try_room(points, total + _PLY_POINT * models[0].num_points3D() + 2**16)
    for number, (model, least) in enumerate(zip(models, sizes, strict=True)):
        part = folder / str(number)
        part.mkdir()
        model.write_binary(str(part))
        _check_sizes(part, least)
    models[0].export_PLY(str(points))
    _check_sizes(points.parent, {points.name: _PLY_POINT * models[0].num_points3D()})


def _check_sizes(folder: Path, least: dict[str, int]) -> None:
    if any((folder / name).stat().st_size < size for name, size in least.items()):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sizes(model: Any) -> dict[str, int]:
    """How many bytes the large files of a model have at least."""
    images = model.images.values()
    return {
        "images.bin": sum(
            72 + len(image.name) + 24 * len(image.points2D) for image in images if image.has_pose
        ),
        "points3D.bin": 51 * model.num_points3D() + 8 * model.compute_num_observations(),
    }
