"""Train a patch descriptor on your photos: ``python examples/distil_on_your_photos.py [FOLDER [STEPS]]``.

Needs ``pip install ".[distill]"``. Nobody has to say what the photos show: a student learns to describe
each place as a teacher, DISK, does. Two steps, as here, teach next to nothing; the recipe takes 3000.
"""

import subprocess
import sys
from pathlib import Path

import gcm

HERE = Path(__file__).resolve().parent
RUN = Path("run")


def main(folder: str, steps: str = "2") -> None:
    # A run that was stopped goes on with the same command. The settings make this one small; leave them out.
    command = [sys.executable, "-m", "gcm_cli", "distill", "disk_patch", "--photos", folder]
    command += [
        "--output",
        str(RUN),
        "--steps",
        steps,
        "--set",
        "batch_size=2",
        "--set",
        "augmentation.crop=64",
    ]
    command += ["--set", "augmentation.scale=[96, 128]", "--set", "validation_batches=1"]
    subprocess.run(command, check=True)

    # The student as the whole backbone; as `fine_model` it would do the last step alone.
    config = gcm.MatcherConfig(
        model="GCM_PATCH", ratio_th=[0.95] * 5, weights_path=str(RUN / "student.safetensors")
    )
    matches = gcm.match(HERE / "left.jpg", HERE / "right.jpg", config, max_side=256)
    print(f"{len(matches)} matches, {matches.inlier_count} on the homography")


if __name__ == "__main__":
    main(*(sys.argv[1:] or [str(HERE / "room")]))
