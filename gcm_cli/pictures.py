"""The pictures of ``gcm match`` and ``gcm pose``: their options, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gcm_cli.console import Console

if TYPE_CHECKING:
    from gcm.estimation import TwoViewGeometry
    from gcm.geometry import Matrix
    from gcm.images.loaded import LoadedImage
    from gcm.matches import Matches

__all__ = [
    "Colour",
    "ColourOption",
    "DrawOption",
    "LinesOption",
    "MatchPictures",
    "View",
    "ViewOption",
    "WarpOption",
    "homography_of_pixels",
    "write_epipolar_lines",
]

Colour = Literal["rank", "residual"]
View = Literal["blend", "checkerboard", "difference"]
"""As :data:`gcm.viz.overlay.View`, which brings OpenCV."""

DrawOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the matches, side by side.")]
ColourOption = Annotated[
    Colour | None,
    typer.Option(
        "--colour",
        "--color",
        help="What colours of --draw tell: the rank by score, or pixels off the geometry.",
        show_default="rank",
    ),
]
LinesOption = Annotated[
    int | None,
    typer.Option(min=0, help="Lines of --draw; 0: dots alone.", show_default="one for 6 px of height"),
]
WarpOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Draw A warped onto B, on a canvas that holds both.")
]
ViewOption = Annotated[
    View | None, typer.Option(help="How --warp shows where A and B overlap.", show_default="blend")
]


@dataclass(frozen=True)
class MatchPictures:
    """What ``gcm match`` is to draw."""

    draw: Path | None
    colour: Colour | None
    lines: int | None
    warp: Path | None
    view: View | None

    def check(self) -> None:
        """Refuse what cannot be drawn before any work is done.

        Raises:
            UsageError: a suffix that names no image format, or an option of a picture that is not asked for.
        """
        from gcm.errors import UsageError
        from gcm.images.files import check_image_suffix

        for picture in (self.draw, self.warp):
            if picture is not None:
                check_image_suffix(picture)
        for option, value, picture, needed in (
            ("--colour", self.colour, self.draw, "--draw"),
            ("--lines", self.lines, self.draw, "--draw"),
            ("--view", self.view, self.warp, "--warp"),
        ):
            if value is not None and picture is None:
                raise UsageError(f"{option} says how {needed} is drawn; give {needed} FILE as well")

    def write(
        self,
        console: Console,
        matches: Matches,
        geometry: TwoViewGeometry,
        photo0: LoadedImage,
        photo1: LoadedImage,
    ) -> dict[str, Path]:
        """Write what was asked for and can be; the files by their kind. A line tells what cannot."""
        written: dict[str, Path] = {}
        if self.draw is not None:
            self._draw(console, self.draw, matches, geometry, photo0, photo1)
            written["draw"] = self.draw
        if self.warp is not None:
            problem = self._warp(self.warp, matches, photo0, photo1)
            if problem is None:
                written["warp"] = self.warp
            else:
                console.note(f"note: {self.warp} is not written: {problem}")
        return written

    def _draw(
        self,
        console: Console,
        file: Path,
        matches: Matches,
        geometry: TwoViewGeometry,
        photo0: LoadedImage,
        photo1: LoadedImage,
    ) -> None:
        from gcm.images.files import write_image
        from gcm.viz.matches import draw_matches

        known = geometry.kind != "unknown"
        told: dict[str, Any] = {"agreeing": geometry.inliers if known else None, "lines": self.lines}
        if self.colour == "residual":
            told["residuals"] = geometry.residuals(matches.points0, matches.points1) if known else None
            by_lines = geometry.explained_by == "epipolar lines"
            told["measured"] = "their epipolar lines" if by_lines else "the homography"
            if told["residuals"] is None:
                console.note(f"note: no geometry, so no residuals: {file} is coloured by rank")
        write_image(file, draw_matches(photo0.pixels, photo1.pixels, matches, **told))

    def _warp(self, file: Path, matches: Matches, photo0: LoadedImage, photo1: LoadedImage) -> str | None:
        """Why there is no picture, or None."""
        from gcm.images.files import write_image
        from gcm.viz.overlay import OverlayError, overlay_photos

        if matches.h_0_to_1 is None:
            return "no homography was found to warp by"
        h = homography_of_pixels(matches.h_0_to_1, photo0, photo1)
        try:
            picture = overlay_photos(photo0.pixels, photo1.pixels, h, view=self.view or "blend")
        except OverlayError as error:
            return str(error)
        write_image(file, picture)
        return None


def homography_of_pixels(h_0_to_1: Matrix, photo0: LoadedImage, photo1: LoadedImage) -> Matrix:
    """A homography for the pixels that were read; of a huge photo they may be fewer than points are in.

    Args:
        h_0_to_1: 3 x 3, pixels of the photos as given.
        photo0, photo1: as they were read.

    Returns:
        3 x 3, pixels of the one to pixels of the other.
    """
    from gcm.geometry import resize_matrix
    from gcm.images.sizes import image_size

    enlarge0 = resize_matrix(image_size(photo0.pixels), photo0.size)
    shrink1 = resize_matrix(photo1.size, image_size(photo1.pixels))
    h: Matrix = shrink1 @ h_0_to_1 @ enlarge0
    return h


def write_epipolar_lines(
    file: Path,
    matches: Matches,
    geometry: TwoViewGeometry,
    cameras: tuple[Any, Any],
    photo0: LoadedImage,
    photo1: LoadedImage,
) -> bool:
    """Draw the epipolar lines of a pose, or without intrinsics of the fundamental matrix.

    Returns:
        Whether there are any: a plane without intrinsics, and a camera that only turned, have none.
    """
    from gcm.images.files import write_image
    from gcm.viz.epipolar import draw_epipolar_lines

    pose = geometry.pose
    if pose is not None and pose.translation.any():
        fundamental, inliers = pose.fundamental(*cameras), pose.inliers
    elif geometry.kind == "general" and geometry.fundamental is not None:
        fundamental, inliers = geometry.fundamental, geometry.inliers
    else:
        return False
    write_image(
        file, draw_epipolar_lines(photo0.pixels, photo1.pixels, matches, fundamental, inliers=inliers)
    )
    return True
