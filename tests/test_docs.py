"""What docstrings, the README and the documentation name is there; their numbers are those of the logs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
import yaml

import gcm
from gcm.config import load_config
from gcm.options import GuidedOptions
from gcm_cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = {"numbers.md", "reference/commands.md", "reference/api.md"}
"""Pages that are made when the site is built."""
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


def named_cells(text: str, section: str) -> dict[str, dict[str, str]]:
    """Cells of the first table of a section, by row and column."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.split(section, 1)[1].split("\n\n|", 1)[1].split("\n\n", 1)[0].splitlines()
    ]
    return {name: dict(zip(rows[0][1:], cells, strict=True)) for name, *cells in rows[2:]}


@pytest.mark.parametrize(
    ("page", "section"),
    [("README.md", "## How good it is"), ("docs/how-to/hpatches.md", "## On the four sequences")],
)
def test_tables_of_the_pages_are_those_of_the_log(page: str, section: str) -> None:
    table = named_cells((ROOT / page).read_text(), section)
    log = named_cells((ROOT / "benchmarks/accuracy/results.md").read_text(), "### oxford-dev")
    log |= named_cells((ROOT / "benchmarks/accuracy/results.md").read_text(), "### others: oxford-dev")
    for name in ("`default`", "`fast`", "`sift`", "`xfeat`", "`aliked-lightglue`"):
        shared = {column: cell for column, cell in table[name].items() if column in log[name]}
        assert len(shared) >= 5, name
        assert shared == {column: log[name][column] for column in shared}, name


def test_the_readme_is_short_and_its_picture_small() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 1
    assert (ROOT / pictures[0]).stat().st_size < 300_000


def test_links_between_the_pages_lead_somewhere() -> None:
    pages = [*PAGES, ROOT / "SECURITY.md", ROOT / "CODE_OF_CONDUCT.md", ROOT / "examples" / "README.md"]
    count = 0
    for page in pages:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            place = (page.parent / path).resolve() if path else page
            if place.is_relative_to(ROOT / "docs") and str(place.relative_to(ROOT / "docs")) in GENERATED:
                continue
            assert place.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in anchors(place.read_text(encoding="utf-8")), f"{page.name}: {target}"
            count += 1
    assert count > 80


def anchors(text: str) -> set[str]:
    """What the headings of a page are called in links to them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().split("\nnav:", 1)[1]
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(re.findall(r"[\w/-]+\.md", navigation))


def test_every_preset_and_command_is_told_of() -> None:
    presets = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    for path in (ROOT / "configs").glob("*.yml"):
        name = path.stem
        assert f"`{name}`" in presets or f"`{name.removesuffix('_95')}_6`, `.._95`" in presets, name
    told = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for command in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f"gcm {command}" in told or f"`{command} " in told, command


def test_commands_of_the_pages_exist() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    code = [
        found
        for page in PAGES
        for found in re.findall(r"^gcm (.+?)(?: +#.*)?$|`gcm (.+?)`", page.read_text(), re.MULTILINE)
    ]
    assert len(code) > 40
    for line in (block or inline for block, inline in code):
        if line in {"COMMAND --help", "--help", "--version"}:
            continue
        name, *words = re.split(r"\s+[|>]\s", line)[0].split()
        known = {option for parameter in commands[name].params for option in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("-")} - {"-"} <= known, line


def test_modules_of_benchmarks_exist() -> None:
    for file in (*PAGES, ROOT / "benchmarks" / "README.md"):
        for name in re.findall(r"(?<!-)\bbenchmarks(?:\.\w+)+\b(?!\.md)", file.read_text()):
            path = ROOT / name.replace(".", "/")
            assert (path / "__main__.py").is_file() or path.with_suffix(".py").is_file(), name


def test_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == gcm.__version__
    assert citation["license"] == "Apache-2.0"


def test_workflows_run_every_python_that_is_promised_and_the_hooks_every_check() -> None:
    workflows = ROOT / ".github" / "workflows"
    if not workflows.is_dir():
        pytest.skip("no checkout")
    jobs = yaml.safe_load((workflows / "tests.yml").read_text(encoding="utf-8"))["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    run = {*matrix["python"], *(entry["python"] for entry in matrix["include"])}
    promised = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert run == set(promised)
    assert {entry["versions"] for entry in matrix["include"]} >= {"lowest"}
    systems = {"ubuntu-latest", "macos-latest", "windows-latest"}
    assert set(jobs["installed"]["strategy"]["matrix"]["system"]) == systems
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0][
        "hooks"
    ]
    checks = {hook["entry"].split(" --")[0] for hook in hooks}
    told = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert all(check in told for check in checks)
    for form in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        assert yaml.safe_load(form.read_text(encoding="utf-8")), form


def test_numbers_of_the_method_are_the_options() -> None:
    text = " ".join((ROOT / "docs" / "method.md").read_text().split())
    guided, fast = GuidedOptions(), load_config("fast").method.views
    evidence, frame = guided.evidence, guided.frame
    near, far = guided.neighbours.residual_bounds
    assert guided.neighbours.fewest == 4
    assert guided.planes.most == 4
    assert frame.neighbours.fewest == 3
    assert guided.rivals.decisive == 4
    assert guided.planes.astray == 10
    assert guided.lines.share == 0.5
    assert guided.lines.sure[0] == 0.5
    for told in (
        f"glimpse of {guided.views.glimpse_side} pixels",
        f"shows a significance of {guided.views.glimpse_sure:g}",
        f"looked at with {guided.views.side} pixels",
        f"(significance {guided.views.sure:g})",
        f"or {load_config('default').method.views.sure:g} in `default`",
        f"against each other by steps of 45 degrees: with {guided.views.turned_side} pixels, all angles "
        f"together (with p = {guided.views.turned_chance.wide:g} and "
        f"{guided.views.turned_chance.tight:g}, for",
        f"as they are reach {guided.views.rival:g} or any view {guided.views.closer:g} "
        f"(in `fast`, which has no seeds, {fast.closer:g})",
        f"(of {guided.seeds.believed_others:g}, where our network found none",
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
        f"though at least {100 * guided.planes.only_share:g} % must not",
        f"to {guided.lines.spread:g} times the median distance "
        f"(at least {guided.lines.bounds[0]:g} and at most {guided.lines.bounds[1]:g}",
        f"at most {guided.lines.sure[1]:.0%} half a cell off".replace("%", " %"),
        f"moves alike in {guided.lines.group} blocks of "
        f"{evidence.block_cells} x {evidence.block_cells} cells",
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
