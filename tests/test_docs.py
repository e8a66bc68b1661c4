"""What docstrings cite is there."""

from __future__ import annotations

import re
from pathlib import Path

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
