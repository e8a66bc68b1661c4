"""From a folder of photos to a sparse 3D model: ``python examples/folder_to_model.py [FOLDER]``.

Needs ``pip install ".[colmap]"``. It calls the command; the model is read with pycolmap.
"""

import subprocess
import sys
from pathlib import Path

import pycolmap

ROOM = Path(__file__).parent / "room"


def main(folder: str) -> None:
    # A run that was stopped goes on where it was; --method sequential is for photos in the order of a walk.
    command = [sys.executable, "-m", "gcm_cli", "reconstruct", folder, "--output", "model"]
    command += ["--method", "sequential", "--window", "2", "--config", "fast"]
    if Path(folder) == ROOM:  # leave this out for photos with EXIF
        command += ["--intrinsics", "560,560,319.5,239.5"]
    subprocess.run(command, check=True)

    model = pycolmap.Reconstruction("model/sparse/0")
    print(model.summary())
    for image in model.images.values():
        centre = image.projection_center()
        print(f"{image.name}: at ({centre[0]:.2f}, {centre[1]:.2f}, {centre[2]:.2f})")


if __name__ == "__main__":
    main(*(sys.argv[1:] or [str(ROOM)]))
