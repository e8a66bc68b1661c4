"""Pages of the site that are made when it is built (a hook of mkdocs): from files elsewhere in the
repository, the commands, the package's public names and the results of the benchmarks."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

import reference  # noqa: E402
import tables  # noqa: E402

COPIED = {
    "benchmarks/README.md": "measurements/summary.md",
    "benchmarks/accuracy/results.md": "measurements/accuracy.md",
    "benchmarks/speed/results.md": "measurements/speed.md",
    "benchmarks/backbones/results.md": "measurements/backbones.md",
    "gcm/weights/embedded/README.md": "reference/model-cards.md",
    "examples/README.md": "project/examples.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "README.md": "index.md",
}
"""Files of the repository that are pages of the site."""

_ROLE = re.compile(r":(?:meth|class|func|mod|data|attr):<code>~?([^<]+)</code>")
_LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {page: (ROOT / source).read_text(encoding="utf-8") for source, page in COPIED.items()}
    del made["index.md"]  # the README has a page of its own in its place
    made |= {
        "reference/commands.md": reference.commands_page(),
        "reference/api.md": reference.api_page(),
        "numbers.md": tables.numbers_page(ROOT / "benchmarks" / "accuracy" / "results.md"),
    }
    for name, text in made.items():
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to pages of the site: in the repository they lead to files."""
    place = {made: source for source, made in COPIED.items() if made != "index.md"}
    source = place.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def led(match: re.Match[str]) -> str:
        text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match.group()
        path, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        name = COPIED.get(path) or path.removeprefix("docs/")
        if name == path:  # a file that is no page: its name will do
            return text.strip("[]") if not text.startswith("!") else ""
        relative = posixpath.relpath(name, posixpath.dirname(page.file.src_uri) or ".")
        return f"{text}({relative}{'#' if anchor else ''}{anchor})"

    return _LINK.sub(led, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Names in docstrings are written as Sphinx knows them; here they become links where they are shown."""
    return _ROLE.sub(r'<autoref identifier="\1" optional><code>\1</code></autoref>', html)
