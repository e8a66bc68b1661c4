"""From a database to a sparse model, by COLMAP's incremental mapping."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gcm.errors import GCMError, OutputError
from gcm.export.cameras import UNKNOWN, Cameras
from gcm.export.colmap import load_pycolmap

__all__ = ["DATABASE", "POINTS", "SPARSE", "Model", "NoModelError", "make_model", "mapping_options"]

DATABASE = "database.db"
SPARSE = "sparse"
POINTS = "points.ply"


class NoModelError(GCMError):
    """Photos that do not make a model."""


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
        work = Path(tempfile.mkdtemp(prefix=".model.", dir=output))
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})") from error
    try:
        found = pycolmap.incremental_mapping(str(output / DATABASE), str(folder), str(work), options=options)
        models = sorted(found.values(), key=lambda model: -model.num_reg_images())
        if not models:
            raise NoModelError(
                "no model: no two photos show the same scene from two places, or none shares enough with "
                "others; more photos with more overlap may help"
            )
        whole = work / SPARSE
        for number, model in enumerate(models):
            (whole / str(number)).mkdir(parents=True)
            model.write_binary(str(whole / str(number)))
        best = models[0]
        best.export_PLY(str(work / POINTS))
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
