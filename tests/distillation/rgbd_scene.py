"""An RGB-D sequence of a procedural scene, whose truth is exact."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from gcm.distillation import scenes

SIZE = 160
Cameras = list[scenes._Camera]
Images = list[np.ndarray]


def draw_sequence(textures: Images, frames: int, seed: int) -> tuple[Cameras, Images, Images, Images]:
    """Cameras that step past one scene; of each its rectangles, its photo and its depth in metres."""
    rng = np.random.default_rng(seed)
    rectangles = scenes._rectangles(rng)
    first, _ = scenes._cameras(SIZE, rng, 0.2, 1.0)
    cameras = [
        scenes._Camera(first.intrinsics, first.rotation, first.centre + k * np.array([0.12, -0.02, 0.05]))
        for k in range(frames)
    ]
    atlas = scenes._atlas(textures, len(rectangles), rng)
    inverses = [np.stack([scenes._inverse(camera, r) for r in rectangles]) for camera in cameras]
    ticks = np.arange(SIZE, dtype=float)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    photos, depths = [], []
    for inverse in inverses:
        photos.append(scenes._draw(inverse, atlas, SIZE, 0.0, np.random.default_rng(1)))
        which, place = scenes._nearest(inverse, grid)
        depth = np.where(which >= 0, 1 / np.where(which >= 0, place[:, 2], 1), 0)
        depths.append(depth.reshape(SIZE, SIZE))
    return cameras, inverses, photos, depths


def write_sequence(folder: Path, textures: list[np.ndarray], frames: int = 6, seed: int = 0) -> Path:
    """Write one in the form that is read."""
    cameras, _, photos, depths = draw_sequence(textures, frames, seed)
    for name in ("images", "depth"):
        (folder / name).mkdir(parents=True)
    poses = []
    for k, (camera, photo, depth) in enumerate(zip(cameras, photos, depths, strict=True)):
        cv2.imwrite(str(folder / "images" / f"{k:04d}.png"), photo[..., ::-1])
        cv2.imwrite(str(folder / "depth" / f"{k:04d}.png"), np.rint(depth * 1000).astype(np.uint16))
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = camera.rotation.T, camera.centre
        poses.append(pose.ravel())
    np.savetxt(folder / "K.txt", cameras[0].intrinsics)
    np.savetxt(folder / "poses.txt", np.array(poses))
    return folder
