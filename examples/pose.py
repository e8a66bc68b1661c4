"""Tell how the camera moved: ``python examples/pose.py``.

The photos are rendered, so the true pose is known, and the last lines say how far off the answer is.
"""

import json
from pathlib import Path

import numpy as np

import gcm

ROOM = Path(__file__).parent / "room"


def main() -> None:
    truth = json.loads((ROOM / "cameras.json").read_text())
    intrinsics = np.array(truth["K"])  # 3 x 3: focal length and middle of the picture, pixels
    matches = gcm.match(ROOM / "2.jpg", ROOM / "5.jpg")
    geometry = matches.two_view_geometry(intrinsics, intrinsics)
    print(f"{len(matches)} matches of a scene of this kind: {geometry.kind}")

    pose = matches.relative_pose(intrinsics, intrinsics)
    print("rotation", pose.rotation.round(4), "direction", pose.translation.round(4), sep="\n")

    first, second = (truth["world_to_camera"][name] for name in ("2.jpg", "5.jpg"))
    rotation = np.array(second["R"]) @ np.array(first["R"]).T
    translation = np.array(second["t"]) - rotation @ np.array(first["t"])
    turned = np.trace(rotation.T @ pose.rotation)
    along = pose.translation @ translation / np.linalg.norm(translation)
    print(f"rotation off by {np.degrees(np.arccos(min(1, (turned - 1) / 2))):.3f} degrees")
    print(f"direction off by {np.degrees(np.arccos(min(1, along))):.3f} degrees")


if __name__ == "__main__":
    main()
