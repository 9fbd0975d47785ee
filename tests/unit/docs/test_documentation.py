"""Every page: its links, its lines, and the names that it mentions."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from backends.engines.mysql import CONNECTIONS
from persona_profile.serving.waitress_settings import CONNECTIONS as OPEN_CONNECTIONS
from persona_profile.settings import NAMES

SOURCE = "".join(path.read_text() for path in (ROOT / "persona_profile").rglob("*.py"))
PAGES = [
    Path(line)
    for line in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
]


def slugs(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links(page):
    """Links lead to existing files and headings."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)", text):
        linked = (ROOT / page).parent / target if target else ROOT / page
        assert linked.exists(), target
        assert not anchor or anchor in slugs(linked), (target, anchor)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_lines(page):
    """A line of prose has at most 100 characters; tables, code and long addresses are exempt."""
    text = re.sub(r"^ *```.*?^ *```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [
        line for line in text.splitlines() if len(line) > 100 and not line.startswith(("|", "    "))
    ]
    assert [line for line in lines if "://" not in line] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_guides_for_operators(page):
    """The tests, files and settings that a page names exist."""
    text = (ROOT / page).read_text()
    tests = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    for name in re.findall(r"`(test_\w+)`", text):
        assert any(f"def {name}(" in source for source in tests.values()), name
    for name in re.findall(r"`(test_\w+\.py)`", text):
        assert name in tests, name
    folders = "persona_profile|backends|benchmarks|deploy|loadtest|requirements|tests"
    for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
    if page != Path("docs/reference/renamed.md"):
        sections = {name.partition(".")[0] for name in NAMES if "." in name}
        for name in re.findall(rf"`((?:{'|'.join(sections)})\.[a-z_]+)`", text):
            assert name in NAMES or name.endswith((".ini", ".json", ".url", ".sqlite")), name


def test_every_page_is_in_the_index():
    """The index links every page, except decisions, which have their own index."""
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.relative_to("docs") for page in PAGES if page.parts[0] == "docs"}
    pages = {str(page) for page in pages if page.parts[0] != "adr" and page.name != "index.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()


def test_decisions_are_listed():
    """Every decision record has a title, date and status, and the index lists it with them."""
    folder = ROOT / "docs" / "adr"
    index = " ".join((folder / "README.md").read_text().split())
    for path in folder.glob("0*.md"):
        form = r"# (\d+)\. (.+)\n\nAccepted, (20\d\d-\d\d-\d\d)[.;]"
        number, title, date = re.match(form, path.read_text()).groups()
        assert path.name.startswith(f"{int(number):04}-")
        assert f"- [{int(number):04}]({path.name}), {date}: {title}" in index
        assert re.findall(r"^\*\*(\w+)\.\*\*", path.read_text(), re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ]


def test_threat_model():
    """Every line of the threat model names existing tests by module."""
    threats = (ROOT / "SECURITY.md").read_text().partition("\n## Threats")[2].partition("\n## ")[0]
    lines = re.findall(r"^- .*(?:\n  .*)*", threats, re.MULTILINE)
    existing = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    assert len(lines) > 50
    for line in lines:
        named = re.findall(r"`(test_\w+\.py)::([\w:]+)`", line)
        assert named, line
        for module, name in named:
            for part in name.split("::"):
                assert re.search(rf"(?:def|class) {part}\b", existing.get(module, "")), (
                    f"{module}::{name}"
                )


def test_page_of_attacks():
    """The page about attacks has a row for each attack of the benchmark."""
    command = [sys.executable, "-W", "ignore", ROOT / "benchmarks" / "attacks.py", "--list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    page = (ROOT / "docs/explanation/attacks.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)`: (.*?) \|", page, re.MULTILINE)
    assert len(listed) > 20
    assert {f"{name}: {text}" for name, text in rows} == set(listed)


def test_conformance_of_pictures():
    """Every row of the table of pictures names existing tests."""
    rows = re.findall(
        r"^\| .+ \| ((?:`test_\w+`(?:, )?)+) \|$",
        (ROOT / "docs/reference/pictures.md").read_text(),
        re.MULTILINE,
    )
    named = {name for row in rows for name in re.findall(r"test_\w+", row)}
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(rows) > 30
    assert {name for name in named if f"def {name}(" not in tests} == set()


def test_connections_of_processes():
    """The guide's sums of connections hold for two processes with default settings."""
    guide = (ROOT / "docs/how-to/operate.md").read_text()
    [connections] = re.findall(r"^\| connections to the database .* \| (\d+) \|$", guide, re.MULTILINE)
    assert int(connections) == 2 * CONNECTIONS
    [connections] = re.findall(r"^\| connections of nginx .* \| ([\d,]+) \|$", guide, re.MULTILINE)
    assert int(connections.replace(",", "")) == 2 * OPEN_CONNECTIONS
