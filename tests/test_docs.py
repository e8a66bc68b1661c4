"""What docstrings cite is there."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from gcm.config import load_config
from gcm.options import GuidedOptions
from gcm_cli.app import app

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


def table_rows(text: str) -> dict[str, list[str]]:
    """Rows of markdown tables by their first cell; of two of one name the first."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {name: cells for name, *cells in reversed(rows) if cells}


def test_the_readme_s_table_is_that_of_the_log() -> None:
    readme = table_rows((ROOT / "README.md").read_text().split("| MMA@1 |")[1])
    log = table_rows((ROOT / "benchmarks/accuracy/results.md").read_text().split("### oxford-dev")[1])
    for name in ("`default`", "`fast`", "`sift`", "`xfeat`", "`aliked-lightglue`"):
        *shares, _, matches = readme[name]  # between them the area under the curve, which the log has not
        assert [*shares, matches] == log[name][:7], name


def test_commands_of_the_readme_exist() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    code = re.findall(r"^gcm (.+?)(?: +#.*)?$|`gcm (.+?)`", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(code) > 15
    for line in (block or inline for block, inline in code):
        name, *words = re.split(r"\s+\|\s", line)[0].split()
        known = {option for parameter in commands[name].params for option in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("-")} - {"-"} <= known, line


def test_modules_of_benchmarks_exist() -> None:
    for file in ("README.md", "benchmarks/README.md"):
        for name in re.findall(r"\bbenchmarks(?:\.\w+)+\b(?!\.md)", (ROOT / file).read_text()):
            path = ROOT / name.replace(".", "/")
            assert (path / "__main__.py").is_file() or path.with_suffix(".py").is_file(), name


def test_numbers_of_the_method_are_the_options() -> None:
    text = " ".join((ROOT / "docs" / "method.md").read_text().split())
    guided = GuidedOptions()
    evidence, frame = guided.evidence, guided.frame
    near, far = guided.neighbours.residual_bounds
    assert guided.neighbours.fewest == 4
    assert guided.planes.most == 4
    assert frame.neighbours.fewest == 3
    assert guided.rivals.decisive == 4
    for told in (
        f"glimpse of {guided.views.glimpse_side} pixels",
        f"shows a significance of {guided.views.glimpse_sure:g}",
        f"looked at with {guided.views.side} pixels",
        f"(significance {guided.views.sure:g})",
        f"or {load_config('default').method.views.sure:g} in `default`",
        f"also turned (with {guided.views.turned_side} pixels,",
        f"none reaches {evidence.plain:g},",
        f"is not significant ({guided.planes.nothing_off:g})",
        f"below a significance of {evidence.believed:g}",
        f"parallax of {evidence.parallax:.0%} of the image, p = {guided.views.chance.wide:g}".replace(
            "%", " %"
        ),
        f"within {evidence.tight_cells:g} cells, p = {guided.views.chance.tight:g}",
        f"blocks of {evidence.block_cells} x {evidence.block_cells} coarse cells",
        f"at least four of its neighbours, and {guided.neighbours.share:.0%} of them".replace("%", " %"),
        f"more than {frame.borne_turn:g} degrees or scales by more than {frame.borne_scale:g}",
        f"(three of them, and {frame.neighbours.share:.0%}, to within two cells)".replace("%", " %"),
        f"explains {guided.planes.clear_share:.0%} of the coarse".replace("%", " %"),
        f"more than {guided.neighbours.residual_spread:g} times what is usual",
        f"(at least {near:g} and at most {far:g} pixels are allowed)",
        f"at least {100 * guided.planes.kept:g} % as many matches",
        f"at least {100 * guided.planes.only_share:g} % of all matches",
        f"correlate by {guided.alignment.alike[1]:g}",
        f"(mean cosine {guided.rivals.likeness:g})",
        f"Below {guided.min_confidence:g} nothing is returned",
        f"(confidence under {guided.verdict.convincing:g})",
        f"{guided.seeds.keypoints} keypoints of each, images brought to "
        f"{guided.seeds.sides[0]} and to {guided.seeds.sides[1]} pixels",
        f"within {guided.seeds.tolerance:g} pixels of their lines",
        f"From a significance of {guided.seeds.believed:g} on they count",
        f"within {guided.seeds.line:g} pixels of their epipolar lines",
        f"of which at least {100 * guided.seeds.agreeing:g} % do",
        "of their own, up to four",
    ):
        assert told in text, told
