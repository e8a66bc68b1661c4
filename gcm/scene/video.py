"""Frames of a video as photos."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np

from gcm.errors import InputError, UsageError
from gcm.images.files import write_image
from gcm.storage.atomic import remove_files, write_if_changed

__all__ = ["write_frames"]


def write_frames(video: Path, folder: Path, every: int, *, overwrite: bool = False) -> list[Path]:
    """Write every so-manieth frame of a video as a PNG file, named by its number; those there already stay.

    Args:
        video: whatever OpenCV decodes.
        folder: made where it is missing; whose frames it holds is told in a JSON file beside it.
        every: frames from one to the next.
        overwrite: remove the frames of another video, or of another `every`, that lie there.

    Raises:
        UsageError: `every` below 1.
        InputError: no such video, or none that can be decoded; frames of another lie there.
        OutputError: a frame cannot be written.
    """
    if every < 1:
        raise UsageError(f"every is {every}; write every frame with 1, every tenth with 10")
    if not video.is_file():
        raise InputError(f"{video}: no such video")
    capture = cv2.VideoCapture(str(video))
    written = []
    try:
        number = 0
        while capture.grab():
            if number % every == 0:
                file = folder / f"{number:06d}.png"
                if number == 0:  # it is a video; whose frames lie there is told before the first
                    _tell_source(folder, video, every, overwrite=overwrite)
                if not file.is_file():
                    decoded, frame = capture.retrieve()
                    if not decoded:
                        break
                    write_image(file, np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8))
                written.append(file)
            number += 1
    finally:
        capture.release()
    if not written:
        raise InputError(f"{video}: no video that can be decoded (MP4, AVI, MKV, ... can)")
    return written


def _tell_source(folder: Path, video: Path, every: int, *, overwrite: bool) -> None:
    """Write whose frames a folder holds; where they are another's, remove or refuse them."""
    with video.open("rb") as stream:
        start = hashlib.sha256(stream.read(1 << 20)).hexdigest()[:16]
    source = {"bytes": video.stat().st_size, "start": start, "every": every}
    file = folder.with_name(f"{folder.name}.json")
    frames = sorted(folder.glob("[0-9]*.png"))
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = None
    if frames and known not in (None, source):  # None: nobody has told
        if not overwrite:
            raise InputError(
                f"{folder}: holds frames of another video, or of another --every; give another folder, or "
                "--overwrite to remove them"
            )
        remove_files(frames)
    write_if_changed(file, (json.dumps(source) + "\n").encode())
