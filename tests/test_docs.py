"""What docstrings cite is there."""

from __future__ import annotations

import re
from pathlib import Path

from gcm.options import GuidedOptions

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [path for folder in ("gcm", "gcm_cli") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_cited_sections_of_the_method_exist() -> None:
    headings = re.findall(r"^## \d+\. (.+)$", (ROOT / "docs" / "method.md").read_text(), re.MULTILINE)
    assert len(headings) >= 10
    cited = {
        (path.name, section)
        for path in SOURCES
        for section in re.findall(r'docs/method\.md,\s+"([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert cited
    assert not {(name, section) for name, section in cited if section not in headings}


def test_nothing_cites_what_is_not_here() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"[Ss]pecification, section|(?<!/method)\bmatching\.md", text), path
        for cited in re.findall(r"\bdocs/[\w/-]+\.md", text):
            assert (ROOT / cited).is_file(), f"{path}: {cited}"


def test_numbers_of_the_method_are_the_options() -> None:
    text = " ".join((ROOT / "docs" / "method.md").read_text().split())
    guided = GuidedOptions()
    low, high = guided.search.sides
    near, far = guided.neighbours.residual_bounds
    assert guided.neighbours.fewest == 4
    assert guided.planes.most == 4
    for told in (
        f"{low} pixels at least and {high} at most",
        f"at least four of its neighbours, and {guided.neighbours.share:.0%} of them".replace("%", " %"),
        f"more than {guided.neighbours.residual_spread:g} times what is usual",
        f"(at least {near:g} and at most {far:g} pixels are allowed)",
        f"at least {100 * guided.planes.kept:g} % as many matches",
        f"at least {100 * guided.planes.only_share:g} % of all matches",
        "of their own, up to four",
    ):
        assert told in text, told
