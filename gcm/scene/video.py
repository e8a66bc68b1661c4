"""Frames of a video as photos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from gcm.errors import InputError, UsageError
from gcm.images.files import write_image

__all__ = ["write_frames"]


def write_frames(video: Path, folder: Path, every: int) -> list[Path]:
    """Write every so-manieth frame of a video as a PNG file, named by its number; those there already stay.

    Args:
        video: whatever OpenCV decodes.
        folder: made where it is missing.
        every: frames from one to the next.

    Raises:
        UsageError: `every` below 1.
        InputError: no such video, or none that can be decoded.
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
