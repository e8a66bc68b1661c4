"""The page of ``gcm demo``, made with Gradio."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from gcm.errors import GCMError
from gcm_cli.console import one_line
from gcm_cli.demo_answers import SUFFIXES, Answers

__all__ = ["CSS", "make_page", "make_theme"]

_INTRODUCTION = """# Which points do two photos share?

Choose two photos of the same thing, taken from different places, at different times, turned or scaled.
Press **Match**, and you get the points that both show, one photo laid over the other, and files to keep."""

_KEPT = """Photos go to the computer that runs this page and no further. They are deleted after {minutes}
minutes, and when the demo ends."""

_EXPLANATION = """- **Confidence** is how likely it is that both photos show the same thing. Below 0.5 there
  is no match.
- **Geometry** says what the matches tell of the scene: something flat, a camera that only turned, or a scene
  with depth. Matches that agree with it are nearly always right.
- **Homography** is the formula that takes points of A to B where the scene is flat or the camera only turned.
  Where a scene has depth it fits a part of it, and so does the one photo laid over the other.
- **Colours** of the points are ranks: yellow is best, blue last, and red does not agree with the geometry.
- **Files** hold pairs of points as (x, y) in pixels of the photos as given; (0, 0) is the centre of the
  pixel at the top left."""

_PRESETS = {
    "default": "default: the most exact",
    "fast": "fast: in less time",
    "robust": "robust: for hard pairs, as by day and by night; slow",
}

CSS = """
.gradio-container { max-width: 1100px !important; margin: 0 auto !important; }
"""


def make_theme() -> gr.themes.Base:
    """Fonts of the system: nothing is fetched from elsewhere."""
    sans = [gr.themes.Font(name) for name in ("system-ui", "sans-serif")]
    mono = [gr.themes.Font(name) for name in ("ui-monospace", "monospace")]
    return gr.themes.Default(primary_hue="teal", font=sans, font_mono=mono)


class _Page(gr.Blocks):
    """A page that takes files of its own folder alone.

    Gradio's own would also take the path of any file on this machine, or an address, and fetch it.
    """

    def __init__(self, folder: Path, report: Callable[[str], None], **options: Any) -> None:
        self._folder, self._report = folder.resolve(), report
        super().__init__(**options)

    async def process_api(self, block_fn: Any, inputs: Any, *rest: Any, **named: Any) -> dict[str, Any]:
        for path in _paths(inputs):
            if not Path(path).resolve().is_relative_to(self._folder):
                raise gr.Error("only photos that were uploaded are taken", print_exception=False)
        try:
            return await super().process_api(block_fn, inputs, *rest, **named)
        except gr.Error:
            raise
        except Exception as error:  # of which Gradio would print the traceback
            self._report(one_line(error))
            raise gr.Error("this request cannot be answered", print_exception=False) from None


def _paths(data: Any) -> Iterator[str]:
    """Of all files that a request names."""
    if isinstance(data, dict):
        if isinstance(data.get("path"), str):
            yield data["path"]
        data = list(data.values())
    if isinstance(data, list | tuple):
        for value in data:
            yield from _paths(value)


def make_page(
    answers: Answers,
    *,
    examples: Sequence[tuple[Path, Path]] = (),
    waiting: int,
    minutes: int,
    report: Callable[[str], None],
) -> gr.Blocks:
    """The page.

    Args:
        answers: what answers; uploads lie in its folder.
        examples: pairs of photos to try.
        waiting: requests that may wait while one is answered; more are refused.
        minutes: after how many uploads are deleted, to tell people.
        report: told of errors that nobody foresaw.
    """
    page = _Page(answers.folder, report, title="gcm: match two photos", analytics_enabled=False)
    with page:
        gr.Markdown(_INTRODUCTION)
        with gr.Row():
            photos = [
                gr.Image(
                    label=f"Photo {name}",
                    type="filepath",
                    sources=["upload", "clipboard"],
                    height=300,
                    buttons=[],
                    elem_id=f"photo-{name}",
                )
                for name in "AB"
            ]
        if examples:
            with gr.Accordion("No photos at hand? Take a pair of ours", open=False, elem_id="examples"):
                gr.Examples(
                    [[str(photo) for photo in pair] for pair in examples],
                    photos,
                    label="Press one",
                    cache_examples=False,
                    api_visibility="private",
                )
        names = answers.presets
        choices = [(_PRESETS.get(name, name), name) for name in names]
        preset = gr.Radio(choices, value=names[0], label="Preset", elem_id="preset")
        button = gr.Button("Match", variant="primary", elem_id="match")
        _add_results(button, [*photos, preset], _api(answers, report))
        gr.Markdown(_KEPT.format(minutes=minutes))
    page.queue(max_size=waiting, default_concurrency_limit=1, api_open=False)  # nobody jumps the queue
    return page


def _api(answers: Answers, report: Callable[[str], None]) -> Callable[..., tuple[Any, ...]]:
    """What the button calls, and what programs may call over HTTP as ``/match``."""

    def match(photo0: Any, photo1: Any, preset: Any) -> tuple[Any, ...]:
        """Match two photos: a verdict in Markdown, the matches drawn, A and B on one canvas, files."""
        try:
            answer = answers.answer(_file(photo0), _file(photo1), str(preset))
        except Exception as error:
            line = one_line(error)
            if not isinstance(error, GCMError):
                report(line)
            # Gradio shows a message as HTML, and files may have any name.
            raise gr.Error(html.escape(line, quote=False), duration=None, print_exception=False) from None
        overlay = None if answer.overlay is None else tuple(map(str, answer.overlay))
        files = answer.files or (None,) * len(SUFFIXES)
        there = (answer.drawing is not None, overlay is not None, bool(answer.files))
        return answer.verdict, answer.drawing, overlay, *files, there

    return match


def _file(photo: dict[str, Any] | None) -> Path | None:
    return Path(photo["path"]) if photo and photo.get("path") else None


def _add_results(button: gr.Button, inputs: Sequence[Any], match: Callable[..., Any]) -> None:
    """The lower part of the page, empty until the button is pressed."""
    verdict = gr.Markdown(label="Verdict", elem_id="verdict")
    with gr.Column(visible=False) as first:
        drawing = gr.Image(
            label="The points", type="filepath", interactive=False, buttons=["fullscreen"], elem_id="points"
        )
    with gr.Column(visible=False) as second:
        overlay = gr.ImageSlider(
            label="A laid over B: drag the line",
            type="filepath",
            interactive=False,
            buttons=["fullscreen"],
            elem_id="overlay",
        )
    with gr.Column(visible=False) as third:
        gr.Markdown("All points as a file: for numpy, for other programs, for a spreadsheet")
        with gr.Row():
            files = [
                gr.DownloadButton(f"matches{suffix}", elem_id=f"file-{suffix[1:]}") for suffix in SUFFIXES
            ]
    hidden = [first, second, third]
    there = gr.State((False, False, False))
    with gr.Accordion("What does this mean?", open=False):
        gr.Markdown(_EXPLANATION)

    def reveal(shown: Sequence[bool]) -> list[Any]:
        return [gr.Column(visible=visible) for visible in shown]

    def forget() -> list[Any]:
        return ["", *reveal([False] * len(hidden))]

    quietly: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
    asked = button.click(
        match,
        [*inputs],
        [verdict, drawing, overlay, *files, there],
        preprocess=False,  # the very files that were uploaded, unopened
        api_name="match",
        show_progress_on=verdict,
        scroll_to_output=True,
    )
    asked.success(reveal, there, hidden, **quietly)
    asked.failure(forget, None, [verdict, *hidden], **quietly)
