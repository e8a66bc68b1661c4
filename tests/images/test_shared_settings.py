"""What reading an image changes for the whole process is taken back, whichever thread is done first."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import cv2
import pytest
from PIL import Image

from gcm.images import decoding, read_image, tiff
from gcm.images.shared_change import SharedChange


def settings() -> tuple[Any, ...]:
    return (
        list(warnings.filters),
        Image.MAX_IMAGE_PIXELS,
        getattr(cv2.utils, "logging", cv2).getLogLevel(),
        logging.getLogger("tifffile").disabled,
    )


@pytest.mark.parametrize(
    ("change", "which"),
    [
        (decoding._warnings_ignored, 0),
        (decoding._pillow_limit_lifted, 1),
        (decoding._opencv_silenced, 2),
        (tiff._logging_disabled, 3),
    ],
)
def test_the_last_to_leave_takes_a_change_back(change: SharedChange, which: int) -> None:
    before = settings()[which]
    change.__enter__()
    changed = settings()[which]
    assert changed != before
    change.__enter__()  # another thread, which leaves later
    change.__exit__()
    assert settings()[which] == changed
    change.__exit__()
    assert settings()[which] == before


def test_reading_leaves_nothing_changed(tmp_path: Path) -> None:
    before = settings()
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    read_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"rubbish")
    with pytest.raises(Exception, match="not an image file"):
        read_image(tmp_path / "b.png")
    assert settings() == before
