"""Pairs of scenes with depth: disparities, poses or marked points are known."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.sets.cases import Array, Cameras, Case, Disparity, EpipolarPoints, Picture, size_of
from gcm.geometry import resize_matrix
from gcm.images.files import load_image
from gcm.metrics.pose import rotation_angle

STEREO_SCALES = {"cones": 4.0, "teddy": 4.0, "venus": 8.0}
"""By how much the stored disparities are multiplied."""

INDOOR_SIZE = (640, 480)
"""Width and height the indoor photos are shrunk to, as everybody who publishes on ScanNet does."""

FRAME_GAPS = (3, 6)

STRECHA_SCENES = ("castle-P30", "Herz-Jesus-P25")
STRECHA_GAPS = range(1, 7)
STRECHA_STEP = 4
"""Every fourth photo is a first one."""
STRECHA_TURN = 65.0
"""Degrees: pairs whose cameras turn this much or more are left out, they share next to nothing."""


def stereo(data: Path) -> list[Case]:
    """Rectified pairs with dense disparity of the left image."""
    cases = []
    for name, scale in STEREO_SCALES.items():
        folder = data / "middlebury-stereo-opencv" / name
        stored = load_image(folder / "disp2.png")[:, :, 0].astype(np.float64)
        truth = Disparity(np.where(stored > 0, stored / scale, np.nan))
        cases.append(Case(name, Picture(folder / "im2.png"), Picture(folder / "im6.png"), truth))
    folder = data / "skimage-images/data"
    with np.load(folder / "motorcycle_disp.npz") as file:
        disparity = file["arr_0"].astype(np.float64)
    truth = Disparity(np.where(np.isfinite(disparity) & (disparity > 0), disparity, np.nan))
    images = [Picture(folder / f"motorcycle_{side}.png") for side in ("left", "right")]
    return [*cases, Case("motorcycle", images[0], images[1], truth)]


def indoor(data: Path) -> list[Case]:
    """Photos of rooms, far apart; of the list, those whose images are at hand."""
    folder, cases = data / "superglue-assets/assets", []
    for line in (folder / "scannet_sample_pairs_with_gt.txt").read_text().splitlines():
        # Two names, two EXIF turns (all 0 here), two camera matrices, the pose from camera 0 to camera 1.
        words = line.split()
        paths = [folder / "scannet_sample_images" / word for word in words[:2]]
        if not all(path.is_file() for path in paths):
            continue
        if words[2:4] != ["0", "0"]:
            raise ValueError(f"{words[0]}: turned photos are not provided for")
        numbers = np.array([float(word) for word in words[4:]])
        matrices = []
        for path, k in zip(paths, (numbers[:9], numbers[9:18]), strict=True):
            matrices.append(resize_matrix(size_of(load_image(path)), INDOOR_SIZE) @ k.reshape(3, 3))
        truth = Cameras(matrices[0], matrices[1], numbers[18:].reshape(4, 4))
        first, second = (Picture(path, size=INDOOR_SIZE) for path in paths)
        cases.append(Case(f"{paths[0].stem}-{paths[1].stem}", first, second, truth))
    return cases


def hololens(data: Path) -> list[Case]:
    """Frames of a headset walked through rooms, with those 3 and 6 later."""
    folder = data / "rgbd-hololens-dvmvs/sample-data/hololens-dataset/000"
    frames = sorted((folder / "images").glob("*.png"))
    intrinsics = np.loadtxt(folder / "K.txt")
    # The first row belongs to the first frame at hand, whatever its number is: only so do the depth
    # images of one frame, moved by the poses, show what is seen in another.
    poses = np.loadtxt(folder / "poses.txt").reshape(-1, 4, 4)[: len(frames)]
    depths = [_depth(folder / "depth" / frame.name) for frame in frames]
    cases = []
    for k, gap in itertools.product(range(len(frames)), FRAME_GAPS):
        if k + gap < len(frames):
            # Rows are camera to world.
            pose = np.linalg.inv(poses[k + gap]) @ poses[k]
            truth = Cameras(intrinsics, intrinsics, pose, depths[k], depths[k + gap])
            name = f"{frames[k].stem}-{frames[k + gap].stem}"
            cases.append(Case(name, Picture(frames[k]), Picture(frames[k + gap]), truth, f"gap {gap}"))
    return cases


def _depth(path: Path) -> NDArray[np.float32]:
    """H x W, metres, nan where the file has none."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16:
        raise ValueError(f"{path}: not a depth image of 16 bits")
    return np.where(stored > 0, stored.astype(np.float32) / 1000, np.float32(np.nan))


def fmat(data: Path) -> list[Case]:
    """Twenty-two scenes with depth, of each 8 to 3006 points marked by hand, good to 1 px."""
    folder, cases = data / "fmat-dev", []
    for file in sorted(folder.glob("*_points.txt")):
        name = file.name.removesuffix("_points.txt")
        rows = np.loadtxt(file).reshape(-1, 4)  # x0 y0 x1 y1
        first, second = (Picture(folder / f"{name}{side}.jpg") for side in "AB")
        cases.append(Case(name, first, second, EpipolarPoints(rows[:, :2], rows[:, 2:])))
    return cases


def strecha(data: Path) -> list[Case]:
    """A castle's yard and a church's front, photos 1 to 6 apart; cameras from a laser scan (Strecha 2008)."""
    cases = []
    for scene in STRECHA_SCENES:
        folder = data / "strecha-dev" / scene
        cameras = json.loads((folder / "cameras.json").read_text())
        matrices = [np.array(camera["K"], dtype=np.float64) for camera in cameras]
        poses = [np.array(camera["world_to_camera"], dtype=np.float64) for camera in cameras]
        names = [Path(camera["image"]) for camera in cameras]
        for k, gap in itertools.product(range(0, len(cameras), STRECHA_STEP), STRECHA_GAPS):
            if k + gap >= len(cameras):
                continue
            pose: Array = poses[k + gap] @ np.linalg.inv(poses[k])
            if rotation_angle(pose[:3, :3]) >= STRECHA_TURN:
                continue
            name = f"{scene}-{names[k].stem}-{names[k + gap].stem}"
            first, second = Picture(folder / names[k]), Picture(folder / names[k + gap])
            truth = Cameras(matrices[k], matrices[k + gap], pose)
            cases.append(Case(name, first, second, truth, f"gap {gap}"))
    return cases
