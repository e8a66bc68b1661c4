"""Sparse models of photo collections, by ``gcm reconstruct`` and by pycolmap's SIFT with every pair.

    python -m benchmarks.models --shared ../shared --work runs/models
    python -m benchmarks.models --sites castle-P30 buddha

Sites with true cameras (``strecha-dev``) are made with the true intrinsics, and tell how far the cameras are
off, in millimetres, after the similarity that brings both closest. Matches are kept in --work, so that a
second run only makes the models again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gcm.export.cameras import UNKNOWN, Cameras
from gcm.export.colmap import load_pycolmap
from gcm.export.reconstruct import mapping_options
from gcm.scene.intrinsics import Intrinsics

SITES = {
    "Herz-Jesus-P25": "strecha-dev/Herz-Jesus-P25",
    "castle-P30": "strecha-dev/castle-P30",
    "sacre-coeur": "sacre-coeur",
    "monstree": "multiview/monstree",
    "buddha": "multiview/buddha",
}


@dataclass(frozen=True)
class Site:
    """A folder of photos, and what is known of their cameras."""

    photos: Path
    intrinsics: tuple[float, float, float, float] | None
    """fx, fy, cx, cy, pixel centres at integers."""
    centres: dict[str, np.ndarray]
    """Of the true cameras, metres, by the photo's name."""


def read_site(folder: Path) -> Site:
    """A folder, with the cameras of ``cameras.json`` where there is one."""
    file = folder / "cameras.json"
    if not file.is_file():
        return Site(folder, None, {})
    cameras = json.loads(file.read_text())
    k = np.array(cameras[0]["K"])
    centres = {}
    for camera in cameras:
        world = np.array(camera["world_to_camera"])
        centres[Path(camera["image"]).name] = -world[:3, :3].T @ world[:3, 3]
    return Site(folder, (k[0, 0], k[1, 1], k[0, 2], k[1, 2]), centres)


def by_gcm(site: Site, output: Path) -> Path:
    """Run the command; the model's folder."""
    command = [sys.executable, "-m", "gcm_cli", "reconstruct", str(site.photos), "-o", str(output)]
    if site.intrinsics is not None:
        command += ["--intrinsics", ",".join(map(repr, map(float, site.intrinsics)))]
    subprocess.run(command, check=True)
    return output / "sparse/0"


def by_sift(site: Site, output: Path) -> Path | None:
    """pycolmap's own features, every pair matched; None where that makes no model."""
    pycolmap = load_pycolmap()
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    database = output / "database.db"
    names = sorted(path.name for path in site.photos.glob("*.jpg"))
    reader = pycolmap.ImageReaderOptions()
    mode, cameras = pycolmap.CameraMode.AUTO, UNKNOWN
    if site.intrinsics is not None:
        intrinsics = Intrinsics.pinhole(*site.intrinsics)
        reader.camera_model = intrinsics.model
        reader.camera_params = ",".join(map(str, intrinsics.parameters))
        mode, cameras = pycolmap.CameraMode.SINGLE, Cameras((intrinsics,) * len(names), one=True)
    mapping = mapping_options(cameras)
    pycolmap.extract_features(
        database, site.photos, image_names=names, camera_mode=mode, reader_options=reader
    )
    pycolmap.match_exhaustive(database)
    models = pycolmap.incremental_mapping(database, site.photos, output / "sparse", options=mapping)
    if not models:
        return None
    best = max(models, key=lambda number: models[number].num_reg_images())
    return output / "sparse" / str(best)


def camera_errors(model: Any, centres: dict[str, np.ndarray]) -> np.ndarray:
    """Millimetres between the model's cameras and the true ones (similarity of Umeyama, 1991)."""
    names = [image.name for image in model.images.values() if image.has_pose]
    found = np.array([image.projection_center() for image in model.images.values() if image.has_pose])
    true = np.array([centres[Path(name).name] for name in names])
    from_mean, to_mean = found - found.mean(axis=0), true - true.mean(axis=0)
    u, spread, vt = np.linalg.svd(to_mean.T @ from_mean / len(found))
    signs = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = np.trace(np.diag(spread) @ signs) * len(found) / (from_mean**2).sum()
    aligned = scale * from_mean @ (u @ signs @ vt).T
    errors: np.ndarray = 1000 * np.linalg.norm(aligned - to_mean, axis=1)
    return errors


def row(name: str, tool: str, site: Site, folder: Path | None) -> str:
    """A line of the table."""
    count = len(list(site.photos.glob("*.jpg")))
    if folder is None:
        return f"| {name} | {tool} | 0 of {count} | | | | |"
    model = load_pycolmap().Reconstruction(str(folder))
    cells = [
        f"{model.num_reg_images()} of {count}",
        f"{model.num_points3D()}",
        f"{model.compute_mean_track_length():.1f}",
        f"{model.compute_mean_reprojection_error():.2f} px",
        f"{np.median(camera_errors(model, site.centres)):.1f} mm" if site.centres else "",
    ]
    return f"| {name} | {tool} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--work", type=Path, default=Path("runs/models"))
    parser.add_argument("--sites", nargs="+", choices=list(SITES), default=list(SITES))
    options = parser.parse_args()
    print("| photos | tool | placed | points | photos a point | error | camera off, median |")
    print("| --- | --- | --: | --: | --: | --: | --: |")
    for name in options.sites:
        site = read_site(options.shared / "data" / SITES[name])
        work = options.work / name
        print(row(name, "`gcm reconstruct`", site, by_gcm(site, work / "gcm")), flush=True)
        print(row(name, "pycolmap, SIFT", site, by_sift(site, work / "sift")), flush=True)


if __name__ == "__main__":
    main()
