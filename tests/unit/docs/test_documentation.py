import argparse
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from limits import RateLimitItem
from support import ROOT
from support.applications import application
from support.contract import DOCUMENT, STATUS_OF
from support.metrics import Exposition
from webtest import TestApp

from backends.engines.mysql import CONNECTIONS
from persona_profile.api.openapi import openapi_source
from persona_profile.cli import _parser
from persona_profile.errors import Forbidden, ServiceError
from persona_profile.runtime.supervisor import own_figures
from persona_profile.serving import server
from persona_profile.serving.channels import _CODES
from persona_profile.settings import parse_settings
from persona_profile.store.profile import PROFILE_KEY_REQUIRED, PROFILE_KEY_WRONG, UNREADABLE

API = (ROOT / "docs/reference/api.md").read_text()
SOURCE = "".join(path.read_text() for path in (ROOT / "persona_profile").rglob("*.py"))
SETTINGS = set(re.findall(r'_setting\("([a-z_.]+)"', SOURCE))
SETTINGS_PAGE = (ROOT / "docs/reference/settings.md").read_text()
PAGES = [
    Path(line)
    for line in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
]


def test_every_code_is_documented():
    """The codes that errors can have are those of the OpenAPI document."""
    raised = re.findall(
        r"(?:InvalidProof|InvalidSession|InvalidJws|FetchError|Unauthorized|UnprocessablePicture|_Failure)"
        r'\(\s*"([a-z_0-9]+)"',
        SOURCE,
    )
    declared = re.findall(r'^    code(?:: str)? = "([a-z_0-9]+)"', SOURCE, re.MULTILINE)
    composed = [
        f"{what}_{reason}"
        for reason in re.findall(r'InvalidProof\(f"\{what\}_([a-z_]+)"', SOURCE)
        for what in ("certificate", "assertion")
    ]
    of_profiles = [UNREADABLE, PROFILE_KEY_REQUIRED, PROFILE_KEY_WRONG]
    of_http = ["method_not_allowed", *_CODES.values()]
    of_nginx = re.findall(r'"code":"([a-z_]+)"', (ROOT / "deploy" / "nginx.conf").read_text())
    codes = {*raised, *declared, *composed, *of_profiles, *of_http, *of_nginx} - {"forbidden"}
    assert codes == set(STATUS_OF)


def test_every_error_is_documented_with_its_status():
    """Each class of errors with a code of its own has the status that the OpenAPI document says."""
    classes, seen = [ServiceError], set()
    while classes:
        error = classes.pop()
        classes += error.__subclasses__()
        if "code" in vars(error) and error is not Forbidden:
            assert STATUS_OF[error.code] == error.status
            seen.add(error.code)
    assert len(seen) >= 15


def test_errors_of_the_api():
    """The tables of errors in the documentation are those of the OpenAPI document, row by row."""
    problems = openapi_source()["x-problems"]
    expected = [
        f"| {status} {row}" for status, codes in problems["statuses"].items() for row in rows(codes)
    ]
    expected.insert(4, "| 401 | one of the reasons below | the proof does not hold |")
    assert table("## Errors") == expected
    assert table("### Why a proof does not hold") == rows(problems["proofs"])


def test_calls_of_the_api():
    """The table of calls in the documentation has those of the OpenAPI document, with their status."""
    documented = set()
    for row in table("## Calls"):
        calls, _body, answer, _end = row.removeprefix("| ").split("|", 3)
        for method, paths in re.findall(r"`([A-Z]+) ([^`]+(?:`, `/[^`]+)*)`", calls):
            for path in paths.split("`, `"):
                status = re.match(r" (\d+)\b", answer)
                documented.add((method, path.partition("[")[0], int(status[1]) if status else 200))
    assert documented == {
        (method.upper(), path, int(min(operation["responses"])))
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
        if path != "/v1"
    }


def table(heading):
    """Return the rows of the first table below a heading."""
    return re.findall(r"^\|.*\|$", API[API.index(heading) :].split("\n#", 1)[0], re.MULTILINE)[2:]


def rows(advice):
    """Return the rows of codes and their advice; adjacent codes with the same advice share a row."""
    return [
        f"| {', '.join(f'`{code}`' for code in codes)} | {text} |".replace("|  |", "| |")
        for text, codes in itertools.groupby(advice, key=advice.get)
    ]


def test_every_setting_is_explained():
    """Every setting stands in production.ini, explained."""
    text = (ROOT / "production.ini").read_text()
    assert len(SETTINGS) > 15
    missing = {
        name for name in SETTINGS if not re.search(rf"^#?{re.escape(name)} =", text, re.MULTILINE)
    }
    assert missing == {"development.folder", "development.provider_listen"}


def test_decisions_are_listed():
    """Every decision record has a title, date and status, and stands in the index with them."""
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


def test_conformance_of_pictures():
    """Every row of the table of pictures names tests that there are."""
    rows = re.findall(
        r"^\| .+ \| ((?:`test_\w+`(?:, )?)+) \|$",
        (ROOT / "docs/reference/pictures.md").read_text(),
        re.MULTILINE,
    )
    named = {name for row in rows for name in re.findall(r"test_\w+", row)}
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(rows) > 30
    assert {name for name in named if f"def {name}(" not in tests} == set()


def families(text: str) -> set[str]:
    """Return the metrics that a text names, without what is told of each apart."""
    names = re.findall(r"\b(?:persona|process)_[a-z_]+", text)
    return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names}


def test_every_metric_is_explained(tmp_path):
    """What is counted is what the guide lists; the dashboard and the alerts name nothing else."""
    app = application(tmp_path)
    text = app.services.metrics.exposition() + own_figures(0, 0)
    app.close()
    counted = families("\n".join(Exposition(text).families))
    ours = {name for name in counted if name.startswith("persona_")}
    guide = (ROOT / "docs/reference/metrics.md").read_text()
    listed = families("".join(re.findall(r"^\| `persona_[a-z_]+`", guide, re.MULTILINE)))
    assert listed == ours
    assert families(guide) - {"process"} <= counted | {"process"}
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = families(" ".join(targets))
    assert shown <= counted
    assert ours <= shown | {"persona_http_request_duration_seconds"}


def explained() -> dict[str, tuple[set[str], str]]:
    """Return of each metric that the guide lists its labels, and what is told of it."""
    rows = re.findall(
        r"^\| `(persona_[a-z_]+)` \| \w+ \| (.*?) ?\| (.*) \|$",
        (ROOT / "docs/reference/metrics.md").read_text(),
        re.MULTILINE,
    )
    return {
        families(name).pop(): (set(re.findall(r"\w+", labels)), told) for name, labels, told in rows
    }


def test_labels_are_explained(tmp_path):
    """What is counted has the labels that the guide lists."""
    app = application(tmp_path)
    client = TestApp(app)
    client.get("/v1/")
    client.post_json("/v1/sessions", {"proofs": [{"assertion": "x"}]}, status=401)
    found = Exposition(app.services.metrics.exposition())
    app.close()
    seen = {
        (name, *sorted(sample.labels.keys() - {"le"}))
        for name, family in found.families.items()
        for sample in family.samples
        if name.startswith("persona_")
    }
    listed = {name: labels for name, (labels, _) in explained().items()}
    assert all(listed[families(name).pop()] == set(labels) for name, *labels in seen)
    assert len([each for each in seen if len(each) > 1]) >= 8


def test_queries_name_what_there_is():
    """Labels, and values of labels, in the dashboard and the alerts are those of their metrics."""
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = (ROOT / "docs/how-to/monitoring.md").read_text().partition("## Alerts")[2]
    queries += [row.split("`")[1] for row in alerts.splitlines() if "`" in row]
    assert len(queries) > 40
    metrics = explained()
    routes, codes = set(DOCUMENT["paths"]), set(STATUS_OF)
    statuses = {str(status) for status in STATUS_OF.values()}
    for query in queries:
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \((.*?)\)", query))))
        for name, matchers in re.findall(r"\b(persona_[a-z_]+)(?:\{(.*?)\})?", query):
            labels, told = metrics[families(name).pop()]
            assert grouped <= labels | ({"le"} if name.endswith("_bucket") else set()), query
            for label, values in re.findall(r'(\w+)=~?"(.*?)"', matchers):
                known = {"route": routes, "code": codes, "status": statuses}.get(
                    label, set(re.findall(r"`(\w+)`", told))
                )
                assert label in labels, query
                assert set(values.split("|")) <= known, query


def test_connections_of_processes():
    """The sums of connections in the guide for operators are those of two processes by default."""
    guide = (ROOT / "docs/how-to/operate.md").read_text()
    [connections] = re.findall(r"^\| connections to the database .* \| (\d+) \|$", guide, re.MULTILINE)
    assert int(connections) == 2 * CONNECTIONS
    [connections] = re.findall(r"^\| connections of nginx .* \| ([\d,]+) \|$", guide, re.MULTILINE)
    assert int(connections.replace(",", "")) == 2 * server.CONNECTIONS


def _tests(path: Path) -> set[str]:
    return set(re.findall(r"def (test_\w+)\(", path.read_text()))


def test_threat_model():
    """Every line of the threat model names tests that there are, by their modules."""
    threats = (ROOT / "SECURITY.md").read_text().partition("\n## Threats")[2].partition("\n## ")[0]
    lines = re.findall(r"^- .*(?:\n  .*)*", threats, re.MULTILINE)
    there = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    assert len(lines) > 50
    for line in lines:
        named = re.findall(r"`(test_\w+\.py)::([\w:]+)`", line)
        assert named, line
        for module, name in named:
            for part in name.split("::"):
                assert re.search(rf"(?:def|class) {part}\b", there.get(module, "")), f"{module}::{name}"


def test_page_of_attacks():
    """The page about attacks has a row for each attack that the benchmark knows."""
    command = [sys.executable, "-W", "ignore", ROOT / "benchmarks" / "attacks.py", "--list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    page = (ROOT / "docs/explanation/attacks.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)`: (.*?) \|", page, re.MULTILINE)
    assert len(listed) > 20
    assert {f"{name}: {text}" for name, text in rows} == set(listed)


def slugs(page: Path) -> set[str]:
    """Return the anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links(page):
    """Links of a page lead to files and headings that there are."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)", text):
        linked = (ROOT / page).parent / target if target else ROOT / page
        assert linked.exists(), target
        assert not anchor or anchor in slugs(linked), (target, anchor)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_lines(page):
    """A line of prose has 100 characters at most; tables, code and long addresses are exempt."""
    text = re.sub(r"^ *```.*?^ *```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [
        line for line in text.splitlines() if len(line) > 100 and not line.startswith(("|", "    "))
    ]
    assert [line for line in lines if "://" not in line] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_guides_for_operators(page):
    """Tests, files and settings that a page names are there."""
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
        sections = {name.partition(".")[0] for name in SETTINGS if "." in name}
        for name in re.findall(rf"`((?:{'|'.join(sections)})\.[a-z_]+)`", text):
            assert name in SETTINGS or name.endswith((".ini", ".json", ".url")), name


def test_every_page_is_in_the_index():
    """The index leads to every page of the documentation, and decisions by theirs."""
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.relative_to("docs") for page in PAGES if page.parts[0] == "docs"}
    pages = {str(page) for page in pages if page.parts[0] != "adr" and page.name != "index.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()


def test_settings_page():
    """The page of settings has each with its default."""
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \|", SETTINGS_PAGE, re.MULTILINE)
    values = parse_settings({"public_origins": "https://a.example", "keyring.path": "k"}, {})
    defaults = {name: shown(getattr(values, name.replace(".", "_"))) for name in SETTINGS}
    defaults |= {"public_origins": "required", "keyring.path": "none"}
    assert len(rows) == len(dict(rows))
    assert dict(rows) == defaults


def shown(value):
    """Return the default of a setting as it stands in the page and in `production.ini`."""
    if isinstance(value, RateLimitItem):
        multiple = value.multiples if value.multiples > 1 else ""
        return f"{value.amount}/{multiple}{value.GRANULARITY.name}"
    if isinstance(value, tuple):
        return " ".join(value) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_command_page():
    """The page of the command has every job with its arguments and options."""
    page = (ROOT / "docs/reference/command.md").read_text()
    rows = re.findall(r"^\| `([a-z ]+?)((?: [A-Z]+)*)` \| (.*?) ?\|", page, re.MULTILINE)
    listed = {
        job: (arguments.split(), set(re.findall(r"--[a-z-]+", more))) for job, arguments, more in rows
    }
    assert listed == dict(jobs(_parser(), ""))


def jobs(parser, name):
    """Yield the jobs of a command, with names of arguments and options."""
    groups = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    for group in groups:
        for word, below in group.choices.items():
            yield from jobs(below, f"{name} {word}".strip())
    if not groups:
        shown = [
            each for each in parser._actions if each.help != argparse.SUPPRESS and each.dest != "help"
        ]
        arguments = [each.metavar for each in shown if not each.option_strings]
        yield name, (arguments, {each.option_strings[-1] for each in shown if each.option_strings})


def test_renamed_names():
    """The page of old and new names has new settings and metrics that there are, and no old ones."""
    page = (ROOT / "docs/reference/renamed.md").read_text()
    metrics = (ROOT / "docs/reference/metrics.md").read_text()
    settings, rest = page.partition("## Metrics")[::2]
    for old, new in re.findall(r"^\| `([a-z_.]+)` \| `([a-z_.]+)` \|", settings, re.MULTILINE):
        assert (old in SETTINGS, new in SETTINGS) == (False, True)
    for old, new in re.findall(r"^\| `(persona_\w+)` \| `(persona_\w+)` \|", rest, re.MULTILINE):
        assert (f"`{old}`" in metrics, f"`{new}`" in metrics) == (False, True)
